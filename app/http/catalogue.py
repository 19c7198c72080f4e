"""The catalogue of errors: the status and the words of each exception that a request can end with.

An exception without an entry is a failure of the service, and its answer is a 500 that tells nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from app.http.problem_details import ProblemError, response
from app.http.problem_types import ProblemType
from app.http.validation import Invalid
from app.serving.batching import DeadlinePassed, QueueFull
from app.serving.predictor import NoExplanation, NoSearch
from app.serving.repository import UnknownModel
from app.serving.served_model import NotLoaded, UnknownVersion
from app.text import clipped


def _invalid(error: Invalid) -> ProblemError:
    detail = str(error) if error.count == 1 else f"{error}; and {error.count - 1} more, see errors"
    return ProblemError(ProblemType.INVALID_BODY, f"{detail[:1].upper()}{detail[1:]}.", errors=error.faults)


CATALOGUE: dict[type[Exception], Callable[[Any], ProblemError]] = {
    ProblemError: lambda error: error,
    ClientDisconnect: lambda _: ProblemError(
        ProblemType.BAD_REQUEST, "The connection was closed before the whole request arrived."
    ),
    UnknownModel: lambda error: ProblemError(ProblemType.UNKNOWN_MODEL, clipped(str(error))),
    UnknownVersion: lambda error: ProblemError(ProblemType.UNKNOWN_MODEL, clipped(str(error))),
    NoSearch: lambda error: ProblemError(ProblemType.NOT_SUPPORTED, clipped(str(error))),
    NoExplanation: lambda error: ProblemError(ProblemType.NOT_SUPPORTED, clipped(str(error))),
    Invalid: _invalid,
    QueueFull: lambda _: ProblemError(
        ProblemType.QUEUE_FULL, "The queue is full. Try again in 1 second.", headers={"Retry-After": "1"}
    ),
    NotLoaded: lambda error: ProblemError(ProblemType.MODEL_UNAVAILABLE, clipped(str(error))),
    DeadlinePassed: lambda _: ProblemError(
        ProblemType.DEADLINE_PASSED,
        "The deadline passed before the request's turn came. Allow more time, or try again later.",
    ),
}


def answer(scope: Scope, error: Exception) -> Response | None:
    """The answer to a request that ends with an exception; None for a failure of the service."""
    for kind in type(error).__mro__:
        if kind in CATALOGUE:
            return response(scope, CATALOGUE[kind](error))
    return None


def handlers() -> dict[Any, Callable[[Request, Any], Any]]:
    """What has FastAPI answer exceptions."""
    return {**dict.fromkeys(CATALOGUE, _on_exception), HTTPException: _on_http}


async def _on_exception(request: Request, error: Exception) -> Response | None:
    return answer(request.scope, error)  # never None: FastAPI calls this only for what is in the catalogue


async def _on_http(request: Request, error: HTTPException) -> Response:
    """What Starlette raises for a route that does not exist, or a method that a route does not take."""
    path = request.scope["path"]
    if error.status_code == 404:
        return response(request.scope, no_route(path, has_docs=bool(request.app.openapi_url)))
    if error.status_code == 405:
        return response(request.scope, wrong_method(path, request.method, (error.headers or {})["Allow"].split(", ")))
    raise error  # which nothing here is known to raise: a failure of the service


def no_route(path: str, *, has_docs: bool) -> ProblemError:
    hint = "; try it without the slash at the end" if path.endswith("/") else "; see /docs" if has_docs else ""
    return ProblemError(ProblemType.UNKNOWN_ROUTE, f"There is no route {clipped(path, 60)}{hint}.")


def wrong_method(path: str, method: str, allowed: list[str]) -> ProblemError:
    allow = ", ".join(sorted(allowed))
    detail = f"{clipped(path, 60)} answers {allow}, not {clipped(method, 20)}."
    return ProblemError(ProblemType.WRONG_METHOD, detail, headers={"Allow": allow})
