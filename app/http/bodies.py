"""Reads request bodies: up to a limit each, within a budget for all of them, and inflated.

Knows nothing of what the bodies say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from app.http import content_coding
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType

Headers = Mapping[bytes, bytes]


class Bodies:
    """Reads bodies, and holds at most `most` bytes of those that have not come whole.

    A body that is whole is read as JSON at once and let go, inflated or not, so it needs no budget. One that comes in a
    single piece, as small ones do, is never counted.
    """

    def __init__(self, most: int):
        self.most = most
        self.held = 0

    async def read(self, headers: Headers, receive: Receive, limit: int) -> bytes:
        """The whole body, inflated.

        Raises 413 as soon as it is known to be larger than `limit`, whatever its declared length; 503 past the budget;
        415 or 400 for its content coding.
        """
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        pieces: list[bytes] = []  # a bytearray that grows, one of 200 at a time, left 12 MiB of holes in the heap
        size = 0
        try:
            while (message := await receive()).get("more_body", False):
                piece = message.pop("body", b"")  # else the message would keep it until the next one comes
                pieces.append(piece)
                size += len(piece)
                self.held += len(piece)
                if size > limit:
                    raise _too_large(limit)
                if self.held > self.most:
                    raise _no_room(self.most)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body: bytes = message.get("body", b"")
            if pieces:
                body = b"".join([*pieces, body])
        finally:
            self.held -= size
        if len(body) > limit:
            raise _too_large(limit)
        if b"content-encoding" in headers:
            return content_coding.decoded(body, headers[b"content-encoding"], limit)
        return body


def headers_of(scope: Scope) -> Headers:
    """A request's headers by name. The values of a header that comes several times are joined, as RFC 9110 says."""
    headers = dict(scope["headers"])
    if len(headers) == len(scope["headers"]):
        return headers
    values = defaultdict(list)
    for name, value in scope["headers"]:
        values[name].append(value)
    return {name: b", ".join(each) for name, each in values.items()}


def _too_large(limit: int) -> ProblemError:
    return ProblemError(ProblemType.BODY_TOO_LARGE, f"The body is larger than {limit} bytes, the limit of this route.")


def _no_room(most: int) -> ProblemError:
    return ProblemError(
        ProblemType.OVERLOADED,
        f"The service holds {most} bytes of unfinished request bodies, which is its limit. Try again in 1 second.",
        headers={"Retry-After": "1"},
    )
