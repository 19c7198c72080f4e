from __future__ import annotations

import asyncio
from dataclasses import replace

import fakes
import numpy as np

from app.serving.models import Model, Prediction
from app.serving.predictor import Predictor
from seq2seq.decoding import Decoded
from seq2seq.problem import RuleBroken
from seq2seq.vocabulary import IdArray


class Recorder:
    """A truthful network that remembers how large its batches were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def greedy(self, sources: IdArray) -> Decoded:
        self.sizes.append(len(sources))
        return fakes.truthful(fakes.ADDITION).greedy(sources)


async def test_prediction_is_the_models() -> None:
    predictor = Predictor(fakes.models()["addition"], 8)
    assert await predictor.predict("10+6") == Prediction("16", [16, "16"], 0.997003)


async def test_what_is_no_number_has_no_value() -> None:
    def plus_signs(sources: IdArray) -> IdArray:
        return np.full((len(sources), fakes.ADDITION.target_length), 10, dtype=np.int32)

    model = Model(fakes.addition_manifest(), fakes.truthful(fakes.ADDITION, plus_signs))
    assert await Predictor(model, 8).predict("10+6") == Prediction("+++", [None, "+++"], 0.997003)


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
