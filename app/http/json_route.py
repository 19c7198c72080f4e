"""A FastAPI route that takes JSON and gives JSON, each turned over once between bytes and objects.

The endpoint is written as ever, `async def add(body: AddRequest) -> AddResponse`, and documented as ever. On the way
in the bytes are read up to a limit and validated straight from JSON; on the way out the answer is serialised straight
to JSON. Before any of it a request is admitted or turned away, and gets its deadline. Knows nothing of models.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, WithJsonSchema
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http import problem_details, validation
from app.http.bodies import Bodies, Headers, headers_of
from app.http.guards import guarded
from app.http.headers import ANSWER
from app.http.middleware import HEADER, STATUS, WHOLE, RequestMiddleware, only_by_send, route_of
from app.http.problem_details import MOST_FAULTS, ProblemError
from app.serving.counters import Traffic
from app.serving.predictor import deadline
from app.text import clipped

MEDIA_TYPE = b"application/json"
HEADERS = [(b"content-type", MEDIA_TYPE), *ANSWER]
HEAD = b"".join(b"%b: %b\r\n" % header for header in HEADERS) + b"content-length: %d\r\n" + HEADER + b": %b\r\n"
"""The head's lines of a success, less the length of its body and the request's id."""

TIMEOUT = b"x-timeout-ms"
MOST_DIGITS = 12
MOST_PARAMETERS = 100
"""How many parameters a query may hold, so that a long one holds nobody up."""

Version = Annotated[
    str | None,
    Query(description="The model's version; without it, the one that answers by default"),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]*$", "examples": ["1"]}),
]
"""The one parameter that a JSON route's address may have."""

TIMEOUT_DESCRIBED = {
    "name": "X-Timeout-Ms",
    "in": "header",
    "description": "Milliseconds that the request may take; it can only shorten what the service grants",
    "schema": {"type": "integer", "minimum": 1, "maximum": 10**MOST_DIGITS - 1, "examples": [5_000]},
}
"""The header as the OpenAPI document has it, for a route that calls `seconds_granted`."""


@dataclass(frozen=True)
class Limits:
    """What a route grants a request.

    body_bytes  the most that its body may hold
    seconds     how long it may take; the header X-Timeout-Ms may shorten that
    admit       called first of all, with the version that is asked for; raises what turns the request away
    bodies      reads its body
    """

    body_bytes: int
    seconds: float
    admit: Callable[[str | None], None]
    bodies: Bodies


class JsonRoute(APIRoute):
    """A route that takes and gives JSON; its class says what it grants a request."""

    limits: Limits

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        super().__init__(path, endpoint, **{**options, "openapi_extra": {"parameters": [TIMEOUT_DESCRIBED]}})
        self.app = _application(endpoint, self.limits)


def json_route(granted: Limits) -> type[JsonRoute]:
    """The class of routes with these limits."""

    class LimitedJsonRoute(JsonRoute):
        limits = granted

    return LimitedJsonRoute


class Shortcut:
    """Hands a request for a JSON route straight to it, behind `guards`, and every other to an application.

    FastAPI's own layers (telemetry, a stack for each dependency, an error page, matching one route after another) take
    as long as all the rest of such a request, and a JSON route has no use for them.

    Where a proxy serves the API under a prefix, `root_path`, nothing behind this sees it: guards and routes compare the
    same path, whether the proxy takes the prefix off or not.
    """

    def __init__(
        self,
        routes: Iterable[BaseRoute],
        otherwise: ASGIApp,
        traffic: Traffic,
        guards: Sequence[Middleware] = (),
        root_path: str = "",
    ):
        self._routes = {
            (method, route.path): RequestMiddleware(guarded(route.app, guards), traffic, route.path)
            for route in routes
            if isinstance(route, JsonRoute)
            for method in route.methods or ()
        }
        self._is_guarded = bool(guards)
        self._otherwise = otherwise
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._otherwise(scope, receive, send)
            return
        if root_path := self._root_path or scope.get("root_path", ""):
            take_off(root_path, scope)
        known = self._routes.get((scope["method"], scope["path"]))
        if self._is_guarded or known is None:
            only_by_send(scope)
        await (known or self._otherwise)(scope, receive, send)

    def route_of(self, scope: Scope) -> str:
        """The path of the route that answered a request, as the service declares it."""
        path: str = scope["path"]
        return path if (scope["method"], path) in self._routes else route_of(scope)


