"""An empty FastAPI route written the usual way, with schemas like the service's; answers a constant.

No route class, middleware or error handler of ours; uvicorn as it comes, less its access log, which nobody here keeps.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, PlainValidator

from app.http.schemas import RequestBody
from app.serving.models import ModelReference
from benchmarks.servers import model
from benchmarks.workload import Route
from seq2seq import bundle
from seq2seq.problem import Problem


def _problem(route: Route) -> Problem:
    return bundle.read_manifest(model.directory(route)).problem


ADDITION = ModelReference(name="addition", version="1")
REVERSAL = ModelReference(name="reversal", version="1")
LIST = _problem("reverse").input


class AddRequest(RequestBody):
    expression: Annotated[str, PlainValidator(_problem("add").parse)]


class AddResponse(BaseModel):
    expression: str
    sum: int | None
    decoded: str
    confidence: float
    model: ModelReference


class ReverseRequest(RequestBody):
    sequence: Annotated[list[int], PlainValidator(_problem("reverse").parse)]


class ReverseResponse(BaseModel):
    sequence: list[int]
    reversed: list[int]
    confidence: float
    model: ModelReference


app = FastAPI()


@app.post("/add")
async def add(body: AddRequest) -> AddResponse:
    return AddResponse(expression=body.expression, sum=16, decoded="16", confidence=0.9999, model=ADDITION)


@app.post("/reverse")
async def reverse(body: ReverseRequest) -> ReverseResponse:
    given = LIST.value(body.sequence)
    return ReverseResponse(sequence=given, reversed=[40, 36, 20], confidence=0.9999, model=REVERSAL)
