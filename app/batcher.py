"""Adaptive batching on the event loop: what arrived while the last batch ran is the next batch.

Knows nothing of models or HTTP: it takes items and hands them to a function of many. No timer: an item that comes
alone runs alone, on the loop's next turn. Where more than one waits, the loop takes another turn for as long as each
brings more, since requests that are at hand cost less in one run than in two; it never stands idle for that.

No more wait than may: a request that comes while too many items do is refused at once, and one of many items counts
with all of them until the last is answered, though it takes its turns run by run. An item whose waiter has gone, or
whose deadline has passed, is dropped when its turn comes.
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
        self._beside = 0  # items of requests of many that are not in the queue: their turn was, or is to come
        self._scheduled = False
        self._seen = 0

    def __len__(self) -> int:
        """How many wait, or wait for others of their request."""
        return len(self._waiting) + self._beside

    def oldest(self) -> float:
        """Since when the item that is next has waited, by the loop's clock; infinity where none waits."""
        return self._waiting[0][2] if self._waiting else inf

    def submit(self, item: Item, until: float = inf) -> asyncio.Future[Result]:
        """Have an item run in the next batch; the future gives its result, or raises `BatchFailed`.

        Once the loop's clock is past `until` it is not run any more, and the future raises `DeadlinePassed`. Raises
        `QueueFull` where as many items wait as may.
        """
        self.admit()
        return self._put(item, until)

    async def submit_all(self, items: Sequence[Item], until: float = inf) -> list[Result]:
        """The results of many items, in order, a run at a time, so that others wait for one run of theirs at most.

        They are refused together, or taken on together however many they are. Raises what `submit` and its future do.
        """
        self.admit()
        results: list[Result] = []
        self._beside += len(items)
        try:
            for start in range(0, len(items), self.max_size):
                run = items[start : start + self.max_size]
                self._beside -= len(run)
                try:
                    results += await asyncio.gather(*(self._put(item, until) for item in run))
                finally:
                    self._beside += len(run)
        finally:
            self._beside -= len(items)
        return results

    def admit(self) -> None:
        """Raise `QueueFull` where as many items wait as may; to be asked before work is spent on what will be put."""
        if len(self) >= self.max_waiting:
            self._measures.dropped["overload"] += 1
            raise QueueFull(f"{len(self)} wait already")

    def _put(self, item: Item, until: float) -> asyncio.Future[Result]:
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
