"""Adaptive batching on the event loop: what arrived while the last batch ran is the next batch.

Knows nothing of models or HTTP: it takes items and hands them to a function of many. No timer: an item that comes
alone runs alone, on the loop's next turn. Where more than one waits, the loop takes another turn for as long as each
brings more, since requests that are at hand cost less in one run than in two; it never stands idle for that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchFailed(Exception):
    """The batch that an item was in raised an exception, which is this one's cause."""


class Batcher(Generic[Item, Result]):
    """Runs `run` on at most `max_size` items at a time, in the order in which they came."""

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result]], max_size: int):
        self.max_size = max_size
        self._run = run
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._scheduled = False
        self._seen = 0

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Have an item run in the next batch; the future gives its result, or raises `BatchFailed`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
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
            if batch := self._take():
                self._answer(batch)
        if self._waiting:
            self._schedule(loop)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self.max_size:
            item, future = self._waiting.popleft()
            if not future.done():  # a waiter that was cancelled has no use for its result
                batch.append((item, future))
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
