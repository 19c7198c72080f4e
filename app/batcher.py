"""Adaptive batching on the event loop: what arrived while the last batch ran is the next batch.

Knows nothing of models or HTTP: it takes items and hands them to a function of many. No timer: an item that comes
alone runs alone, on the loop's next turn. Where more than one waits, the loop takes another turn for as long as each
brings more, since requests that are at hand cost less in one run than in two; it never stands idle for that.

No more wait than may: `admit` is asked before work is spent on a request, and refuses it while too many do. An item
whose waiter has gone, or whose deadline has passed, is dropped when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Generic, TypeVar

from app.measures import QueueMeasures

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchFailed(Exception):
    """The batch that an item was in raised an exception, which is this one's cause."""


class QueueFull(Exception):
    """As many items wait as may."""


class DeadlinePassed(Exception):
    """The item's deadline passed before its turn came."""


class Batcher(Generic[Item, Result]):
    """Runs `run` on at most `max_size` items at a time, in the order in which they came.

    What waits is a plain tuple, since one is made for every request: the item, the future of who waits for it, since
    when and until when, by the loop's clock, in seconds.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        max_size: int,
        max_waiting: float = inf,
        measures: QueueMeasures | None = None,
    ):
        self.max_size = max_size
        self.max_waiting = max_waiting
        self._run = run
        self._measures = measures or QueueMeasures()
        self._waiting: deque[tuple[Item, asyncio.Future[Result], float, float]] = deque()
        self._scheduled = False
        self._seen = 0

    def admit(self) -> None:
        """Raise `QueueFull` while no more items may wait."""
        if len(self._waiting) >= self.max_waiting:
            self._measures.dropped["overload"] += 1
            raise QueueFull(f"{len(self._waiting)} wait already")

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def oldest(self) -> float:
        """Since when the item that is next has waited, by the loop's clock; infinity where none waits."""
        return self._waiting[0][2] if self._waiting else inf

    def submit(self, item: Item, until: float = inf) -> asyncio.Future[Result]:
        """Have an item run in the next batch; the future gives its result, or raises `BatchFailed`.

        Once the loop's clock is past `until` it is not run any more, and the future raises `DeadlinePassed`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future, loop.time(), until))
        if not self._scheduled:
            self._schedule(loop)
        return future

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        waiting = len(self._waiting)
        if max(1, self._seen) < waiting < self.max_size:
            self._seen = waiting
        else:
            self._seen = 0
            now = loop.time()
            if batch := self._take(now):
                self._answer(batch)
                self._measures.ran.observe(loop.time() - now)
                self._measures.sizes.observe(len(batch))
        if self._waiting:
            self._schedule(loop)

    def _take(self, now: float) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        waited: list[float] = []
        while self._waiting and len(batch) < self.max_size:
            item, future, since, until = self._waiting.popleft()
            if future.done():  # a waiter that was cancelled has no use for its result
                self._measures.dropped["client_gone"] += 1
                continue
            waited.append(now - since)
            if until <= now:
                self._measures.dropped["deadline"] += 1
                future.set_exception(DeadlinePassed(f"after {now - since:.3f} s in the queue"))
            else:
                batch.append((item, future))
        self._measures.waited.observe_falling(waited)
        return batch

    def _answer(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = self._run([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a batch of {len(batch)} items gave {len(results)} results")
        except Exception as error:
            for _, future in batch:
                failure = BatchFailed(f"a batch of {len(batch)} failed: {error!r}")
                failure.__cause__ = error
                future.set_exception(failure)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