def take_off(root_path: str, scope: Scope) -> None:
    """Have a request's path begin after `root_path`, where it begins with that."""
    rest = scope["path"].removeprefix(root_path)
    if rest.startswith("/") or not rest:
        scope["path"] = rest or "/"
    scope["root_path"] = ""


def _application(endpoint: Callable[..., Any], limits: Limits) -> ASGIApp:
    """An endpoint as ASGI."""
    request_schema, response_schema = _signature(endpoint)
    to_json = response_schema.__pydantic_serializer__.to_json

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        try:
            version = _version(scope["query_string"]) if scope["query_string"] else None
            limits.admit(version)
            require_json(headers)
            deadline.set(monotonic() + seconds_granted(headers, limits.seconds))
            # The bytes have no name here: they go once they are read as JSON, and not when the answer is there.
            body = validate(request_schema, await limits.bodies.read(headers, receive, limits.body_bytes))
            content = to_json(await endpoint(body, version))
        except problem_details.ANSWERED as error:
            await problem_details.response(scope, error)(scope, receive, send)
            return
        if (send_whole := scope.get("extensions", {}).get(WHOLE)) is not None:
            state = scope["state"]
            if send_whole(HEAD % (len(content), state["request_id"].encode("ascii")), content):
                state[STATUS] = 200
                return
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
        await send({"type": "http.response.body", "body": content})

    return application


def _signature(endpoint: Callable[..., Any]) -> tuple[type[BaseModel], type[BaseModel]]:
    """The endpoint's first parameter, which is the body, and its answer."""
    signature = inspect.signature(endpoint)
    body, _ = signature.parameters.values()
    return body.annotation, signature.return_annotation


def _version(query: bytes) -> str | None:
    """The version that a query asks for. Raises 400 where it asks for two; what else it holds is others' business."""
    try:
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise ProblemError(400, f"The query holds more than {MOST_PARAMETERS} parameters; send fewer.") from None
    versions = given.get("version", [None])
    if len(versions) > 1:
        raise ProblemError(400, "The query parameter version is given twice; send it once.")
    return versions[0]


def require_json(headers: Headers) -> None:
    """Raise 415 unless the body is declared to be JSON."""
    declared = headers.get(b"content-type", b"")
    if declared != MEDIA_TYPE and not _is_json(declared.decode("latin-1")):
        fault = f"is {clipped(declared.decode('latin-1'), 60)}" if declared else "is missing"
        raise ProblemError(415, f"The header Content-Type {fault}; send {MEDIA_TYPE.decode('ascii')}.")


def _is_json(content_type: str) -> bool:
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or (subtype.endswith("+json") and subtype != "+json"))


def seconds_granted(headers: Headers, most: float) -> float:
    """How long the request may take: `most`, or less where the client says so. Raises 400 for what is no such time."""
    given = headers.get(TIMEOUT)
    if given is None:
        return most
    if not given.isdigit() or len(given) > MOST_DIGITS or not int(given):
        fault = clipped(given.decode("latin-1"), 60)
        raise ProblemError(400, f"The header X-Timeout-Ms is {fault}; send a whole number of milliseconds, at least 1.")
    return min(most, int(given) / 1_000)


def validate(schema: type[BaseModel], body: bytes) -> BaseModel:
    """The body as the schema has it. Raises `Invalid`."""
    value = validation.parse(schema, body, MOST_FAULTS)
    if body.count(b":") > len(schema.model_fields):  # no other body can give a field twice
        validation.check_fields(body)
    return value
