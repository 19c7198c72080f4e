"""Errors as problem details (RFC 9457): every answer that is not a success is made here.

Knows nothing of models. `ProblemError` is what the service raises; `handlers` turns it, and what Starlette raises
for an unknown route or method, into `application/problem+json`; `documented` describes them in the OpenAPI document.
Under `/v2` an error is what the Open Inference Protocol has for it instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from app.http import headers
from app.http.schemas import Fault
from app.http.validation import Invalid
from app.inference_protocol.messages import ProtocolError, RequestRefused
from app.inference_protocol.tensors import AnswerUnfit
from app.serving.batching import DeadlinePassed, QueueFull
from app.serving.repository import UnknownModel
from app.serving.served_model import NotLoaded, UnknownVersion
from app.text import clipped

MEDIA_TYPE = "application/problem+json"
JSON = "application/json"
INFERENCE_PROTOCOL = "/v2"
"""Where the routes of the Open Inference Protocol are."""

NOT_OFFERED = re.compile(r"/v2/(?:models/[^/]+/)?(trace/setting|logging|systemsharedmemory|cudasharedmemory)(?:/.*)?")
EXTENSIONS = {
    "trace/setting": "trace settings",
    "logging": "log settings",
    "systemsharedmemory": "system shared memory",
    "cudasharedmemory": "CUDA shared memory",
}
"""What Triton's clients may ask for and this service does not offer, by its path."""

MOST_FAULTS = 20
"""How many faults one answer lists."""

LONGEST_REFUSAL = 400
"""How many characters say why a request of the inference protocol was refused."""

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
MEANINGS = {
    400: "A header, a query parameter or the compressed body is wrong.",
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
PROTOCOL_MEANINGS = MEANINGS | {
    400: "The request is not what the protocol, or the model, takes: `error` says what is wrong, and where.",
    403: "A web page of another origin must not change what is served.",
    415: "The content coding of the body is unknown.",
}

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


ANSWERED = (
    ProblemError,
    ClientDisconnect,
    QueueFull,
    DeadlinePassed,
    UnknownModel,
    UnknownVersion,
    NotLoaded,
    RequestRefused,
    Invalid,
    AnswerUnfit,
)
"""What is answered with a problem of its own; any other exception is a failure of the service."""

OVERLOADED = ProblemError(429, "The queue is full. Try again in 1 second.", headers={"Retry-After": "1"})
LATE = ProblemError(504, "The deadline passed before the request's turn came. Allow more time, or try again later.")


def out_of_files(error: OSError) -> ProblemError:
    """The problem of a route that needs a file which the system does not open."""
    return ProblemError(
        503, f"A file cannot be opened now: {error.strerror}. Try again in 1 second.", headers={"Retry-After": "1"}
    )


CUT_OFF = ProblemError(400, "The connection was closed before the whole request arrived.")


def _as_problem(error: Exception) -> ProblemError:
    match error:
        case ProblemError():
            return error
        case QueueFull():
            return OVERLOADED
        case DeadlinePassed():
            return LATE
        case UnknownModel() | UnknownVersion():
            return ProblemError(404, clipped(str(error)))
        case NotLoaded():
            return ProblemError(503, clipped(str(error)))
        case RequestRefused():
            return ProblemError(400, clipped(str(error), LONGEST_REFUSAL))
        case Invalid():
            detail = str(error) if error.count == 1 else f"{error}; and {error.count - 1} more, see errors"
            return ProblemError(422, f"{detail[:1].upper()}{detail[1:]}.", errors=error.faults)
        case AnswerUnfit():
            return ProblemError(500, clipped(str(error)))
    return CUT_OFF


def response(scope: Scope, error: Exception) -> Response:
    """One of `ANSWERED` as the answer to the request of `scope`."""
    error = _as_problem(error)
    if is_inference_protocol(scope["path"]):
        answer = Response(ProtocolError(error=error.detail).model_dump_json(), error.status, error.headers, JSON)
    else:
        answer = Response(json.dumps(_problem(scope, error).model_dump()), error.status, error.headers, MEDIA_TYPE)
    answer.raw_headers += headers.ANSWER
    return answer


def _problem(scope: Scope, error: ProblemError) -> Problem:
    return Problem(
        title=TITLES.get(error.status, "Error"),
        status=error.status,
        detail=error.detail,
        instance=clipped(quote(scope["path"])),
        request_id=scope.get("state", {}).get("request_id", ""),
        errors=None if error.errors is None else list(error.errors),
    )


def is_inference_protocol(path: str) -> bool:
    return path == INFERENCE_PROTOCOL or path.startswith(f"{INFERENCE_PROTOCOL}/")


def handlers() -> dict[Any, Callable[[Request, Any], Any]]:
    """What turns exceptions into answers."""
    return {**dict.fromkeys(ANSWERED, _on_problem), HTTPException: _on_http}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these errors, for a route that can give them."""
    return {
        status: {
            "description": MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **_headers(status),
        }
        for status in statuses
    }


def protocol_documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same, for a route of the inference protocol."""
    return {
        status: {"description": PROTOCOL_MEANINGS[status], "model": ProtocolError, **_headers(status)}
        for status in statuses
    }


def _headers(status: int) -> dict[str, Any]:
    return {"headers": HEADERS[status]} if status in HEADERS else {}


async def _on_problem(request: Request, error: Exception) -> Response:
    return response(request.scope, error)


async def _on_http(request: Request, error: HTTPException) -> Response:
    path, headers = clipped(request.scope["path"], 60), dict(error.headers or {})
    if error.status_code == 404:
        detail = _no_route(request.scope["path"], has_docs=bool(request.app.openapi_url))
    elif error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        detail = f"{path} answers {headers['Allow']}, not {clipped(request.method, 20)}."
    else:
        detail = clipped(str(error.detail))
    return response(request.scope, ProblemError(error.status_code, detail, headers=headers))


def _no_route(path: str, *, has_docs: bool) -> str:
    if extension := NOT_OFFERED.fullmatch(path):
        return f"This service does not offer {EXTENSIONS[extension[1]]}; GET /v2 lists its extensions."
    hint = "; try it without the slash at the end" if path.endswith("/") else "; see /docs" if has_docs else ""
    return f"There is no route {clipped(path, 60)}{hint}."
