"""Four times what the service can answer, for half a minute: who is answered is answered soon, the rest at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import load
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

ITEMS = 200
"""Expressions in a request, so that a request takes the service far longer than the test to make."""

OVERLOAD_S = 30.0
TIMES = 4
CONNECTIONS = 500
MAX_QUEUE = 1_024


def pin(pid: int, cores: Iterable[int]) -> None:
    """Keep service and load apart where there is more than one core."""
    os.sched_setaffinity(pid, cores)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    raise AssertionError("the process is gone")


async def capacity(port: int, seconds: float) -> float:
    """Requests a second that are answered where clients wait for each answer."""
    async with load.closed_loop(port, 8, ITEMS) as tally:
        await asyncio.sleep(seconds)
        answered = tally.statuses[200]
    tally.assert_clean()
    return answered / seconds


def test_four_times_capacity(say: Callable[[str], None]) -> None:
    cores = sorted(os.sched_getaffinity(0))

    async def play(running: service.Service) -> None:
        port, pid = running.port, running.process.pid
        await capacity(port, 2.0)
        can = await capacity(port, 3.0)
        unloaded = await load.open_loop(port, can / 10, 5.0, connections=CONNECTIONS, items=ITEMS)
        unloaded.assert_clean()
        before_mb = resident_mb(pid)
        overload = await load.open_loop(port, TIMES * can, OVERLOAD_S, connections=CONNECTIONS, items=ITEMS)
        ended = time.monotonic()
        after_mb = resident_mb(pid)
        recovered = await capacity(port, 1.0)
        recovery_s = time.monotonic() - ended

        bound_s = MAX_QUEUE / (can * ITEMS) + CONNECTIONS / can / TIMES
        say(
            f"{TIMES} times capacity ({can:.0f} requests/s of {ITEMS} expressions) for {OVERLOAD_S:g} s:"
            f" {dict(overload.statuses)}; p99 of those answered {overload.quantile(0.99) * 1e3:.0f} ms,"
            f" {unloaded.quantile(0.99) * 1e3:.0f} ms unloaded; memory {before_mb:.1f} to {after_mb:.1f} MB;"
            f" {recovered / can:.2f} of capacity again {recovery_s:.1f} s after"
        )
        assert not overload.failures, overload.failures
        assert not overload.wrong, overload.wrong[:3]
        assert set(overload.statuses) == {200, 429}
        assert overload.refused_without_retry == 0
        assert overload.quantile(0.99) < 10 * unloaded.quantile(0.99) + bound_s
        assert after_mb < before_mb + 10
        assert recovered > 0.7 * can
        assert recovery_s < 2.0

    with service.running(max_queue=MAX_QUEUE) as running:
        if len(cores) > 1:
            pin(running.process.pid, cores[:1])
            pin(0, cores[1:])
        try:
            asyncio.run(play(running))
        finally:
            pin(0, cores)
