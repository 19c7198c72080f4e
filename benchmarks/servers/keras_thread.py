"""FastAPI with a compiled Keras call for each request. Plain `def` routes, so FastAPI runs them in its thread pool.

Compiled graphs are some hundred times faster than `predict`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from app.serving import runtime
from benchmarks.servers import model
from benchmarks.workload import newest
from seq2seq import bundle
from seq2seq.vocabulary import Symbols

BUNDLE = bundle.read(newest(Path(os.environ["APP_MODELS_DIR"]), model.route()))
PROBLEM = BUNDLE.manifest.problem
NETWORK = runtime.loader("tensorflow")(BUNDLE)
REFERENCE = {"name": BUNDLE.manifest.name, "version": BUNDLE.manifest.version}


class Expression(BaseModel):
    expression: str


class Items(BaseModel):
    sequence: list[int]


def predict(value: object) -> tuple[Symbols, float]:
    """What the network writes, and how sure it is."""
    decoded = NETWORK.greedy(PROBLEM.encode([PROBLEM.parse(value)]))
    return PROBLEM.decode(decoded.ids)[0], decoded.confidence[0]


app = FastAPI()


@app.post("/add")
def add(body: Expression) -> dict[str, Any]:
    written, confidence = predict(body.expression)
    return {
        "expression": body.expression,
        "sum": PROBLEM.render(written),
        "decoded": written,
        "confidence": confidence,
        "model": REFERENCE,
    }


@app.post("/reverse")
def reverse(body: Items) -> dict[str, Any]:
    written, confidence = predict(body.sequence)
    return {
        "sequence": body.sequence,
        "reversed": PROBLEM.render(written),
        "confidence": confidence,
        "model": REFERENCE,
    }


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.servers.keras_thread:app",
        port=model.port(),
        workers=model.cores(),
        access_log=False,
        log_level="warning",
    )
