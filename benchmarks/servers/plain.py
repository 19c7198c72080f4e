"""An empty FastAPI route written the usual way. It validates by the service's schemas and answers a constant.

It has no route class, middleware or error handler of ours. uvicorn is as it comes, without its access log.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI

from app.http.schemas import AddResponse, RequestBody, ReverseResponse, accepted_by
from app.serving.models import ModelReference
from benchmarks.servers import model
from benchmarks.workload import Route, newest
from seq2seq import bundle
from seq2seq.problem import Problem


def _problem(route: Route) -> Problem:
    return bundle.read_manifest(newest(Path(os.environ["APP_MODELS_DIR"]), route)).problem


ADDITION = ModelReference(name="addition", version="1")
REVERSAL = ModelReference(name="reversal", version="1")


class AddRequest(RequestBody):
    expression: Annotated[str, accepted_by(_problem("add"))]


class ReverseRequest(RequestBody):
    sequence: Annotated[list[int], accepted_by(_problem("reverse"))]


app = FastAPI()


@app.post("/add")
async def add(body: AddRequest) -> AddResponse:
    return AddResponse(expression=body.expression, sum=16, decoded="16", confidence=0.9999, model=ADDITION)


@app.post("/reverse")
async def reverse(body: ReverseRequest) -> ReverseResponse:
    return ReverseResponse(sequence=body.sequence, reversed=[40, 36, 20], confidence=0.9999, model=REVERSAL)


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.servers.plain:app",
        port=model.port(),
        workers=model.cores(),
        access_log=False,
        log_level="warning",
    )
