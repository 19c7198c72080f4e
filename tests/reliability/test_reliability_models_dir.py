"""The models directory is attacked under load, while workers die. Clients notice nothing.

The service runs without the right to read what its user may not read, also where that user is root.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import load
import onnx
import pytest
import service
from hostile_bundles import HOSTILE, NEWEST, copied, sealed

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

ROUNDS = 60
ROUND_S = 0.4
KILL_EVERY = 6
CLIENTS = 8
PROBE_S = 0.02
LONGEST_S = 5.0
MOST_GROWTH_MB = 61
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
NAMES = ("lost+found", "a b", "x" * 255, "new\nline", "\udcff\udcfe", "é", "sum", "-rf", "%00", "addition.bak", "1")
VERSIONS = ("01", "v2", "0", "latest", "9223372036854775808", "-1", "٣", "1764000000000000000000", "2.0")

Undo = Callable[[], object]
"""Takes back what an attack did."""


def obey_modes() -> None:
    """Give up root's right to read and write whatever it likes; what this process starts obeys modes."""
    library = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if os.geteuid() == 0 and library.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


class Attacks:
    """What can happen to a models directory. Each attack gives what takes it back."""

    def __init__(self, models_dir: Path, aside: Path):
        self.models_dir = models_dir
        self.addition = models_dir / "addition"
        self.aside = aside
        self.random = random.Random(0)
        self.kinds: list[Callable[[], Undo]] = [
            self.stray_folder,
            self.stray_version,
            self.unreadable_model,
            self.unreadable_version,
            self.unreadable_file,
            self.half_copied,
            self.copy_under_another_name,
            self.broken_in_place,
            self.link_to_nowhere,
            self.link_to_itself,
            self.link_to_everything,
            self.version_by_link,
            self.pipe_for_a_version,
            self.pipe_for_a_manifest,
            self.vast_manifest,
            self.removed_version,
            self.removed_directory,
            self.many_folders,
        ]

    def put_in(self, path: Path, make: Callable[[Path], object]) -> Undo:
        make(path)
        return lambda: shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def lock(self, path: Path) -> Undo:
        mode = path.stat().st_mode
        path.chmod(0)
        return lambda: path.chmod(mode)

    def away(self, path: Path) -> Undo:
        hidden = path.rename(self.aside / "away")
        return lambda: hidden.rename(path)

    def fresh(self) -> Path:
        """The folder of a version that does not exist yet."""
        return self.addition / str(1 + max(int(path.name) for path in self.addition.iterdir() if path.name.isdecimal()))

    def newest(self) -> Path:
        return self.addition / str(int(self.fresh().name) - 1)

    def stray_folder(self) -> Undo:
        return self.put_in(self.models_dir / self.random.choice(NAMES), Path.mkdir)

    def stray_version(self) -> Undo:
        return self.put_in(self.addition / self.random.choice(VERSIONS), Path.mkdir)

    def unreadable_model(self) -> Undo:
        return self.lock(self.random.choice([self.addition, self.models_dir / "reversal"]))

    def unreadable_version(self) -> Undo:
        return self.lock(self.newest())

    def unreadable_file(self) -> Undo:
        return self.lock(self.newest() / "greedy.onnx")

    def half_copied(self) -> Undo:
        whole = copied(self.aside, int(self.fresh().name))
        there = self.fresh()
        there.mkdir()
        for path in sorted(whole.iterdir())[:3]:
            shutil.move(path, there)

        def rest() -> None:
            for path in sorted(whole.iterdir()):
                shutil.move(path, there)
            shutil.rmtree(whole)

        return rest

    def copy_under_another_name(self) -> Undo:
        return self.put_in(self.models_dir / "sums", lambda path: shutil.copytree(self.addition, path))

    def broken_in_place(self) -> Undo:
        path = self.newest() / "greedy.onnx"
        content = path.read_bytes()
        path.write_bytes(content[::-1])
        return lambda: path.write_bytes(content)

    def link_to_nowhere(self) -> Undo:
        return self.put_in(self.fresh(), lambda path: path.symlink_to("nowhere"))

    def link_to_itself(self) -> Undo:
        return self.put_in(self.fresh(), lambda path: path.symlink_to(path.name))

    def link_to_everything(self) -> Undo:
        return self.put_in(self.fresh(), lambda path: path.symlink_to("/"))

    def version_by_link(self) -> Undo:
        there = self.fresh()
        whole = copied(self.aside, int(there.name))
        there.symlink_to(whole)

        def undo() -> None:
            there.unlink()
            shutil.rmtree(whole)

        return undo

    def pipe_for_a_version(self) -> Undo:
        return self.put_in(self.fresh(), os.mkfifo)

    def pipe_for_a_manifest(self) -> Undo:
        def make(path: Path) -> None:
            path.mkdir()
            os.mkfifo(path / "manifest.json")

        return self.put_in(self.fresh(), make)

    def vast_manifest(self) -> Undo:
        def make(path: Path) -> None:
            path.mkdir()
            with (path / "manifest.json").open("wb") as file:
                file.truncate(2**40)

        return self.put_in(self.fresh(), make)

    def removed_version(self) -> Undo:
        return self.away(self.newest())

    def removed_directory(self) -> Undo:
        return self.away(self.models_dir)

    def many_folders(self) -> Undo:
        paths = [self.models_dir / f"stray-{place}" for place in range(300)]
        for path in paths:
            path.mkdir()

        def undo() -> None:
            for path in paths:
                path.rmdir()

        return undo


