"""New versions dropped in under load, some of them broken: no request fails, and no broken one ever answers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import load
import pytest
import service
from hostile_bundles import NEWEST, copied

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

RELOADS = 50
BROKEN_EVERY = 5
CLIENTS = 16


def drop_in(models_dir: Path, version: int, *, broken: bool) -> None:
    """The newest version of the sums as another version, put into its place in one move."""
    staged = copied(models_dir.parent / "staging", version)
    if broken:
        graph = staged / "greedy.onnx"
        graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    staged.rename(models_dir / "addition" / str(version))


@pytest.mark.parametrize("workers", [1, 2])
def test_50_hot_reloads_under_load(workers: int, tmp_path: Path, say: Callable[[str], None]) -> None:
    models_dir = shutil.copytree(service.ROOT / "models", tmp_path / "models")
    dropped = range(int(NEWEST.name) + 1, int(NEWEST.name) + 1 + RELOADS)
    broken = {version for version in dropped if version % BROKEN_EVERY == 0}

    async def play() -> load.Tally:
        with service.running(models_dir=models_dir, watch_s=0.05, workers=workers, log_level="info") as running:
            async with load.closed_loop(running.port, CLIENTS) as tally:
                for version in dropped:
                    await asyncio.to_thread(drop_in, models_dir, version, broken=version in broken)
                    outcome = rf"refused .*/{version}/" if version in broken else rf"loaded addition version {version};"
                    for _ in range(workers):
                        await asyncio.to_thread(running.await_line, outcome)
                _, last = await asyncio.to_thread(running.ask, "POST", "/add", {"expression": "10+6"})
            assert last["model"]["version"] == str(dropped[-1])
            return tally

    tally = asyncio.run(play())
    say(
        f"{RELOADS} hot reloads with {workers} workers, {len(broken)} of broken bundles: {tally.statuses[200]} requests"
        f" answered by {len(tally.versions)} versions, {sum(tally.failures.values())} failed"
    )
    tally.assert_clean()
    assert not broken & {int(version) for version in tally.versions}
