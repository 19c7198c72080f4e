"""Who is answered: checks the host, the web page's origin and the key of a request.

A check runs only if a setting asks for it. The health routes need neither key nor host. The pages of the
playground and of problems need no key. Knows nothing of what the routes do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http import playground, problem_details, problem_pages
from app.http.headers import ANSWER
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.keys import KeyFile
from app.settings import Settings, variable

HEALTH = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"})
"""What orchestrators ask, by address and without a key."""

OPEN = HEALTH | playground.paths() | problem_pages.paths()
"""What is answered without a key. The playground asks its reader for one, and errors lead to the pages of problems."""

CHECKED = "host is checked"
"""Where a request's state says that its `Host` is one that a setting allows."""

HOST = re.compile(rb"((?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
LOOPBACK = re.compile(rb"((?:[a-z0-9_-]+\.)*localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
ADDRESS = re.compile(rb"([0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
TENSORS = "Inference-Header-Content-Length"
CORS_TAKEN = ("Authorization", "X-API-Key", "X-Request-ID", "X-Timeout-Ms", "traceparent", "tracestate", TENSORS)
CORS_SHOWN = ("X-Request-ID", "Retry-After", TENSORS)

NO_KEY = ProblemError(
    ProblemType.UNAUTHORIZED,
    "This service asks for an API key; send it as Authorization: Bearer KEY, or as X-API-Key: KEY.",
    headers={"WWW-Authenticate": "Bearer"},
)
WRONG_KEY = ProblemError(
    ProblemType.UNAUTHORIZED,
    "The API key is unknown; it may have been replaced.",
    headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
)
FOREIGN_PAGE = (
    "A web page of another origin may not change what is served. Ask without a browser, or name this service's host in "
    f"{variable('allowed_hosts')}."
)
WRONG_HOST = ProblemError(
    ProblemType.HOST_NOT_ALLOWED, "The header Host is missing, or names a host that this service does not answer for."
)
NOT_LOOPBACK = ProblemError(
    ProblemType.HOST_NOT_ALLOWED,
    "This service listens on a loopback address. It answers requests for localhost, 127.0.0.1 or [::1] only, unless "
    f"{variable('allowed_hosts')} names their Host.",
)


def guards(settings: Settings, keys: KeyFile | None) -> list[Middleware]:
    """What stands in front of every route, outermost first."""
    wanted = []
    if settings.allowed_hosts:
        wanted.append(Middleware(HostCheck, settings.allowed_hosts))
    if settings.cors_origins:
        wanted.append(
            Middleware(
                Cors,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "HEAD", "POST"),
                allow_headers=CORS_TAKEN,
                expose_headers=CORS_SHOWN,
            )
        )
    if keys is not None:
        wanted.append(Middleware(KeyCheck, keys))
    return wanted


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address, also if it is an IPv4 address written as an IPv6 one."""
    given = ip_address(address)
    return (getattr(given, "ipv4_mapped", None) or given).is_loopback


def host_check(settings: Settings, address: str) -> Callable[[bytes], ProblemError | None]:
    """What is wrong with a request's `Host` where the service listens on an address; for a connection to ask.

    A web page whose own name is made to point at a loopback address (DNS rebinding) still sends its name.
    """
    if settings.allowed_hosts or not is_loopback(address):
        return lambda _: None
    return lambda host: None if LOOPBACK.fullmatch(host) else NOT_LOOPBACK


def guarded(app: ASGIApp, guards: Sequence[Middleware]) -> ASGIApp:
    """An application behind these."""
    for guard, arguments, options in reversed(guards):
        app = guard(app, *arguments, **options)
    return app


def refuse_foreign_pages(request: Request) -> None:
    """Raise 403 where a browser asks on behalf of a page of another origin.

    Such a page can have it send a POST to any address that the browser reaches, without being let read the answer. The
    two headers agree as well where the page's own name is made to point here, so the name must be one that is checked.
    """
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None:
        return
    is_safe = request.scope["state"].get(CHECKED) or any(
        each.fullmatch(host.encode("latin-1")) for each in (LOOPBACK, ADDRESS)
    )
    if origin.rpartition("//")[2] != host or not is_safe:
        raise ProblemError(ProblemType.FORBIDDEN, FOREIGN_PAGE)


class KeyCheck:
    """Lets a request pass that brings a key, and notes in its state, as `client`, whose key it is."""

    def __init__(self, app: ASGIApp, keys: KeyFile):
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            key = _key(dict(scope["headers"]))
            name = self._keys.name_of(key) if key else None
            if name is None:
                await problem_details.response(scope, WRONG_KEY if key else NO_KEY)(scope, receive, send)
                return
            scope.setdefault("state", {})["client"] = name
        await self._app(scope, receive, send)


def _key(headers: dict[bytes, bytes]) -> bytes:
    """The key that a request brings; empty if none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return headers.get(b"x-api-key") or (token.strip() if scheme.lower() == b"bearer" else b"")


class HostCheck:
    """Lets a request pass whose one `Host` is among `hosts`; `*.example.com` is every host below example.com."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]):
        self._app = app
        self._hosts = frozenset(hosts)
        self._endings = tuple(host[1:] for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._is_ours(scope):
                scope.setdefault("state", {})[CHECKED] = True
            elif scope["path"] not in HEALTH:
                await problem_details.response(scope, WRONG_HOST)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"host"]
        found = HOST.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            return False
        host = found[1].decode("ascii").lower()
        return host in self._hosts or host.endswith(self._endings)


class Cors(CORSMiddleware):
    """Starlette's, but that it refuses with a problem, as the rest of the service does."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code != 200:
            return _Refusal(response)
        response.raw_headers += ANSWER
        return response


class _Refusal(Response):
    """A refusal in plain text, as a problem."""

    def __init__(self, plain: Response):
        super().__init__(status_code=plain.status_code)
        detail = f"{bytes(plain.body).decode('ascii')}; this service answers other web pages only as it is set to."
        headers = {
            name: plain.headers[name] for name in ("vary", "access-control-allow-origin") if name in plain.headers
        }
        self._problem = ProblemError(ProblemType.HOST_NOT_ALLOWED, detail, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problem_details.response(scope, self._problem)(scope, receive, send)
