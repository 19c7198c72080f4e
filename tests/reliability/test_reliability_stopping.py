"""Processes that stop or die under load: no request is lost that need not be. Real processes, sockets and signals."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import load
import pytest
import service

from app.operations.supervisor import STEADY_S

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

STOPS = 100
GRACE_S = 0.4
PROBE_S = 0.02
CLIENTS = 16
MOMENTS = 10
AS_PROCESS_1 = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
PATIENCE_S = 5.0


class Balancer:
    """Sends requests where readiness was last seen, as a load balancer does, probing twenty times within the grace."""

    def __init__(self) -> None:
        self.ready: set[int] = set()

    async def watch(self, instance: service.Service) -> None:
        """Probe a service until this is cancelled."""
        try:
            while True:
                is_ready = False
                with contextlib.suppress(OSError, http.client.HTTPException):
                    is_ready = await asyncio.to_thread(instance.is_ready, PATIENCE_S)
                (self.ready.add if is_ready else self.ready.discard)(instance.port)
                await asyncio.sleep(PROBE_S)
        finally:
            self.ready.discard(instance.port)

    async def choose(self) -> int:
        while not self.ready:
            await asyncio.sleep(PROBE_S)
        return min(self.ready)


def test_100_sigterms_under_load(say: Callable[[str], None]) -> None:
    """Two instances take turns: one is told to stop, its successor starts, and clients follow readiness."""

    async def play() -> load.Tally:
        balancer = Balancer()
        instance = await asyncio.to_thread(service.start, drain_s=GRACE_S)
        watching = asyncio.create_task(balancer.watch(instance))
        async with load.closed_loop(balancer.choose, CLIENTS) as tally:
            for _ in range(STOPS):
                successor = await asyncio.to_thread(service.start, drain_s=GRACE_S)
                watching_successor = asyncio.create_task(balancer.watch(successor))
                while successor.port not in balancer.ready:
                    await asyncio.sleep(PROBE_S)
                status = await asyncio.to_thread(instance.stop)
                assert status == 0
                watching.cancel()
                instance, watching = successor, watching_successor
        watching.cancel()
        assert await asyncio.to_thread(instance.stop) == 0
        return tally

    tally = asyncio.run(play())
    say(f"{STOPS} SIGTERMs under load: {tally.statuses[200]} requests answered, {sum(tally.failures.values())} failed")
    tally.assert_clean()


def start_s(workers: int) -> float:
    """How long a start takes until all workers serve."""
    began = time.monotonic()
    with service.running(workers=workers) as running:
        running.await_workers(workers)
        return time.monotonic() - began


def await_handler(process: subprocess.Popen[str]) -> int:
    """Until the service, or its process 1, handles SIGTERM. Before, Python itself starts. Gives its process id."""
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pid = int(children[0]) if process.args[0] == AS_PROCESS_1[0] and children else process.pid  # type: ignore[index]
        handled = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        if handled and int(handled[1], 16) >> (signal.SIGTERM - 1) & 1:
            return pid
        time.sleep(0.001)
    raise AssertionError("it has ended")


@pytest.mark.parametrize("before", [(), AS_PROCESS_1], ids=["plain", "process 1"])
@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM,) * 2], ids=str)
@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_at_ten_moments_of_its_start(
    before: tuple[str, ...], numbers: tuple[int, ...], workers: int, say: Callable[[str], None]
) -> None:
    if before and subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process can become process 1 here")
    whole = start_s(workers)
    drain_s, stop_timeout_s = 1, 2
    slowest = 0.0
    for moment in range(MOMENTS):
        launched = service.launch(*before, workers=workers, drain_s=drain_s, stop_timeout_s=stop_timeout_s)
        pid = await_handler(launched.process)
        time.sleep(whole * 1.2 * moment / MOMENTS)
        began = time.monotonic()
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        assert launched.process.wait(PATIENCE_S) == 0
        slowest = max(slowest, time.monotonic() - began)
        assert "Traceback" not in launched.rest()
    say(
        f"stopped at {MOMENTS} moments of its start, {'process 1' if before else 'plain'}, {workers} workers,"
        f" {[signal.Signals(number).name for number in numbers]}: status 0, within {slowest:.2f} s"
    )
    assert slowest < drain_s + stop_timeout_s


@pytest.mark.parametrize("workers", [1, 2])
def test_no_client_waits_while_workers_are_killed_at_every_moment(workers: int, say: Callable[[str], None]) -> None:
    """Each connection is new: it is answered, or refused, or cut off at once, and never waits."""
    kills = 10
    outcomes: Counter[str] = Counter()
    whole = start_s(1)

    def ask(port: int) -> str:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
            try:
                connection.request("GET", "/health/live")
                return str(connection.getresponse().status)
            except TimeoutError:
                return "waited"
            except (OSError, http.client.HTTPException) as error:
                return type(error).__name__

    async def newer(running: service.Service, pid: int) -> int:
        while (newest := max(running.children(), default=0)) <= pid:
            await asyncio.sleep(PROBE_S)
        return newest

    async def keep_asking(port: int) -> None:
        while True:
            outcome = await asyncio.to_thread(ask, port)
            outcomes[outcome] += 1

    async def play() -> None:
        with service.running(workers=workers) as running:
            await asyncio.to_thread(running.await_workers, workers)
            asking = [asyncio.create_task(keep_asking(running.port)) for _ in range(4)]
            for kill in range(kills):
                first = max(running.children())
                os.kill(first, signal.SIGKILL)
                second = await newer(running, first)
                await asyncio.sleep(whole * 1.2 * kill / kills)
                os.kill(second, signal.SIGKILL)
                third = await newer(running, second)
                await asyncio.to_thread(running.await_line, rf"worker {third} started")
                await asyncio.sleep(STEADY_S)  # so that the next failure is the first in a row
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)

    asyncio.run(play())
    say(f"{2 * kills} of {workers} workers killed, half of them at moments of their start: {dict(outcomes)}")
    assert outcomes["200"]
    assert set(outcomes) <= {"200", "ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"}


def test_worker_killed_under_load(say: Callable[[str], None]) -> None:
    """What fails is what the dead worker had in its hands: at most one request of each of its connections."""
    kills = 5

    async def play() -> tuple[load.Tally, list[float]]:
        restored = []
        with service.running(workers=2) as running:
            await asyncio.to_thread(running.await_line, r"worker (\d+) started")
            async with load.closed_loop(running.port, CLIENTS) as tally:
                for _ in range(kills):
                    await asyncio.sleep(0.5)  # some load
                    os.kill(min(running.children()), signal.SIGKILL)
                    started = time.monotonic()
                    await asyncio.to_thread(running.await_line, r"worker (\d+) started")
                    while len(running.children()) < 2:
                        await asyncio.sleep(PROBE_S)
                    before = tally.statuses[200]
                    while tally.statuses[200] < before + CLIENTS:
                        await asyncio.sleep(PROBE_S)
                    restored.append(time.monotonic() - started)
        return tally, restored

    tally, restored = asyncio.run(play())
    failed = sum(tally.failures.values())
    say(
        f"{kills} workers killed under load: {tally.statuses[200]} requests answered, {failed} failed,"
        f" service restored within {max(restored):.2f} s"
    )
    assert not tally.wrong
    assert set(tally.statuses) == {200}
    assert failed <= kills * CLIENTS
