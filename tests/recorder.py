"""An application and a transport that tell what was done to them."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send


class Recorder(asyncio.Transport):
    """A transport that remembers what it was told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("close")

    def is_closing(self) -> bool:
        return "close" in self.done

    def pause_reading(self) -> None:
        """Too much has come already."""

    def resume_reading(self) -> None:
        """There is room again."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its path; under /long in two pieces, the second of which waits for the client to say so."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    answer = scope["path"].encode("ascii") + body
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] != "/long":
        start["headers"] = [(b"content-length", b"%d" % len(answer))]
    await send(start)
    await send({"type": "http.response.body", "body": answer, "more_body": scope["path"] == "/long"})
    if scope["path"] == "/long":
        await receive()
