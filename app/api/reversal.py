"""`POST /reverse` and `POST /reverse/batch`. What a sequence may be is the problem's to say."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.http.json_route import Limits, Version, json_route
from app.http.problem_details import documented
from app.http.schemas import (
    MOST_ITEMS,
    Fault,
    ItemError,
    RequestBody,
    ReverseBatchResponse,
    ReverseResponse,
    ReverseResult,
    accepted_by,
    batch_item,
    exemplified,
)
from app.serving.models import Answer, ModelReference
from app.serving.served_model import ServedModel
from seq2seq.problem import RuleBroken

ERRORS = documented(400, 404, 413, 415, 422, 429, 500, 503, 504)


def routers(served: ServedModel, limits: Limits, batch_limits: Limits) -> list[APIRouter]:
    """The routes that have a version of a model reverse."""
    golden, reference = served.examples, served.reference
    samples = [sequence for sequence, _ in golden]

    class ReverseRequest(RequestBody):
        sequence: Annotated[list[int], accepted_by(served), Field(examples=samples)]

    class ReverseBatchRequest(RequestBody):
        sequences: Annotated[
            list[Any],
            Field(
                min_length=1,
                max_length=MOST_ITEMS,
                examples=[samples],
                json_schema_extra={"items": batch_item(served)},
            ),
        ]

    single = APIRouter(route_class=json_route(limits), tags=["reversal"])
    batch = APIRouter(route_class=json_route(batch_limits), tags=["reversal"])

    @single.post("/reverse", responses=ERRORS | exemplified([_response(answer, reference) for answer in golden]))
    async def reverse(body: ReverseRequest, version: Version = None) -> ReverseResponse:
        """Have the model reverse the first items of a sequence."""
        predictor = served.pick(version)
        return _response((body.sequence, await predictor.predict(body.sequence)), predictor.reference)

    @batch.post("/reverse/batch", responses=ERRORS | exemplified([_batch_response(golden, reference)]))
    async def reverse_batch(body: ReverseBatchRequest, version: Version = None) -> ReverseBatchResponse:
        """Have the model reverse each of many sequences; one that is refused carries its own error."""
        predictor = served.pick(version)
        return _batch_response(await predictor.predict_each(body.sequences), predictor.reference)

    return [single, batch]


def _response(answer: Answer, model: ModelReference) -> ReverseResponse:
    sequence, prediction = answer
    return ReverseResponse(
        sequence=[int(item) for item in sequence],
        reversed=prediction.value,
        confidence=prediction.confidence,
        model=model,
    )


def _batch_response(answers: Sequence[Answer | RuleBroken], model: ModelReference) -> ReverseBatchResponse:
    return ReverseBatchResponse(results=[_result(place, answer) for place, answer in enumerate(answers)], model=model)


def _result(place: int, answer: Answer | RuleBroken) -> ReverseResult | ItemError:
    if isinstance(answer, RuleBroken):
        return ItemError(error=Fault.of(answer, f"/sequences/{place}"))
    sequence, prediction = answer
    return ReverseResult(
        sequence=[int(item) for item in sequence], reversed=prediction.value, confidence=prediction.confidence
    )
