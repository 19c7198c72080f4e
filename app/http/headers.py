"""What answers tell browsers: take this for what it says that it is, keep it nowhere, show it in no frame.

Knows nothing of routes. Predictions and errors carry `ANSWER`, which concerns whoever reads them; every other answer
carries all of `PAGE` but what it says otherwise itself.
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
    """Adds what is missing of `PAGE` to every answer."""

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
