"""Four times what the service can answer, for half a minute: who is answered is answered soon, the rest at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from itertools import pairwise

import load
import pytest
import service

from app.settings import Settings

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

ITEMS = 200
"""Expressions in a request, so that a request takes the service far longer than the test to make."""

OVERLOAD_S = 30.0
TIMES = 4
CONNECTIONS = 500
MAX_QUEUE = Settings().max_queue


def pin(pid: int, cores: Iterable[int]) -> None:
    """Keep service and load apart where there is more than one core."""
    os.sched_setaffinity(pid, cores)


async def capacity(port: int, seconds: float, windows: int = 1) -> list[float]:
    """Requests a second that are answered where clients wait for each answer, in one stretch of time after another."""
    answered = [0]
    async with load.closed_loop(port, 8, ITEMS) as tally:
        for _ in range(windows):
            await asyncio.sleep(seconds)
            answered.append(tally.statuses[200])
    tally.assert_clean()
    return [(after - before) / seconds for before, after in pairwise(answered)]


def test_four_times_capacity(say: Callable[[str], None]) -> None:
    cores = sorted(os.sched_getaffinity(0))

    async def play(running: service.Service) -> None:
        port, (pid,) = running.port, running.children()

        async def offer(rate: float, seconds: float) -> load.Tally:
            return await load.open_loop(port, rate, seconds, connections=CONNECTIONS, items=ITEMS)

        _, can = await capacity(port, 3.0, windows=2)
        await offer(TIMES * can, 5.0)  # after which every buffer is as large as it gets
        unloaded = await offer(can / 10, 10.0)
        unloaded.assert_clean()
        before_mb = service.resident_mb(pid)
        overload = await offer(TIMES * can, OVERLOAD_S)
        after_mb = service.resident_mb(pid)
        recovered = await capacity(port, 0.5, windows=4)
        (later,) = await capacity(port, 3.0)

        slowest, *_ = sorted(overload.answered.values())[2:]  # the first and the last second are no whole ones
        emptied_s = MAX_QUEUE / (slowest * ITEMS)
        bound_s = 10 * unloaded.quantile(0.99) + emptied_s
        say(
            f"{TIMES} times capacity ({can:.0f} requests/s of {ITEMS} expressions) for {OVERLOAD_S:g} s:"
            f" {dict(overload.statuses)}; p99 of those answered {overload.quantile(0.99) * 1e3:.0f} ms,"
            f" {unloaded.quantile(0.99) * 1e3:.0f} ms unloaded, a full queue {emptied_s * 1e3:.0f} ms"
            f" in the slowest second;"
            f" memory {before_mb:.1f} to {after_mb:.1f} MB; of capacity, by half seconds from its end:"
            f" {', '.join(f'{each / can:.2f}' for each in recovered)}, then {later / can:.2f}"
        )
        assert not overload.failures, overload.failures
        assert not overload.wrong, overload.wrong[:3]
        assert set(overload.statuses) == {200, 429}
        assert overload.refused_without_retry == 0
        assert overload.quantile(0.99) < bound_s
        assert after_mb < 1.05 * before_mb
        assert max(recovered) > 0.8 * min(can, later)
        assert later > 0.5 * can  # a minute after the other, in which the machine itself may have become slower

    with service.running() as running:
        if len(cores) > 1:
            pin(min(running.children()), cores[:1])
            pin(0, cores[1:])
        try:
            asyncio.run(play(running))
        finally:
            pin(0, cores)
