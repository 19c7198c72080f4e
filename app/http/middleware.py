"""What every request meets first and last: it gets its id, and no exception leaves without an answer.

A request whose client has gone is cancelled by the protocol; that ends here, quietly.

One class of plain ASGI, since every answer pays for it. Knows nothing of routes or models.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from random import Random
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import problem_details
from app.http.problem_types import ProblemType
from app.serving.counters import Traffic

HEADER = b"x-request-id"
CLIENT_GONE = "the client is gone"
"""The message with which a request's task is cancelled once nobody waits for its answer."""
GONE_STATUS = 499
"""What a request is counted as whose client left before it was answered; it is sent to nobody."""

STATUS = "status"
"""Where a request's state has the status of an answer that was not sent by `send`."""

WHOLE = "app.whole"
"""Where a scope's extensions have what sends a success, head and body, at once.

It takes the lines of the head and the body, and says whether it has sent them; if not, `send` must. That spares
uvicorn's look at each header, and `/add` answers 5% more requests a second.
"""

OTHER = "other"
"""The route of what was for none."""
SANE = re.compile(rb"[A-Za-z0-9_.\-]{1,64}")

_ids = Random()  # noqa: S311  seeded by the system once; an id is no secret, and asking the system for each is slow

os.register_at_fork(after_in_child=_ids.seed)  # or workers that are forked would give the same ids

logger = logging.getLogger(__name__)


def route_found(scope: Scope) -> str:
    """The path of the route that was found, as the service declares it, so that no client can make up labels."""
    return getattr(scope.get("route"), "path", OTHER)


class RequestMiddleware:
    """Puts the client's request id, or a fresh one, into the request's state and the answer's headers, and notes it.

    `route_of` says under which route a request is noted, also one that a guard refuses.

    If a proxy serves the API under a prefix, `root_path`, nothing behind this sees it: guards and routes compare the
    same path, whether the proxy takes the prefix off or not.
    """

    def __init__(
        self, app: ASGIApp, traffic: Traffic, root_path: str = "", route_of: Callable[[Scope], str] = route_found
    ):
        self._app = app
        self._traffic = traffic
        self._route_of = route_of
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if root_path := self._root_path or scope.get("root_path", ""):
            take_off(root_path, scope)
            state[problem_details.PREFIX] = root_path
        id_ = request_id(scope)
        state["request_id"] = id_.decode("ascii")
        began = perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, id_)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (CLIENT_GONE,):
                raise
            status = status or scope["state"].get(STATUS, GONE_STATUS)
        except Exception:
            name = id_.decode("ascii")
            logger.exception("request %s failed", name, extra={"request_id": name})
            if status:
                raise
            problem = problem_details.ProblemError(
                ProblemType.INTERNAL_ERROR, "The service failed to answer; the request id names it in the log."
            )
            await problem_details.response(scope, problem)(scope, receive, send_with_id)
        finally:
            seconds = perf_counter() - began
            self._traffic.note(scope, self._route_of(scope), status or scope["state"].get(STATUS, 0), seconds)


def take_off(root_path: str, scope: Scope) -> None:
    """Have a request's path begin after `root_path`, if it begins with that."""
    rest = scope["path"].removeprefix(root_path)
    if rest.startswith("/") or not rest:
        scope["path"] = rest or "/"
    scope["root_path"] = ""


def request_id(scope: Scope) -> bytes:
    """The id that a request brought, if it is a sane one, or a fresh one."""
    for name, value in scope["headers"]:
        if name == HEADER:
            given: bytes = value
            if SANE.fullmatch(given):
                return given
            break
    return b"%016x" % _ids.getrandbits(64)
