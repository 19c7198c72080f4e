"""Many clients and many requests: every answer is right and reaches who asked, and memory does not grow."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import load
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(1_800)]

REQUESTS = 200_000
CLIENTS = 100
SOAK_S = float(os.environ.get("SOAK_S", "600"))
WARM_S = 20.0


def test_200_000_requests_of_100_clients(say: Callable[[str], None]) -> None:
    async def play() -> load.Tally:
        with service.running(workers=2) as running:
            async with load.closed_loop(running.port, CLIENTS) as tally:
                while tally.statuses.total() < REQUESTS:
                    await asyncio.sleep(0.1)
            return tally

    tally = asyncio.run(play())
    say(f"{tally.statuses.total()} requests of {CLIENTS} clients: {len(tally.wrong)} wrong, {dict(tally.failures)}")
    tally.assert_clean()


def test_soak(say: Callable[[str], None]) -> None:
    async def play() -> tuple[load.Tally, float, float]:
        with service.running() as running:
            async with load.closed_loop(running.port, CLIENTS) as tally:
                await asyncio.sleep(WARM_S)
                (worker,) = running.children()
                before = service.resident_mb(worker)
                await asyncio.sleep(SOAK_S)
                after = service.resident_mb(worker)
            return tally, before, after

    tally, before, after = asyncio.run(play())
    say(f"{SOAK_S:g} s of soak, {tally.statuses.total()} requests: memory {before:.1f} to {after:.1f} MB")
    tally.assert_clean()
    assert after - before < 3
