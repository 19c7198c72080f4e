"""A FastAPI route that takes JSON and gives JSON, each turned over once between bytes and objects.

The endpoint is written as ever, `async def add(body: AddRequest) -> AddResponse`, and documented as ever. On the way
in the bytes are read up to a limit and validated straight from JSON; on the way out the answer is serialised straight
to JSON. Knows nothing of models.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app import errors, validation
from app.errors import ProblemError, invalid
from app.middleware import RequestMiddleware
from app.schemas import clipped

MEDIA_TYPE = b"application/json"
CONTENT_TYPE = (b"content-type", MEDIA_TYPE)
Headers = Mapping[bytes, bytes]


class JsonRoute(APIRoute):
    """A route that takes and gives JSON; its class says how large a body may be."""

    max_body_bytes: int

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        super().__init__(path, endpoint, **options)
        self.app = _application(endpoint, self.max_body_bytes)


def json_route(limit: int) -> type[JsonRoute]:
    """The class of routes whose bodies hold at most `limit` bytes."""

    class LimitedJsonRoute(JsonRoute):
        max_body_bytes = limit

    return LimitedJsonRoute


class Shortcut:
    """Hands a request for a JSON route straight to it, and every other to an application.

    FastAPI's own layers (telemetry, a stack for each dependency, an error page, matching one route after another) take
    as long as all the rest of such a request, and a JSON route has no use for them.
    """

    def __init__(self, routes: Iterable[BaseRoute], otherwise: ASGIApp):
        self._routes = {
            (method, route.path): RequestMiddleware(route.app)
            for route in routes
            if isinstance(route, JsonRoute)
            for method in route.methods or ()
        }
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = scope["type"] == "http" and self._routes.get((scope["method"], scope["path"]))
        await (known or self._otherwise)(scope, receive, send)


def _application(endpoint: Callable[..., Any], max_body_bytes: int) -> ASGIApp:
    """An endpoint as ASGI."""
    request_schema, response_schema = _signature(endpoint)
    to_json = response_schema.__pydantic_serializer__.to_json

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            require_json(headers)
            body = await read_body(headers, receive, max_body_bytes)
            content = to_json(await endpoint(validate(request_schema, body)))
        except (ProblemError, ClientDisconnect) as error:
            await errors.response(scope, error)(scope, receive, send)
            return
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [CONTENT_TYPE, length]})
        await send({"type": "http.response.body", "body": content})

    return application


def _signature(endpoint: Callable[..., Any]) -> tuple[type[BaseModel], type[BaseModel]]:
    """The endpoint's one parameter, which is the body, and its answer."""
    signature = inspect.signature(endpoint)
    (body,) = signature.parameters.values()
    return body.annotation, signature.return_annotation


def require_json(headers: Headers) -> None:
    """Raise 415 unless the body is declared to be JSON."""
    declared = headers.get(b"content-type", b"")
    if declared != MEDIA_TYPE and not _is_json(declared.decode("latin-1")):
        fault = f"is {clipped(declared.decode('latin-1'), 60)}" if declared else "is missing"
        raise ProblemError(415, f"The header Content-Type {fault}; send {MEDIA_TYPE.decode('ascii')}.")


def _is_json(content_type: str) -> bool:
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or (subtype.endswith("+json") and subtype != "+json"))


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises 413 as soon as it is known to be larger than `limit`, whatever it was said to be."""
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
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
