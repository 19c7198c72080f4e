"""One hostile connection of each kind beside normal load: others are served as before, and memory does not grow."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import hostile
import load
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

ATTACKED_S = 30.0
"""Longer than `APP_READ_TIMEOUT_S`, so that each kind is let go at least once."""

CLIENTS = 4
LATEST_S = 0.1
MOST_GROWTH_MB = 61


@dataclass
class Watch:
    """How long `/health/live` took, each time, and how much memory the service had at most, in MB."""

    seconds: list[float] = field(default_factory=list)
    memory: float = 0.0


@contextmanager
def watching(running: service.Service) -> Iterator[Watch]:
    """Ask whether the service is alive, over a new connection each time, as an orchestrator does."""
    watch = Watch()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            began = time.monotonic()
            assert running.ask("GET", "/health/live")[0] == 200
            watch.seconds.append(time.monotonic() - began)
            watch.memory = max(watch.memory, running.memory_mb())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


async def loaded(port: int, seconds: float) -> load.Tally:
    async with load.closed_loop(port, CLIENTS) as tally:
        await asyncio.sleep(seconds)
    return tally


def test_one_connection_of_each_kind(say: Callable[[str], None]) -> None:
    with service.running() as running:
        with watching(running) as before:
            asyncio.run(loaded(running.port, ATTACKED_S / 3))
        command = [sys.executable, hostile.__file__, str(running.port), str(ATTACKED_S)]
        with watching(running) as watch, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attack:
            tally = asyncio.run(loaded(running.port, ATTACKED_S))
            assert attack.stdout is not None
            told = json.loads(attack.stdout.read())
        after = running.memory_mb()
        assert running.add("20+3") == 23
    latest, usual = max(watch.seconds), max(before.seconds)
    say(
        f"{len(hostile.KINDS)} hostile connections, {sum(told['connections'].values())} in all: {tally.statuses[200]}"
        f" requests beside them, {sum(tally.failures.values())} failed; /health/live took {1_000 * latest:.0f} ms at"
        f" most, {1_000 * usual:.0f} ms before; memory {before.memory:.0f} MB before, {watch.memory:.0f} MB at most,"
        f" {after:.0f} MB after"
    )
    say(json.dumps(told))
    tally.assert_clean()
    assert min(told["connections"].values()) >= 1
    assert set(told["connections"]) == set(hostile.KINDS)
    for kind, statuses in told["statuses"].items():
        assert not {"500", "503"} & set(statuses), kind
    assert "404" not in told["statuses"]["upgrade"] | told["statuses"]["expect without a body"]  # what they hide
    assert latest < max(LATEST_S, 2 * usual), "a machine that is late by itself gets as much again"
    assert watch.memory - before.memory < MOST_GROWTH_MB
