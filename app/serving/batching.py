"""Adaptive batching: what arrived while the last batch ran is the next batch.

Knows nothing of models or HTTP: it takes items and hands them to a function of many. No timer: an item that comes
alone runs alone, on the loop's next turn. When several wait, the loop takes another turn as long as each turn brings
more, because one run of many costs less than two runs. It never stands idle for that.

The queue is bounded. When it is full, new requests are refused at once. A batch counts with all its items until the
last one is answered, although it runs in chunks. An item whose waiter has gone, or whose deadline has passed, is
dropped when its turn comes.

Times are those of `time.monotonic`. The clock of uvloop's loop counts milliseconds, and most waits are shorter.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar

from app.serving.counters import QueueMeasures

Item = TypeVar("Item")
Result = TypeVar("Result")
Entry = tuple[Sequence[Item], "asyncio.Future[Any]", bool]
"""Items, the future of their results, and whether the result is a list. One future serves all items of a request."""


class BatchFailed(Exception):
    """The batch that an item was in raised an exception, which is this one's cause."""


class QueueFull(Exception):
    """The queue holds as many items as it can."""


class DeadlinePassed(Exception):
    """The item's deadline passed before its turn came."""


class Bound:
    """How many items may be in flight, and how many are. Several batchers may share one."""

    def __init__(self, most: float = inf):
        self.most = most
        self.in_flight = 0


