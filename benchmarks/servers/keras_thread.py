"""FastAPI with a compiled Keras call for each request. Plain `def` routes, so FastAPI runs them in its thread pool.

Compiled graphs are some hundred times faster than `predict`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from app.serving import runtime
from benchmarks.servers import model
from benchmarks.servers.model import Answers


class Expression(BaseModel):
    expression: str


class Items(BaseModel):
    sequence: list[int]


answers = Answers(model.route(), runtime.loader("tensorflow"))
app = FastAPI()


@app.post("/add")
def add(body: Expression) -> dict[str, Any]:
    return answers([body.expression])[0]


@app.post("/reverse")
def reverse(body: Items) -> dict[str, Any]:
    return answers([body.sequence])[0]
