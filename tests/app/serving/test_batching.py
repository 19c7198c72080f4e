from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from time import monotonic, perf_counter

import pytest

from app.serving.batching import AwaitingBatcher, Batcher, BatchFailed, Bound, DeadlinePassed, QueueFull
from app.serving.counters import QueueMeasures


class Doubler:
    """A function of many that remembers what it was given, and fails on a batch with a negative number."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if min(items) < 0:
            raise ValueError("negative")
        return [2 * item for item in items]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


async def test_alone_runs_alone(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 100)
    assert await batcher.submit(1) == 2
    assert await batcher.submit(2) == 4
    assert doubler.batches == [[1], [2]]


async def test_waits_for_no_timer(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 100)
    future = batcher.submit(1)
    await asyncio.sleep(0)
    assert future.done()


async def test_together_run_together_in_order(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 100)
    assert await asyncio.gather(*map(batcher.submit, range(10))) == list(range(0, 20, 2))
    assert doubler.batches == [list(range(10))]


async def test_what_arrives_while_a_batch_runs_is_the_next_batch() -> None:
    arrived: list[asyncio.Future[int]] = []
    batches: list[list[int]] = []

    def answer(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        if len(batches) == 1:
            arrived.extend(batcher.submit(item) for item in (7, 8, 9))
        return list(items)

    batcher = Batcher(answer, 100)
    assert await batcher.submit(1) == 1
    assert await asyncio.gather(*arrived) == [7, 8, 9]
    assert batches == [[1], [7, 8, 9]]


async def test_more_that_wait_are_joined_by_who_comes_next(doubler: Doubler) -> None:
    async def ask(batcher: Batcher[int, int], item: int, turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await batcher.submit(item)

    batcher = Batcher(doubler, 100)
    await asyncio.gather(*(ask(batcher, item, turns) for item, turns in ((1, 0), (2, 0), (3, 1), (4, 2), (5, 9))))
    assert doubler.batches == [[1, 2, 3, 4], [5]]


async def test_full_batch_waits_for_nobody(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 3)
    futures = [batcher.submit(item) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    assert all(future.done() for future in futures)


async def test_no_batch_is_larger_than_allowed(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 3)
    assert await asyncio.gather(*map(batcher.submit, range(7))) == list(range(0, 14, 2))
    assert doubler.batches == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("is_large", [False, True])
async def test_items_alone_and_together_each_get_their_own_result(is_large: bool, doubler: Doubler) -> None:
    """A request of many is one entry; it is not split, so it waits for a run with room for it."""

    async def beside(items: Sequence[int]) -> list[int]:
        return doubler(items)

    batcher = AwaitingBatcher(beside, 4) if is_large else Batcher(doubler, 4)
    asked = [
        batcher.submit(1),
        batcher.submit_all([2, 3]),
        batcher.submit(4),
        batcher.submit_all([5, 6]),
        batcher.submit(7),
    ]
    found: list[object] = list(await asyncio.gather(*asked))
    assert found == [2, [4, 6], 8, [10, 12], 14]
    assert doubler.batches == [[1, 4, 7], [2, 3, 5, 6]]
    assert len(batcher) == 0


async def test_a_full_entry_waits_for_nobody(doubler: Doubler) -> None:
    """Two requests of many fill a run, so it begins on the loop's next turn although more come."""
    batcher = Batcher(doubler, 4)
    first = [asyncio.create_task(batcher.submit_all([1, 2])) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = batcher.submit(3)
    await asyncio.gather(*first, later)
    assert doubler.batches == [[1, 2, 1, 2], [3]]


async def test_loop_turns_between_batches(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 1)
    first, second = batcher.submit(1), batcher.submit(2)
    await asyncio.sleep(0)
    assert first.done()
    assert not second.done()
    assert await second == 4


async def test_failure_reaches_its_batch_and_no_other(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 2)
    futures = [batcher.submit(item) for item in (1, -2, 3, 4)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [BatchFailed, BatchFailed, int, int]
    assert isinstance(results[0], BatchFailed)
    assert isinstance(results[0].__cause__, ValueError)
    assert results[0] is not results[1]
    assert await batcher.submit(5) == 10
    assert doubler.batches == [[1, -2], [3, 4], [5]]


async def test_too_few_results_are_a_failure() -> None:
    with pytest.raises(BatchFailed, match="1 items gave 0 results"):
        await Batcher[int, int](lambda _: [], 10).submit(1)


async def test_cancelled_waiter_costs_nobody_else(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 100)

    async def wait_for(item: int) -> int:
        return await batcher.submit(item)

    tasks = [asyncio.create_task(wait_for(item)) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert [await tasks[0], await tasks[2]] == [2, 6]
    assert tasks[1].cancelled()
    assert doubler.batches == [[1, 3]]


async def test_batch_of_cancelled_waiters_does_not_run(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 100)
    batcher.submit(1).cancel()
    await asyncio.sleep(0)
    assert await batcher.submit(2) == 4
    assert doubler.batches == [[2]]


async def test_full_queue_refuses_at_once() -> None:
    batcher = Batcher(Doubler(), 10, Bound(2))
    waiting = [batcher.submit(item) for item in (1, 2)]
    with pytest.raises(QueueFull):
        batcher.submit(3)
    with pytest.raises(QueueFull):
        await batcher.submit_all([3, 4])
    assert await asyncio.gather(*waiting) == [2, 4]
    assert await batcher.submit(3) == 6


async def test_many_items_count_with_all_of_them() -> None:
    batcher = Batcher(Doubler(), 2, Bound(4))
    many = asyncio.create_task(batcher.submit_all([1, 2, 3, 4, 5]))
    await asyncio.sleep(0)
    assert len(batcher) == 5
    with pytest.raises(QueueFull):
        batcher.submit(6)
    assert await many == [2, 4, 6, 8, 10]
    assert len(batcher) == 0
    assert await batcher.submit(6) == 12


async def test_many_items_that_fail_leave_the_queue() -> None:
    batcher = Batcher[int, int](lambda _: [], 2)
    with pytest.raises(BatchFailed):
        await batcher.submit_all([1, 2, 3, 4, 5])
    assert len(batcher) == 0


async def test_many_items_whose_waiter_has_gone_leave_the_queue(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 100)
    many = asyncio.create_task(batcher.submit_all(list(range(50))))
    await asyncio.sleep(0)
    many.cancel()
    with pytest.raises(asyncio.CancelledError):
        await many
    await batcher.submit(50)
    assert len(batcher) == 0
    assert doubler.batches[-1] == [50]


async def test_late_item_is_not_run_and_costs_nobody_else(doubler: Doubler) -> None:
    batcher = Batcher(doubler, 100)
    now = monotonic()
    late, early, timeless = batcher.submit(1, now - 1), batcher.submit(2, now + 60), batcher.submit(3)
    with pytest.raises(DeadlinePassed):
        await late
    assert [await early, await timeless] == [4, 6]
    assert doubler.batches == [[2, 3]]


async def test_oldest_is_who_came_first() -> None:
    batcher = Batcher(Doubler(), 10)
    assert batcher.oldest() == inf
    before = monotonic()
    futures = [batcher.submit(item) for item in (1, 2)]
    assert before <= batcher.oldest() <= monotonic()
    await asyncio.gather(*futures)
    assert batcher.oldest() == inf


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
async def test_times_are_finer_than_the_loops_clock() -> None:
    """uvloop's clock counts milliseconds: a batch of 0.3 ms took either 0 or 1 ms by it."""
    measures = QueueMeasures()

    def answer(items: Sequence[int]) -> list[int]:
        began = perf_counter()
        while perf_counter() - began < 0.0003:
            pass
        return list(items)

    batcher = Batcher(answer, 1, measures=measures)
    for _ in range(50):
        await asyncio.gather(batcher.submit(1), batcher.submit(2))
    assert sum(measures.ran.counts) == 100
    assert sum(measures.ran.counts[:2]) == 0, "none took less than 0.2 ms"
    assert sum(measures.ran.counts[2:3]) > 0, "most took less than 0.5 ms"
    assert sum(measures.waited.counts[2:]) >= 50, "the second one of two waited for the first one"
    assert measures.ran.total >= 100 * 0.0003


def test_serves_one_loop_after_another() -> None:
    batcher = Batcher(Doubler(), 10)

    async def play() -> int:
        return await batcher.submit(1)

    assert [asyncio.run(play()), asyncio.run(play())] == [2, 2]


# Batches that are awaited


class Gate:
    """A function of many that is awaited, and answers when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.opened: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if error := await self.opened.get():
            raise error
        return [2 * item for item in items]

    async def begun(self, batches: int) -> None:
        """Wait until so many batches have begun."""
        while len(self.batches) < batches:
            await asyncio.sleep(0)


async def test_what_arrives_while_a_batch_is_awaited_is_the_next_batch() -> None:
    gate = Gate()
    batcher = AwaitingBatcher(gate, 2)
    first = batcher.submit(1)
    await gate.begun(1)
    later = [batcher.submit(item) for item in (2, 3, 4)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert gate.batches == [[1]], "one batch runs at a time"
    for _ in range(3):
        gate.opened.put_nowait(None)
    assert await asyncio.gather(first, *later) == [2, 4, 6, 8]
    assert gate.batches == [[1], [2, 3], [4]]


async def test_items_of_an_awaited_batch_count_until_it_ends() -> None:
    gate = Gate()
    batcher = AwaitingBatcher(gate, 8, Bound(2))
    futures = [batcher.submit(item) for item in (1, 2)]
    await gate.begun(1)
    assert len(batcher) == 2
    with pytest.raises(QueueFull):
        batcher.submit(3)
    gate.opened.put_nowait(None)
    await asyncio.gather(*futures)
    assert len(batcher) == 0


async def test_two_batchers_share_a_bound() -> None:
    gate, bound = Gate(), Bound(2)
    slow, quick = AwaitingBatcher(gate, 8, bound), Batcher(Doubler(), 8, bound)
    waiting = [slow.submit(1), slow.submit(2)]
    await gate.begun(1)
    with pytest.raises(QueueFull):
        quick.submit(3)
    gate.opened.put_nowait(None)
    await asyncio.gather(*waiting)
    assert await quick.submit(3) == 6


async def test_awaited_batch_that_fails_reaches_its_items_and_no_others() -> None:
    gate, measures = Gate(), QueueMeasures()
    batcher = AwaitingBatcher(gate, 2, measures=measures)
    futures = [batcher.submit(item) for item in (1, 2, 3)]
    gate.opened.put_nowait(ValueError("no room"))
    gate.opened.put_nowait(None)
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [BatchFailed, BatchFailed, int]
    assert isinstance(results[0], BatchFailed)
    assert isinstance(results[0].__cause__, ValueError)
    assert len(batcher) == 0
    assert (measures.answered, sum(measures.ran.counts), measures.sizes.total) == (1, 2, 3)


async def test_too_few_results_of_an_awaited_batch_are_a_failure() -> None:
    async def nothing(_: Sequence[int]) -> list[int]:
        return []

    with pytest.raises(BatchFailed, match="1 items gave 0 results"):
        await AwaitingBatcher(nothing, 10).submit(1)


async def test_waiter_that_leaves_while_its_batch_is_awaited_costs_nobody_else() -> None:
    gate = Gate()
    batcher = AwaitingBatcher(gate, 8)
    gone, stays = batcher.submit(1), batcher.submit(2)
    await gate.begun(1)
    gone.cancel()
    gate.opened.put_nowait(None)
    assert await stays == 4
    assert gone.cancelled()
    assert len(batcher) == 0


async def test_item_whose_deadline_passes_behind_an_awaited_batch_is_not_run() -> None:
    gate, measures = Gate(), QueueMeasures()
    batcher = AwaitingBatcher(gate, 1, measures=measures)
    first = batcher.submit(1)
    await gate.begun(1)
    late = batcher.submit(2, monotonic())
    gate.opened.put_nowait(None)
    assert await first == 2
    with pytest.raises(DeadlinePassed):
        await late
    assert gate.batches == [[1]]
    assert measures.dropped == {"deadline": 1}
    assert len(batcher) == 0


async def test_all_of_a_batch_that_is_given_up_is_counted() -> None:
    """What it never put into the queue as well."""
    gate, measures = Gate(), QueueMeasures()
    batcher = AwaitingBatcher(gate, 2, measures=measures)
    gone = asyncio.create_task(batcher.submit_all(range(7)))
    await gate.begun(1)
    late = asyncio.create_task(batcher.submit_all(range(5), monotonic()))
    gone.cancel()
    await asyncio.sleep(0)
    gate.opened.put_nowait(None)
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(DeadlinePassed):
        await late
    assert measures.dropped == {"deadline": 5, "client_gone": 5}  # two of the seven were run
    assert len(batcher) == 0


async def test_batch_that_is_refused_is_counted_in_items() -> None:
    measures = QueueMeasures()
    batcher = Batcher(Doubler(), 2, Bound(1), measures)
    first = batcher.submit(1)
    with pytest.raises(QueueFull):
        await batcher.submit_all(range(7))
    assert measures.dropped == {"overload": 7}
    assert await first == 2


def test_loop_that_ends_gives_up_the_batch_and_the_next_one_is_served() -> None:
    gate = Gate()
    batcher = AwaitingBatcher(gate, 8)

    async def leave() -> asyncio.Future[int]:
        future = batcher.submit(1)
        await gate.begun(1)
        return future

    async def come() -> int:
        gate.opened.put_nowait(None)
        return await batcher.submit(2)

    assert asyncio.run(leave()).cancelled()
    assert len(batcher) == 0
    gate.opened = asyncio.Queue()
    assert asyncio.run(come()) == 4


async def test_one_answer_is_given_in_a_turn_of_the_loop() -> None:
    """Otherwise a client that asks again at once could keep the loop for itself."""
    gate = Gate()
    batcher = AwaitingBatcher(gate, 8)
    futures = [batcher.submit(item) for item in range(8)]
    gate.opened.put_nowait(None)
    done = []
    while not futures[-1].done():
        await asyncio.sleep(0)
        done.append(sum(future.done() for future in futures))
    assert set(range(1, 9)) <= set(done)
