"""A FastAPI route that takes JSON and gives JSON, each turned over once between bytes and objects.

The endpoint is written as ever, `async def add(body: AddRequest) -> AddResponse`, and documented as ever. On the way
in the bytes are read up to a limit and validated straight from JSON; on the way out the answer is serialised straight
to JSON. Knows nothing of models.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import validation
from app.errors import ProblemError, invalid
from app.schemas import clipped

MEDIA_TYPE = "application/json"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def json_route(max_body_bytes: int) -> type[APIRoute]:
    """The class of routes whose bodies hold at most `max_body_bytes`."""

    class JsonRoute(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
            super().__init__(path, endpoint, **options)
            self.app = _application(self.get_route_handler())

        def get_route_handler(self) -> Handler:
            return _handler(self.endpoint, max_body_bytes)

    return JsonRoute


def _application(handle: Handler) -> ASGIApp:
    """A handler as ASGI, without FastAPI's two stacks for dependencies that these routes do not have."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handle(Request(scope, receive, send))
        await response(scope, receive, send)

    return application


def _handler(endpoint: Callable[..., Any], max_body_bytes: int) -> Handler:
    request_schema, response_schema = _signature(endpoint)
    to_json = response_schema.__pydantic_serializer__.to_json

    async def handle(request: Request) -> Response:
        require_json(request)
        body = await read_body(request, max_body_bytes)
        answer = await endpoint(validate(request_schema, body))
        return Response(to_json(answer), media_type=MEDIA_TYPE)

    return handle


def _signature(endpoint: Callable[..., Any]) -> tuple[type[BaseModel], type[BaseModel]]:
    """The endpoint's one parameter, which is the body, and its answer."""
    signature = inspect.signature(endpoint)
    (body,) = signature.parameters.values()
    return body.annotation, signature.return_annotation


def require_json(request: Request) -> None:
    """Raise 415 unless the body is declared to be JSON."""
    declared = request.headers.get("content-type", "")
    if declared != MEDIA_TYPE and not _is_json(declared):
        fault = f"is {clipped(declared, 60)}" if declared else "is missing"
        raise ProblemError(415, f"The header Content-Type {fault}; send {MEDIA_TYPE}.")


def _is_json(content_type: str) -> bool:
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or (subtype.endswith("+json") and subtype != "+json"))


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises 413 as soon as it is known to be larger than `limit`, whatever it was said to be."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, f"The body is larger than {limit} bytes, which is the most that this route takes.")


def validate(schema: type[BaseModel], body: bytes) -> BaseModel:
    """The body as the schema has it. Raises 422 that says what is wrong and where."""
    try:
        value = schema.model_validate_json(body)
    except ValidationError as error:
        raise invalid(validation.faults(error, schema, body)) from None
    if fault := validation.repeated_field(schema, body):
        raise invalid([fault])
    return value