class Batching(ABC, Generic[Item, Result]):
    """A bounded queue whose items are answered at most `max_size` at a time, in the order in which they came.

    What waits is a plain tuple, since one is made for every request: an `Entry`, when it came, and its deadline. An
    entry is never split, so a run may have room left.
    """

    def __init__(self, max_size: int, bound: Bound | None = None, measures: QueueMeasures | None = None):
        self.max_size = max_size
        self._bound = bound or Bound()
        self._measures = measures or QueueMeasures()
        self._waiting: deque[tuple[Entry[Item], float, float]] = deque()
        self._items = 0  # how many wait
        self._scheduled = False  # whether the next turn comes by itself
        self._waited_for = 0  # how many items the turn before this one left waiting, so that more could join them

    def __len__(self) -> int:
        """How many items are in flight; those of a batch until its last one is answered."""
        return self._bound.in_flight

    def oldest(self) -> float:
        """When the next item came; infinity if none waits."""
        return self._waiting[0][1] if self._waiting else inf

    def submit(self, item: Item, until: float = inf) -> asyncio.Future[Result]:
        """Have an item run in the next batch; the future gives its result, or raises `BatchFailed`.

        After `until` it is not run any more, and the future raises `DeadlinePassed`. Raises `QueueFull`.
        """
        self.admit()
        return self._put((item,), until, many=False)

    async def submit_all(self, items: Sequence[Item], until: float = inf) -> list[Result]:
        """The results of many items, in order, run in chunks, so that others wait for one chunk at most.

        They are refused together, or accepted together, however many they are. Raises what `submit` and its future do.
        """
        self.admit(len(items))
        results: list[Result] = []
        with self._counted(len(items)):
            for start in range(0, len(items), self.max_size):
                chunk = items[start : start + self.max_size]
                try:
                    with self._counted(-len(chunk)):  # the queue counts them now
                        results += await self._put(chunk, until, many=True)
                except (DeadlinePassed, asyncio.CancelledError) as error:
                    reason = "deadline" if isinstance(error, DeadlinePassed) else "client_gone"
                    self._measures.dropped[reason] += len(items) - start - len(chunk)  # the queue counts the chunk
                    raise
        return results

    @contextmanager
    def _counted(self, items: int) -> Iterator[None]:
        self._bound.in_flight += items
        try:
            yield
        finally:
            self._bound.in_flight -= items

    def admit(self, items: int = 1) -> None:
        """Raise `QueueFull` if the queue is full; to be asked before work is spent on what will be put."""
        if self._bound.in_flight >= self._bound.most:
            self._measures.dropped["overload"] += items
            raise QueueFull(f"{self._bound.in_flight} wait already")

    def _put(self, items: Sequence[Item], until: float, *, many: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(((items, future, many), monotonic(), until))
        self._items += len(items)
        self._bound.in_flight += len(items)
        if not self._scheduled:
            self._schedule(loop)
        return future

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        waiting = self._items
        if len(self._waiting) > 1 and self._waited_for < waiting < self.max_size:
            self._waited_for = waiting
        else:
            self._waited_for = 0
            now = monotonic()
            if batch := self._take(now):
                self._answer(batch, now)
        if self._waiting and not self._scheduled:
            self._schedule(loop)

    def _take(self, now: float) -> list[Entry[Item]]:
        """The entries whose items run next: `max_size` items at most."""
        batch: list[Entry[Item]] = []
        waited: list[float] = []
        room = self.max_size
        while self._waiting and len(self._waiting[0][0][0]) <= room:
            entry, since, until = self._waiting.popleft()
            items, future, _ = entry
            self._items -= len(items)
            if future.done():  # a waiter that was cancelled has no use for its result
                self._measures.dropped["client_gone"] += len(items)
                self._bound.in_flight -= len(items)
                continue
            waited += [now - since] * len(items)
            if until <= now:
                self._measures.dropped["deadline"] += len(items)
                self._bound.in_flight -= len(items)
                future.set_exception(DeadlinePassed(f"after {now - since:.3f} s in the queue"))
            else:
                batch.append(entry)
                room -= len(items)
        self._measures.waited.observe_falling(waited)
        return batch

    @abstractmethod
    def _answer(self, batch: list[Entry[Item]], began: float) -> None:
        """Run a batch, now or meanwhile."""

    def _shared(self, batch: list[Entry[Item]], results: Sequence[Result]) -> Iterator[tuple[asyncio.Future[Any], Any]]:
        """Each future with its result."""
        start = 0
        for items, future, many in batch:
            end = start + len(items)
            yield future, results[start:end] if many else results[start]
            start = end

    def _checked(self, items: Sequence[Item], results: Sequence[Result]) -> Sequence[Result]:
        if len(results) != len(items):
            raise RuntimeError(f"a batch of {len(items)} items gave {len(results)} results")
        self._measures.answered += len(items)
        return results

    def _fail(self, batch: list[Entry[Item]], items: Sequence[Item], error: Exception) -> None:
        for _, future, _ in batch:
            if not future.done():
                failure = BatchFailed(f"a batch of {len(items)} failed: {error!r}")
                failure.__cause__ = error
                future.set_exception(failure)

    def _note(self, items: Sequence[Item], began: float) -> None:
        self._bound.in_flight -= len(items)
        self._measures.ran.observe(monotonic() - began)
        self._measures.sizes.observe(len(items))


def _items(batch: list[Entry[Item]]) -> Sequence[Item]:
    return batch[0][0] if len(batch) == 1 else [item for items, _, _ in batch for item in items]


class Batcher(Batching[Item, Result]):
    """Runs each batch on the event loop, at once."""

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        max_size: int,
        bound: Bound | None = None,
        measures: QueueMeasures | None = None,
    ):
        super().__init__(max_size, bound, measures)
        self._run = run

    def _answer(self, batch: list[Entry[Item]], began: float) -> None:
        items = _items(batch)
        try:
            results = self._checked(items, self._run(items))
        except Exception as error:
            self._fail(batch, items, error)
        else:
            for future, result in self._shared(batch, results):
                future.set_result(result)
        self._note(items, began)


class AwaitingBatcher(Batching[Item, Result]):
    """Awaits each batch, which computes on a thread, while the loop serves others. One batch runs at a time.

    A turn of the loop answers one request. Else the clients of a large batch would keep the loop for milliseconds,
    because all of them are answered and ask again at the same time.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        max_size: int,
        bound: Bound | None = None,
        measures: QueueMeasures | None = None,
    ):
        super().__init__(max_size, bound, measures)
        self._run = run
        self._running: asyncio.Task[None] | None = None

    def _answer(self, batch: list[Entry[Item]], began: float) -> None:
        self._scheduled = True  # by the end of this batch
        self._running = asyncio.get_running_loop().create_task(self._await(batch, began))

    async def _await(self, batch: list[Entry[Item]], began: float) -> None:
        items = _items(batch)
        results: Sequence[Result] | None = None
        try:
            results = self._checked(items, await self._run(items))
        except asyncio.CancelledError:  # the loop ends
            for _, future, _ in batch:
                future.cancel()
            raise
        except Exception as error:
            self._fail(batch, items, error)
        finally:
            self._note(items, began)
            self._scheduled = False
        if self._waiting:
            self._schedule(asyncio.get_running_loop())
        for future, result in self._shared(batch, results) if results is not None else ():
            if not future.done():
                future.set_result(result)
            await asyncio.sleep(0)
