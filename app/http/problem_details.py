"""Errors as problem details (RFC 9457): every answer that is not a success is made here.

`ProblemError` is what the service raises, and `catalogue` says which other exceptions stand for one. `documented`
describes them in the OpenAPI document. Under `/v2` an error has the form of the Open Inference Protocol instead.
`problem_types` says which types there are. Knows no models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Scope

from app.http import headers, problem_types
from app.http.problem_types import ProblemType
from app.http.schemas import Fault
from app.text import clipped

MEDIA_TYPE = "application/problem+json"
JSON = "application/json"
INFERENCE_PROTOCOL = "/v2"
"""Where the routes of the Open Inference Protocol are."""

PREFIX = "prefix"
"""Where a request's state has the prefix under which a proxy serves the API, if there is one."""

MOST_FAULTS = 20
"""How many faults one answer lists."""

HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to bring a key", "schema": {"type": "string"}, "required": True}},
    429: {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}, "required": True}},
    503: {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}},
}
"""What errors carry besides their body, as the OpenAPI document has it."""


class Problem(BaseModel):
    """Why a request was not answered, as RFC 9457 has it."""

    type: str = Field(
        description="Address of a page about this type of problem, with the prefix behind which the service is, if any",
        json_schema_extra={"format": "uri-reference"},
    )
    title: str = Field(description="Name of the type")
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
    """A request that is not answered: the type of the problem, and what was wrong."""

    def __init__(
        self,
        type_: ProblemType,
        detail: str,
        *,
        errors: Sequence[Fault] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(detail)
        self.type = type_
        self.status = type_.status
        self.detail = detail
        self.errors = errors
        self.headers = headers


def out_of_files(error: OSError) -> ProblemError:
    """The problem of a route that needs a file which the system does not open."""
    return ProblemError(
        ProblemType.OVERLOADED,
        f"A file cannot be opened now: {error.strerror}. Try again in 1 second.",
        headers={"Retry-After": "1"},
    )


def response(scope: Scope, error: ProblemError) -> Response:
    """A problem as the answer to the request of `scope`."""
    content, media_type = body(error, scope["path"], scope.get("state", {}))
    answer = Response(json.dumps(content), error.status, error.headers, media_type)
    answer.raw_headers += headers.ANSWER
    return answer


def body(error: ProblemError, path: str, state: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What the answer to a request to `path` says, and its media type. `state` has the request's id and prefix."""
    if is_inference_protocol(path):
        return {"error": error.detail}, JSON
    problem = Problem(
        type=f"{state.get(PREFIX, '')}{problem_types.PATH}/{error.type.slug}",
        title=error.type.title,
        status=error.status,
        detail=error.detail,
        instance=clipped(quote(path)),
        request_id=state.get("request_id", ""),
        errors=None if error.errors is None else list(error.errors),
    )
    return problem.model_dump(), MEDIA_TYPE


def is_inference_protocol(path: str) -> bool:
    return path == INFERENCE_PROTOCOL or path.startswith(f"{INFERENCE_PROTOCOL}/")


def example(type_: ProblemType, path: str, prefix: str = "") -> tuple[dict[str, Any], str]:
    """What the answer to a request to `path` that meets this type says, and its media type."""
    error = ProblemError(type_, type_.detail, errors=type_.faults or None)
    return body(error, path, {PREFIX: prefix, "request_id": "b0f18675a0957484"})


# The OpenAPI document


def documented(*types: ProblemType) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these errors, by status, for a route that can give them."""
    answers: dict[int | str, dict[str, Any]] = {}
    for each in types:
        describe(answers, each)
    return answers


def describe(
    answers: dict[int | str, dict[str, Any]], type_: ProblemType, meaning: str = "", *, is_protocol: bool = False
) -> None:
    """Add an error, in the protocol's form or in ours, to the OpenAPI description of a route's answers."""
    answer = answers.setdefault(str(type_.status), {"description": "", "content": {}})
    meaning = meaning or type_.meaning
    if meaning not in answer["description"]:
        answer["description"] = f"{answer['description']} {meaning}".lstrip()
    shown, media_type = example(type_, INFERENCE_PROTOCOL if is_protocol else type_.path)
    schema = {"$ref": f"#/components/schemas/{'ProtocolError' if is_protocol else 'Problem'}"}
    content = answer["content"].setdefault(media_type, {"schema": schema, "examples": {}})
    content["examples"][type_.slug] = {"value": shown}
    if type_.status in HEADERS:
        answer["headers"] = HEADERS[type_.status]
