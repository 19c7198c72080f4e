from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from dataclasses import replace

import capitals
import fakes
import numpy as np
import pytest

from app.serving.batching import QueueFull
from app.serving.models import GROUP, Model, Prediction
from app.serving.predictor import NoSearch, Predictor
from seq2seq.decoding import Decoded
from seq2seq.problem import RuleBroken
from seq2seq.vocabulary import FloatArray, IdArray


class Recorder:
    """A truthful network that remembers how large its batches were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def greedy(self, sources: IdArray) -> Decoded:
        self.sizes.append(len(sources))
        return fakes.truthful(fakes.ADDITION).greedy(sources)


async def test_prediction_is_the_models() -> None:
    predictor = Predictor(fakes.models()["addition"], 8)
    assert await predictor.predict("10+6") == Prediction("16", (16, "16"), 0.997003)


async def test_what_is_no_number_has_no_value() -> None:
    def plus_signs(sources: IdArray) -> IdArray:
        return np.full((len(sources), fakes.ADDITION.target_length), 10, dtype=np.int32)

    model = Model(fakes.addition_manifest(), fakes.truthful(fakes.ADDITION, plus_signs))
    assert await Predictor(model, 8).predict("10+6") == Prediction("+++", (None, "+++"), 0.997003)


async def test_confidence_is_never_above_one() -> None:
    network = fakes.truthful(fakes.ADDITION)
    certain = replace(network, decode=lambda states: network.decode(states) * np.float32(1.002))
    model = Model(fakes.addition_manifest(), certain)
    assert (await Predictor(model, 8).predict("1+1")).confidence == 1.0


async def test_each_of_many_is_answered_in_order_a_run_at_a_time() -> None:
    network = Recorder()
    predictor = Predictor(Model(fakes.addition_manifest(), network), 4)
    results = await predictor.predict_each([f"{n}+1" for n in range(10)])
    assert [(result[0], result[1].values[0]) for result in results if isinstance(result, tuple)] == [
        (f"{n}+1", n + 1) for n in range(10)
    ]
    assert network.sizes == [4, 4, 2]


async def test_refused_value_stays_in_its_place() -> None:
    predictor = Predictor(fakes.models()["addition"], 2)
    first, second, third = await predictor.predict_each(["1+1", 5, " 2 + 2 "])
    assert isinstance(first, tuple)
    assert isinstance(second, RuleBroken)
    assert isinstance(third, tuple)
    assert third[0] == "2+2"


async def test_all_refused_runs_nothing() -> None:
    network = Recorder()
    predictor = Predictor(Model(fakes.addition_manifest(), network), 2)
    assert len(await predictor.predict_each([None, "x", 3])) == 3
    assert network.sizes == []


async def test_single_request_waits_for_one_run_of_a_batch_at_most() -> None:
    network = Recorder()
    predictor = Predictor(Model(fakes.addition_manifest(), network), 4)
    many = asyncio.create_task(predictor.predict_each(["1+1"] * 40))
    await asyncio.sleep(0)
    await predictor.predict("2+2")
    waited = len(network.sizes)
    await many
    runs = len(network.sizes)
    assert waited <= 2
    assert runs == 11


# Large networks, and searches


class Remembering:
    """A network that remembers which thread it ran on, how its batches were padded, and waits at its gate."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.shapes: list[tuple[int, ...]] = []
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def greedy(self, sources: IdArray) -> Decoded:
        self.threads.add(threading.get_ident())
        self.shapes.append(sources.shape)
        self.begun.set()
        assert self.gate.wait(60)
        return capitals.NETWORK.greedy(sources)


def remembering(*, is_large: bool) -> tuple[Predictor, Remembering]:
    network = Remembering()
    return Predictor(replace(capitals.model(is_large=is_large), network=network), 64), network


def written(predictions: list[Prediction]) -> list[str]:
    return [prediction.values[0] for prediction in predictions]


@pytest.mark.parametrize("is_large", [False, True])
async def test_small_network_runs_on_the_loop_and_a_large_one_on_one_thread(is_large: bool) -> None:
    predictor, network = remembering(is_large=is_large)
    for _ in range(5):
        assert (await predictor.predict(("a", "b"))).values == ("A B",)
    assert len(network.threads) == 1
    assert (threading.get_ident() in network.threads) != is_large


