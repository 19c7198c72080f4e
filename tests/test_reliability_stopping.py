"""Processes that stop or die under load: no request is lost that need not be. Real processes, sockets and signals."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import time
from collections.abc import Callable

import load
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

STOPS = 100
GRACE_S = 0.4
PROBE_S = 0.02
CLIENTS = 16


class Balancer:
    """Sends requests where readiness was last seen, as a load balancer does, probing twenty times within the grace."""

    def __init__(self) -> None:
        self.ready: set[int] = set()

    async def watch(self, port: int) -> None:
        """Probe a service until it is cancelled."""
        try:
            while True:
                is_ready = await asyncio.to_thread(_is_ready, port)
                (self.ready.add if is_ready else self.ready.discard)(port)
                await asyncio.sleep(PROBE_S)
        finally:
            self.ready.discard(port)

    async def choose(self) -> int:
        while not self.ready:
            await asyncio.sleep(PROBE_S)
        return min(self.ready)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    return False


def test_100_sigterms_under_load(say: Callable[[str], None]) -> None:
    """Two instances take turns: one is told to stop, its successor starts, and clients follow readiness."""

    async def play() -> load.Tally:
        balancer = Balancer()
        instance = await asyncio.to_thread(service.start, drain_s=GRACE_S)
        watching = asyncio.create_task(balancer.watch(instance.port))
        async with load.closed_loop(balancer.choose, CLIENTS) as tally:
            for _ in range(STOPS):
                successor = await asyncio.to_thread(service.start, drain_s=GRACE_S)
                watching_successor = asyncio.create_task(balancer.watch(successor.port))
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
    assert max(restored) < 2.0
