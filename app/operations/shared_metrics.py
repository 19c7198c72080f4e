"""Adds up the samples of all workers, which share them through memory. Knows no HTTP.

A worker leaves its samples at its place once a second, whenever it shows them, and at its end. Its successor goes on
from there. So what one worker has shown, every other one shows too, and counts never fall.
"""

from __future__ import annotations

import asyncio
import json
import logging
import mmap
import os
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from prometheus_client.core import GaugeMetricFamily, Metric

from app.operations.metrics import METRICS, Samples, families, total

SHARE_S = 1.0

HALF_BYTES = 2 << 20
"""Most that a worker can leave. It is enough for 1,000 versions, and memory that is never written costs nothing."""

HEAD = struct.Struct("<III")  # number, length and checksum of what follows
TRIES = 3

logger = logging.getLogger("app")


class Board:
    """Memory that a process shares with its forks: one place for each worker, written by that worker alone.

    A place has two halves, written in turns. A writer that is killed meanwhile leaves the other half whole.
    """

    def __init__(self, places: int, half_bytes: int = HALF_BYTES):
        self.places = range(places)
        self._half_bytes = half_bytes
        try:
            self._memory = mmap.mmap(-1, places * 2 * half_bytes)
        except (OSError, OverflowError) as error:
            raise OSError(
                f"APP_WORKERS is {places}, and there is no memory for so many; for example: APP_WORKERS=2"
            ) from error

    def write(self, place: int, content: bytes) -> bool:
        """Leave this at a place. Gives whether it fits."""
        if HEAD.size + len(content) > self._half_bytes:
            return False
        number = max(self._halves(place))[0] + 1  # at least one half is always whole
        start = self._start(place, number % 2)
        data = HEAD.pack(number, len(content), zlib.crc32(content, number)) + content
        self._memory[start : start + len(data)] = data
        return True

    def read(self, place: int) -> bytes:
        """What was last left at a place, if anything."""
        for _ in range(TRIES):
            halves = self._halves(place)
            if len(halves) == 2:  # else one is being written, or its writer was killed
                break
        return max(halves)[1]

    def _start(self, place: int, half: int) -> int:
        return (2 * place + half) * self._half_bytes

    def _halves(self, place: int) -> list[tuple[int, bytes]]:
        """Numbers and contents of the halves that are whole."""
        halves = []
        for half in (0, 1):
            start = self._start(place, half)
            number, length, checksum = HEAD.unpack_from(self._memory, start)
            content = self._memory[start + HEAD.size : start + HEAD.size + min(length, self._half_bytes)]
            if zlib.crc32(content, number) == checksum:
                halves.append((number, content))
        return halves


class SharedMetrics:
    """This worker among those of a board, or alone without one. `collect` gives its own samples."""

    def __init__(
        self, collect: Callable[[], Samples], board: Board | None = None, place: int = 0, pid: int | None = None
    ):
        self._collect = collect
        self._board = board
        self._place = place
        self._pid = pid or os.getpid()
        self._before = self._left_at(place, dead=True)
        self._unshared = 0

    def families(self) -> Iterator[Metric]:
        """The metrics of all workers: all that they ever counted, and the gauges of those that live."""
        own = self.share()
        others = [place for place in self._board.places if place != self._place] if self._board else []
        return families(total([own, *map(self._left_at, others)]))

    @asynccontextmanager
    async def sharing(self) -> AsyncIterator[None]:
        """Share samples for as long as the context lasts."""
        task = asyncio.create_task(self._keep_sharing())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self.share()

    async def _keep_sharing(self) -> None:
        while True:
            self.share()
            await asyncio.sleep(SHARE_S)

    def share(self) -> Samples:
        """Leave this worker's samples at its place. Gives them."""
        unshared: Samples = {"service_measures_unshared": {(): [self._unshared]}}
        own = total([self._collect(), unshared, self._before])
        if self._board is not None:
            content = {"pid": self._pid, "samples": {name: list(by_labels.items()) for name, by_labels in own.items()}}
            if not self._board.write(self._place, json.dumps(content).encode("ascii")):
                self._unshared += 1
                if self._unshared == 1:
                    logger.error("measures of this worker are too large to share; the others show its last ones")
        return own

    def _left_at(self, place: int, *, dead: bool = False) -> Samples:
        """What a worker left at a place. Gauges only count while it lives."""
        content = self._board.read(place) if self._board else b""
        if not content:
            return {}
        data = json.loads(content)
        has_ended = dead or _is_dead(data["pid"])
        return {
            name: {tuple(labels): numbers for labels, numbers in samples}
            for name, samples in data["samples"].items()
            if not (has_ended and METRICS[name].family is GaugeMetricFamily)
        }


def _is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
