"""`POST /reverse` and `POST /reverse/batch`. What a sequence may be is the problem's to say."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.errors import documented
from app.json_route import json_route
from app.predictor import Predictor
from app.registry import Answer
from app.schemas import (
    MOST_ITEMS,
    Fault,
    ItemError,
    ModelReference,
    RequestBody,
    ReverseBatchResponse,
    ReverseResponse,
    ReverseResult,
    accepted_by,
    exemplified,
)
from seq2seq.problem import RuleBroken

ERRORS = documented(413, 415, 422, 500)


def routers(predictor: Predictor, max_body_bytes: int, max_batch_body_bytes: int) -> list[APIRouter]:
    """The routes that have `predictor` reverse."""
    problem, reference = predictor.model.problem, ModelReference.of(predictor.model)
    golden = predictor.model.examples
    samples = [sequence for sequence, _ in golden]

    class ReverseRequest(RequestBody):
        sequence: Annotated[list[int], accepted_by(problem), Field(examples=samples)]

    class ReverseBatchRequest(RequestBody):
        sequences: Annotated[
            list[Any],
            Field(
                min_length=1,
                max_length=MOST_ITEMS,
                examples=[samples],
                json_schema_extra={"items": problem.schema},
            ),
        ]

    single = APIRouter(route_class=json_route(max_body_bytes), tags=["reversal"])
    batch = APIRouter(route_class=json_route(max_batch_body_bytes), tags=["reversal"])

    @single.post("/reverse", responses=ERRORS | exemplified([_response(answer, reference) for answer in golden]))
    async def reverse(body: ReverseRequest) -> ReverseResponse:
        """Have the model reverse the first items of a sequence."""
        return _response((body.sequence, await predictor.predict(body.sequence)), reference)

    @batch.post("/reverse/batch", responses=ERRORS | exemplified([_batch_response(golden, reference)]))
    async def reverse_batch(body: ReverseBatchRequest) -> ReverseBatchResponse:
        """Have the model reverse each of many sequences; one that is refused carries its own error."""
        return _batch_response(await predictor.predict_each(body.sequences), reference)

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
