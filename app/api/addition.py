"""`POST /add` and `POST /add/batch`. What an expression may be is the problem's to say."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.http.json_route import Limits, Version, json_route
from app.http.problem_details import documented
from app.http.schemas import (
    MOST_ITEMS,
    AddBatchResponse,
    AddResponse,
    AddResult,
    Fault,
    ItemError,
    RequestBody,
    accepted_by,
    batch_item,
    exemplified,
)
from app.serving.models import Answer, ModelReference
from app.serving.served_model import ServedModel
from seq2seq.problem import RuleBroken

ERRORS = documented(400, 404, 413, 415, 422, 429, 500, 503, 504)


def routers(served: ServedModel, limits: Limits, batch_limits: Limits) -> list[APIRouter]:
    """The routes that have a version of a model add."""
    golden, reference = served.examples, served.reference
    samples = [expression for expression, _ in golden]

    class AddRequest(RequestBody):
        expression: Annotated[str, accepted_by(served), Field(examples=samples)]

    class AddBatchRequest(RequestBody):
        expressions: Annotated[
            list[Any],
            Field(
                min_length=1,
                max_length=MOST_ITEMS,
                examples=[samples],
                json_schema_extra={"items": batch_item(served)},
            ),
        ]

    single = APIRouter(route_class=json_route(limits), tags=["addition"])
    batch = APIRouter(route_class=json_route(batch_limits), tags=["addition"])

    @single.post("/add", responses=ERRORS | exemplified([_response(answer, reference) for answer in golden]))
    async def add(body: AddRequest, version: Version = None) -> AddResponse:
        """Have the model add the terms of an expression."""
        predictor = served.pick(version)
        return _response((body.expression, await predictor.predict(body.expression)), predictor.reference)

    @batch.post("/add/batch", responses=ERRORS | exemplified([_batch_response(golden, reference)]))
    async def add_batch(body: AddBatchRequest, version: Version = None) -> AddBatchResponse:
        """Have the model add each of many expressions; one that is refused carries its own error."""
        predictor = served.pick(version)
        return _batch_response(await predictor.predict_each(body.expressions), predictor.reference)

    return [single, batch]


def _response(answer: Answer, model: ModelReference) -> AddResponse:
    expression, prediction = answer
    return AddResponse(
        expression=str(expression),
        sum=prediction.value,
        decoded=str(prediction.written),
        confidence=prediction.confidence,
        model=model,
    )


def _batch_response(answers: Sequence[Answer | RuleBroken], model: ModelReference) -> AddBatchResponse:
    return AddBatchResponse(results=[_result(place, answer) for place, answer in enumerate(answers)], model=model)


def _result(place: int, answer: Answer | RuleBroken) -> AddResult | ItemError:
    if isinstance(answer, RuleBroken):
        return ItemError(error=Fault.of(answer, f"/expressions/{place}"))
    expression, prediction = answer
    return AddResult(
        expression=str(expression),
        sum=prediction.value,
        decoded=str(prediction.written),
        confidence=prediction.confidence,
    )
