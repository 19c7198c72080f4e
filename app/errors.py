"""Errors as problem details (RFC 9457): every answer that is not a success is made here.

Knows nothing of models. `ProblemError` is what the service raises; `handlers` turns it, and what Starlette raises
for an unknown route or method, into `application/problem+json`; `documented` describes them in the OpenAPI document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from app.schemas import Fault, clipped

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 20
"""How many faults one answer lists."""

TITLES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
MEANINGS = {
    404: "There is no such thing here.",
    413: "The body is larger than this route allows.",
    415: "The body is not declared to be JSON.",
    422: "The body is not valid: `errors` says what is wrong, where, and what would be right.",
    500: "The service failed; the request may be fine.",
    503: "The service is not ready.",
}


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


def invalid(faults: Sequence[Fault]) -> ProblemError:
    """The problem of a body in which something is wrong."""
    first = faults[0].detail
    detail = first if len(faults) == 1 else f"{first}; and {len(faults) - 1} more, see errors"
    return ProblemError(422, detail[:1].upper() + detail[1:] + ".", errors=faults[:MOST_FAULTS])


def response(scope: Scope, error: ProblemError | ClientDisconnect) -> Response:
    """A problem as the answer to the request of `scope`."""
    if isinstance(error, ClientDisconnect):
        error = ProblemError(400, "The connection was closed before the request was whole.")
    problem = Problem(
        title=TITLES.get(error.status, "Error"),
        status=error.status,
        detail=error.detail,
        instance=clipped(quote(scope["path"])),
        request_id=scope.get("state", {}).get("request_id", ""),
        errors=None if error.errors is None else list(error.errors),
    )
    return Response(json.dumps(problem.model_dump()), error.status, error.headers, MEDIA_TYPE)


def handlers() -> dict[Any, Callable[[Request, Any], Any]]:
    """What turns exceptions into answers."""
    return {ProblemError: _on_problem, ClientDisconnect: _on_problem, HTTPException: _on_http}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these errors, for a route that can give them."""
    return {
        status: {
            "description": MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


async def _on_problem(request: Request, error: ProblemError | ClientDisconnect) -> Response:
    return response(request.scope, error)


async def _on_http(request: Request, error: HTTPException) -> Response:
    path, allowed = clipped(request.url.path, 60), (error.headers or {}).get("Allow", "")
    details = {
        404: f"There is no route {path}; /docs lists those that there are.",
        405: f"{path} answers {allowed}, not {clipped(request.method, 20)}.",
    }
    detail = details.get(error.status_code, clipped(str(error.detail)))
    return response(request.scope, ProblemError(error.status_code, detail, headers=error.headers))
