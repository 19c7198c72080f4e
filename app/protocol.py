"""HTTP over one connection: uvicorn's protocol, which sends a response's head and body in one write.

uvicorn hands the head to the system as soon as it is known, and the body right after. For an answer of a hundred bytes
the second call costs as much as validating the request, and the client reads twice. Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HttpProtocol(HttpToolsProtocol):
    """As uvicorn's, but for how it writes."""

    transport: OneWrite  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = OneWrite(transport)

    def on_response_complete(self) -> None:
        self.transport.flush()
        super().on_response_complete()


class OneWrite:
    """A transport that holds a response's head back until the first piece of the body, or the end, comes."""

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send data, what is held before it; a head by itself is held."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