async def watch(running: service.Service, unready: list[str]) -> None:
    """Ask for readiness until cancelled, over a new connection each time. A worker that is killed may break one."""
    while True:
        try:
            if not await asyncio.to_thread(running.is_ready, LONGEST_S):
                unready.append("503")
        except OSError as error:
            unready.append(repr(error))
        await asyncio.sleep(PROBE_S)


@pytest.mark.parametrize("workers", [1, 2])
def test_models_directory_is_attacked_under_load(workers: int, tmp_path: Path, say: Callable[[str], None]) -> None:
    models_dir = shutil.copytree(service.ROOT / "models", tmp_path / "models")
    aside = tmp_path / "aside"
    aside.mkdir()
    attacks = Attacks(models_dir, aside)
    unready: list[str] = []
    killed = 0

    async def play() -> load.Tally:
        nonlocal killed
        with service.running(models_dir=models_dir, watch_s=0.1, workers=workers, preexec=obey_modes) as running:
            await asyncio.to_thread(running.await_workers, workers)
            watching = asyncio.create_task(watch(running, unready))
            async with load.closed_loop(running.port, CLIENTS) as tally:
                for place in range(ROUNDS):
                    undo = attacks.kinds[place % len(attacks.kinds)]()
                    if workers > 1 and place % KILL_EVERY == 0:
                        os.kill(attacks.random.choice(sorted(running.children())), signal.SIGKILL)
                        killed += 1
                    await asyncio.sleep(ROUND_S)
                    status, _ = await asyncio.to_thread(running.ask, "POST", "/v2/repository/index")
                    assert status == 200
                    undo()
                    await asyncio.sleep(ROUND_S / 4)
                last = attacks.fresh()
                copied(models_dir, int(last.name))
                ends = time.monotonic() + 60
                seen: set[str] = set()
                while seen != {last.name}:
                    assert time.monotonic() < ends, seen
                    answers = [
                        await asyncio.to_thread(running.ask, "POST", "/add", {"expression": "1+2"}) for _ in range(9)
                    ]
                    seen = {answer["model"]["version"] for _, answer in answers}
            watching.cancel()
            assert running.stop() == 0
            log = running.rest()
            assert "Traceback" not in log
            assert "cannot look" not in log
            return tally

    tally = asyncio.run(play())
    say(
        f"{ROUNDS} attacks on the models directory with {workers} workers, {killed} of them killed:"
        f" {tally.statuses[200]} requests answered, {sum(tally.failures.values())} failed;"
        f" longest {max(tally.seconds):.2f} s; readiness failed {len(unready)} times"
    )
    assert not tally.wrong
    assert set(tally.statuses) == {200}
    assert max(tally.seconds) < LONGEST_S
    assert "503" not in unready
    assert len(unready) <= killed  # a probe that the killed worker had in its hands
    assert sum(tally.failures.values()) <= killed * CLIENTS
    assert not [failure for failure in tally.failures if "Timeout" in failure]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_version_harms_nobody(case: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    """It is refused under load, and does not keep the service from stopping while it is tried."""
    models_dir = shutil.copytree(service.ROOT / "models", tmp_path / "models")
    graph = onnx.load(NEWEST / "greedy.onnx")
    HOSTILE[case][0](graph)
    hostile = sealed(copied(tmp_path, int(NEWEST.name) + 1), graph)
    there = models_dir / "addition" / hostile.name
    longest = grown = 0.0

    async def play() -> load.Tally:
        nonlocal longest, grown
        with service.running(models_dir=models_dir, watch_s=0.1, load_timeout_s=3, drain_s=0.1) as running:
            async with load.closed_loop(running.port, CLIENTS) as tally:
                await asyncio.sleep(1)
                before = running.memory_mb()
                hostile.rename(there)
                refused = asyncio.create_task(asyncio.to_thread(running.await_line, f"refused .*addition/{there.name}"))
                while not refused.done():
                    began = time.monotonic()
                    assert (await asyncio.to_thread(running.ask, "GET", "/health/live"))[0] == 200
                    longest = max(longest, time.monotonic() - began)
                    grown = max(grown, running.memory_mb() - before)
            there.rename(there.with_name(str(int(there.name) + 1)))  # is tried again
            await asyncio.sleep(0.5)
            began = time.monotonic()
            assert running.stop() == 0
            say(
                f"a version that {case}: {tally.statuses[200]} requests meanwhile, longest"
                f" {1e3 * max(tally.seconds):.0f} ms, /health/live {1e3 * longest:.0f} ms, memory grew by"
                f" {grown:.1f} MB; stopped in {time.monotonic() - began:.1f} s while it was tried"
            )
            return tally

    tally = asyncio.run(play())
    tally.assert_clean()
    assert grown < MOST_GROWTH_MB
    assert longest < 1
