"""The tutorials' way to serve: a FastAPI route that calls Keras' `predict` for each request.

A model that writes the whole answer takes one call. A stepped decoder takes one call for the encoder and one a step.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.servers import model
from benchmarks.workload import newest
from seq2seq import bundle
from seq2seq.vocabulary import IdArray


def load(directory: Path) -> tuple[Any, ...]:
    """The models of a bundle that answer."""
    if bundle.read_manifest(directory).network.family == "repeat_vector":
        return (keras.saving.load_model(directory / "training.keras", compile=False),)
    return tuple(keras.saving.load_model(directory / f"{side}.keras", compile=False) for side in ("encoder", "decoder"))


DIRECTORY = newest(Path(os.environ["APP_MODELS_DIR"]), model.route())
MANIFEST = bundle.read_manifest(DIRECTORY)
PROBLEM = MANIFEST.problem
MODELS = load(DIRECTORY)
REFERENCE = {"name": MANIFEST.name, "version": MANIFEST.version}


def predict(source: IdArray) -> tuple[IdArray, float]:
    """Source ids (1, S) → the ids written (1, T), and how sure the model is."""
    if len(MODELS) == 1:
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(MODELS[0].predict(source, verbose=0)))
        return probabilities.argmax(axis=-1), float(probabilities.max(axis=-1).prod())
    encoder, decoder = MODELS
    states = encoder.predict(source, verbose=0)
    symbol = np.full((1, 1), PROBLEM.target_vocabulary.padding_id)
    written, confidence = [], 1.0
    for _ in range(PROBLEM.target_length):
        probabilities, *states = decoder.predict([symbol, *states], verbose=0)
        symbol = probabilities.argmax(axis=-1)[:, None]
        written.append(symbol)
        confidence *= float(probabilities.max())
    return np.concatenate(written, axis=1), confidence


class Expression(BaseModel):
    expression: str


class Items(BaseModel):
    sequence: list[int]


app = FastAPI()


@app.post("/add")
async def add(body: Expression) -> dict[str, Any]:
    ids, confidence = predict(PROBLEM.encode([PROBLEM.parse(body.expression)]))
    written = PROBLEM.decode(ids)[0]
    return {
        "expression": body.expression,
        "sum": PROBLEM.render(written),
        "decoded": written,
        "confidence": confidence,
        "model": REFERENCE,
    }


@app.post("/reverse")
async def reverse(body: Items) -> dict[str, Any]:
    ids, confidence = predict(PROBLEM.encode([PROBLEM.parse(body.sequence)]))
    return {
        "sequence": body.sequence,
        "reversed": PROBLEM.render(PROBLEM.decode(ids)[0]),
        "confidence": confidence,
        "model": REFERENCE,
    }


if __name__ == "__main__":
    uvicorn.run(app, port=model.port(), access_log=False, log_level="warning")
