"""Headers for browsers: trust the content type, store nothing, show nothing in a frame.

Predictions and errors carry `ANSWER`. Every other answer carries `PAGE`, but keeps what it says itself. Knows nothing
of routes.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWER = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
PAGE = [
    *ANSWER,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class PageHeaders:
    """Adds to every answer those headers of `PAGE` that it lacks."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                message["headers"] = headers + [header for header in PAGE if header[0] not in present]
            await send(message)

        await self._app(scope, receive, send_with_headers)
