"""The tutorials' way to serve: a FastAPI route that calls Keras' `predict` for each request.

A model that writes the whole answer takes one call. A stepped decoder takes one call for the encoder and one a step.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.servers import model
from benchmarks.servers.model import Answers
from seq2seq.bundle import Bundle
from seq2seq.decoding import Autoregressive, Network, RepeatVector, States
from seq2seq.vocabulary import FloatArray, IdArray


def load(bundle: Bundle) -> Network:
    """A bundle's Keras models, each called by `predict`."""

    def predict_of(name: str) -> Any:
        network = keras.saving.load_model(bundle.path / f"{name}.keras", compile=False)
        return partial(network.predict, verbose=0)

    if bundle.manifest.network.family == "repeat_vector":
        whole = predict_of("training")
        return RepeatVector(
            lambda sources: [keras.ops.convert_to_numpy(keras.ops.softmax(whole(sources)))],
            lambda probabilities: probabilities[0],
        )
    encoder, decoder = predict_of("encoder"), predict_of("decoder")

    def step(symbols: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, *following = decoder([symbols[:, None], *states])
        return probabilities, following

    problem = bundle.manifest.problem
    return Autoregressive(encoder, step, problem.target_length, problem.target_vocabulary.padding_id)


class Expression(BaseModel):
    expression: str


class Items(BaseModel):
    sequence: list[int]


answers = Answers(model.route(), load)
app = FastAPI()


@app.post("/add")
async def add(body: Expression) -> dict[str, Any]:
    return answers([body.expression])[0]


@app.post("/reverse")
async def reverse(body: Items) -> dict[str, Any]:
    return answers([body.sequence])[0]
