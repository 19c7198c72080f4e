"""Errors as problem details (RFC 9457): every answer that is not a success is made here.

`ProblemError` is what the service raises, and `catalogue` says which other exceptions stand for one. `documented`
describes them in the OpenAPI document. Under `/v2` an error has the form of the Open Inference Protocol instead.
Knows no models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Scope

from app.http import headers
from app.http.schemas import Fault
from app.text import clipped

MEDIA_TYPE = "application/problem+json"
JSON = "application/json"
INFERENCE_PROTOCOL = "/v2"
"""Where the routes of the Open Inference Protocol are."""

MOST_FAULTS = 20
"""How many faults one answer lists."""

RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}
"""What RFC 9110 calls these statuses. Python 3.11 has older names."""

MEANINGS = {
    400: "A header, a query parameter or the compressed body is wrong, or the model cannot do what the query asks.",
    401: "The API key is missing or unknown.",
    404: "The route, the model or the version does not exist.",
    408: "The request did not arrive in time.",
    413: "The body is larger than this route allows.",
    415: "The body is not declared as JSON, or its content coding is unknown.",
    422: "The body is not valid: `errors` says what is wrong, where, and what would be right.",
    429: "The queue is full; `Retry-After` says when to try again.",
    431: "The request line and headers are too large.",
    500: "The service failed; the request may be fine.",
    503: "The service or the model is not ready, or too many bodies arrive at once: then `Retry-After` says when to try"
    " again.",
    504: "The deadline passed before the request's turn came; no work was spent on it.",
}
DETAILS = {
    400: "The query parameter version is given twice; send it once.",
    401: "The API key is unknown; it may have been replaced.",
    403: "A web page of another origin may not change what is served.",
    404: "There is no route /modles; see /docs.",
    405: "/models answers GET, HEAD, not POST.",
    408: "The request did not arrive in time.",
    413: "The body is larger than 65536 bytes, the limit of this route.",
    415: "The header Content-Type is missing; send application/json.",
    422: "The body is empty; send an object.",
    429: "The queue is full. Try again in 1 second.",
    431: "The request line and headers are too large.",
    500: "The service failed to answer; the request id names it in the log.",
    503: "The service is stopping; try another instance, or again shortly.",
    504: "The deadline passed before the request's turn came. Allow more time, or try again later.",
}
"""What errors say, for the examples in the OpenAPI document."""

HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to bring a key", "schema": {"type": "string"}, "required": True}},
    429: {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}, "required": True}},
    503: {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}},
}
"""What errors carry besides their body, as the OpenAPI document has it."""


class Problem(BaseModel):
    """Why a request was not answered, as RFC 9457 has it."""

    type: str = Field(default="about:blank", description="Kind of problem; about:blank where the status says it all")
    title: str = Field(description="What the status means")
    status: int = Field(description="The HTTP status")
    detail: str = Field(description="What was wrong with this request")
    instance: str = Field(description="Path of the request")
    request_id: str = Field(description="The request's id, as in the header X-Request-ID")
    errors: list[Fault] | None = Field(
        default=None,
        description="What is wrong with the body, fault by fault",
        exclude_if=lambda errors: errors is None,
    )


class ProblemError(Exception):
    """A request that is not answered: the status, and what was wrong."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Fault] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers


def out_of_files(error: OSError) -> ProblemError:
    """The problem of a route that needs a file which the system does not open."""
    return ProblemError(
        503, f"A file cannot be opened now: {error.strerror}. Try again in 1 second.", headers={"Retry-After": "1"}
    )


def response(scope: Scope, error: ProblemError) -> Response:
    """A problem as the answer to the request of `scope`."""
    if is_inference_protocol(scope["path"]):
        answer = Response(to_json({"error": error.detail}), error.status, error.headers, JSON)
    else:
        answer = Response(json.dumps(_problem(scope, error).model_dump()), error.status, error.headers, MEDIA_TYPE)
    answer.raw_headers += headers.ANSWER
    return answer


def _problem(scope: Scope, error: ProblemError) -> Problem:
    return Problem(
        title=title(error.status),
        status=error.status,
        detail=error.detail,
        instance=clipped(quote(scope["path"])),
        request_id=scope.get("state", {}).get("request_id", ""),
        errors=None if error.errors is None else list(error.errors),
    )


def is_inference_protocol(path: str) -> bool:
    return path == INFERENCE_PROTOCOL or path.startswith(f"{INFERENCE_PROTOCOL}/")


def title(status: int) -> str:
    """What a status means."""
    return RENAMED.get(status) or HTTPStatus(status).phrase


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these errors, for a route that can give them."""
    return {status: described(status, problem_content(status)) for status in statuses}


def described(status: int, content: dict[str, Any], meanings: Mapping[int, str] = MEANINGS) -> dict[str, Any]:
    """The OpenAPI description of one error, with its headers."""
    found = {"description": meanings[status], "content": content}
    return found | {"headers": HEADERS[status]} if status in HEADERS else found


def content(path: str, status: int) -> dict[str, Any]:
    """An error of this path as the OpenAPI document has it."""
    return protocol_content(status) if is_inference_protocol(path) else problem_content(status)


def problem_content(status: int) -> dict[str, Any]:
    """A problem as the OpenAPI document has it."""
    problem = Problem(
        title=title(status), status=status, detail=DETAILS[status], instance="/models", request_id="b0f18675a0957484"
    )
    if status == 422:
        problem.errors = [Fault(pointer="", detail="the body is empty; send an object", rule="json")]
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": problem.model_dump()}}


def protocol_content(status: int) -> dict[str, Any]:
    """The same for the Open Inference Protocol."""
    return {JSON: {"schema": {"$ref": "#/components/schemas/ProtocolError"}, "example": {"error": DETAILS[status]}}}
