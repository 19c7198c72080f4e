"""What every request meets first and last: it gets its id, and no exception leaves without an answer.

One class of plain ASGI, since every answer pays for it. Knows nothing of routes or models.
"""

from __future__ import annotations

import logging
import re
from random import Random

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors

HEADER = b"x-request-id"
SANE = re.compile(rb"[A-Za-z0-9_.\-]{1,64}")

_ids = Random()  # noqa: S311  seeded by the system once; an id is no secret, and asking the system for each is slow

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Puts the client's request id, or a fresh one, into the request's state and the answer's headers."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id.decode("ascii")
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed", request_id.decode("ascii"))
            if started:
                raise
            problem = errors.ProblemError(500, "The service failed to answer; the request id names it in the log.")
            await errors.response(scope, problem)(scope, receive, send_with_id)


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == HEADER:
            given: bytes = value
            return given if SANE.fullmatch(given) else _fresh()
    return _fresh()


def _fresh() -> bytes:
    return b"%016x" % _ids.getrandbits(64)