async def test_large_network_runs_in_groups_of_like_length_and_answers_in_order() -> None:
    predictor, network = remembering(is_large=True)
    sources = [tuple("abca"[: 1 + place % 4]) for place in range(4 * GROUP)]
    assert written(await predictor.predict_all(sources)) == [" ".join(source).upper() for source in sources]
    assert network.shapes == [(GROUP, length + 1) for length in (1, 2, 3, 4)]


async def test_loop_serves_others_while_a_large_network_runs() -> None:
    predictor, network = remembering(is_large=True)
    network.gate.clear()
    large = asyncio.ensure_future(predictor.predict(("a",)))
    await asyncio.to_thread(network.begun.wait, 60)
    assert (await Predictor(fakes.models()["addition"], 8).predict("10+6")).values == (16, "16")
    assert not large.done()
    network.gate.set()
    assert (await large).values == ("A",)


async def test_search_gives_the_answer_and_the_likeliest_others() -> None:
    predictor = Predictor(capitals.model(), 64)
    (found,) = await predictor.search_all([("a", "b")], 3)
    assert (found.values, found.confidence) == (("A B",), 0.81)
    assert [(each.values[0], each.confidence) for each in found.alternatives] == [
        ("A B", 0.81),
        ("A A", 0.045),
        ("A C", 0.045),
    ]


async def test_alternatives_depend_neither_on_how_many_are_asked_for_nor_on_others() -> None:
    predictor = Predictor(capitals.model(), 64)
    (ten,) = await predictor.search_all([("a", "b", "c")], 10)
    assert len(ten.alternatives) == 10
    several = await predictor.search_all([("a",), ("a", "b", "c"), ("b", "b", "b", "b")], 4)
    assert several[1].alternatives == ten.alternatives[:4]
    assert len(several[0].alternatives) == 3, "there are three answers of one letter"


async def test_search_runs_beside_the_loop_whatever_the_network() -> None:
    threads: set[int] = set()

    def search(sources: IdArray, width: int, prefix: Sequence[int] = ()) -> tuple[IdArray, FloatArray]:
        threads.add(threading.get_ident())
        return capitals.NETWORK.beam(sources, width, prefix)

    predictor = Predictor(replace(capitals.model(), search=search), 64)
    await predictor.search_all([("a",)] * 20, 2)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_search_shares_the_queue() -> None:
    predictor = Predictor(capitals.model(is_large=True), 64, 2)
    first = asyncio.ensure_future(predictor.search_all([("a",)] * 2, 2))
    await asyncio.sleep(0)
    assert predictor.depth() == 2
    for refused in (predictor.predict(("a",)), predictor.search_all([("a",)], 2)):
        with pytest.raises(QueueFull):
            await refused
    assert len(await first) == 2
    assert predictor.depth() == 0


async def test_model_that_cannot_search_says_so() -> None:
    with pytest.raises(NoSearch, match="addition gives one answer only"):
        await Predictor(fakes.models()["addition"], 8).search_all(["1+1"], 2)


@pytest.mark.parametrize("searching", [False, True])
async def test_waiting_behind_a_run_that_never_ends_is_being_stuck(searching: bool) -> None:
    predictor, network = remembering(is_large=True)
    network.gate.clear()

    async def ask() -> None:
        await (predictor.search_all([("a",)], 2) if searching else predictor.predict_all([("a",)]))

    first = asyncio.ensure_future(ask())
    await asyncio.to_thread(network.begun.wait, 60)
    assert not predictor.is_stuck(0)
    second = asyncio.ensure_future(ask())
    await asyncio.sleep(0.01)
    assert predictor.is_stuck(0.005)
    network.gate.set()
    await asyncio.gather(first, second)


def test_loop_that_ends_while_a_network_runs_leaves_nothing_behind() -> None:
    predictor, network = remembering(is_large=True)
    network.gate.clear()

    async def leave() -> asyncio.Task[Prediction]:
        task = asyncio.create_task(predictor.predict(("a",)))
        await asyncio.to_thread(network.begun.wait, 60)
        return task

    assert asyncio.run(leave()).cancelled()
    network.gate.set()
    assert asyncio.run(predictor.predict(("b",))).values == ("B",)


def test_thread_ends_with_its_model() -> None:
    gc.collect()
    before = {*threading.enumerate()}
    gc.disable()  # it must not take the collector, which does not look at models that were there at the start
    try:
        predictor, _ = remembering(is_large=True)
        asyncio.run(predictor.predict(("a",)))
        (thread,) = {*threading.enumerate()} - before
        del predictor
        thread.join(60)
        assert not thread.is_alive()
    finally:
        gc.enable()
