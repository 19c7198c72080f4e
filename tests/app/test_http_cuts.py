"""However a network cuts a stream of requests into pieces, the answers are those to the uncut stream, and no piece of
it is kept without a bound.

In this process and without sockets: the connection is handed the pieces, and the loop goes on between them.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pytest
import uvicorn
from recorder import Recorder, application
from server import configured
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.http.middleware import RequestMiddleware
from app.operations.connections import HttpProtocol
from app.operations.request_framing import MOST_BYTES, REST_BYTES
from app.serving.counters import Traffic

TURNS = 6
"""How many turns of the loop an answer takes at most."""

SAMPLES = 400
"""How many of the ways to cut a stream into three pieces are tried, of some ten thousand."""

BODY = b'{"expression": "1+1"}'
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
"""A body that is a request by itself: no reader may ever take it for one."""

HOST = b"Host: a\r\nX-Request-ID: mine\r\n"
POST = b"POST /read HTTP/1.1\r\n" + HOST
EARLY = b"POST /early HTTP/1.1\r\n" + HOST
NEXT = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
EXTENDED = b"5;a=b\r\n%b\r\n%x;c\r\n%b\r\n0;d\r\n" % (HIDDEN[:5], len(HIDDEN) - 5, HIDDEN[5:])
TRAILERS = b"X: y\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHost: b\r\nExpect: 100-continue\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
OTHER = b"UPGRADE: foo\r\nCONNECTION: keep-alive, UPGRADE\r\n"
EXPECT = b"Expect: 100-continue\r\n"

READ = ("POST", "/read", HIDDEN)
TOLD = ("POST", "/early", b"")
LAST = ("GET", "/next", b"")


class Case(NamedTuple):
    """A stream, the requests that are in it, and the statuses of the answers."""

    sent: bytes
    requests: list[tuple[str, str, bytes]]
    statuses: list[int]


CASES = {
    "length": Case(POST + LENGTH + b"\r\n" + HIDDEN + NEXT, [READ, LAST], [200, 200]),
    "chunks": Case(POST + CHUNKED + b"\r\n" + CHUNKS + NEXT, [READ, LAST], [200, 200]),
    "extensions and trailers": Case(
        POST + CHUNKED + b"\r\n" + EXTENDED + TRAILERS + NEXT, [READ, LAST], [200, 200]
    ),
    "upgrade with a length": Case(POST + UPGRADE + LENGTH + b"\r\n" + HIDDEN + NEXT, [READ, LAST], [200, 200]),
    "upgrade after a length": Case(POST + LENGTH + OTHER + b"\r\n" + HIDDEN + NEXT, [READ, LAST], [200, 200]),
    "upgrade with chunks": Case(POST + OTHER + CHUNKED + b"\r\n" + CHUNKS + NEXT, [READ, LAST], [200, 200]),
    "upgrade with trailers": Case(
        POST + CHUNKED + UPGRADE + b"\r\n" + EXTENDED + TRAILERS + NEXT, [READ, LAST], [200, 200]
    ),
    "upgrade without a body": Case(
        POST.replace(b"POST", b"GET") + UPGRADE + b"\r\n" + NEXT, [("GET", "/read", b""), LAST], [200, 200]
    ),
    "upgrade of two": Case(
        (POST + OTHER + LENGTH + b"\r\n" + HIDDEN) * 2 + NEXT, [READ, READ, LAST], [200, 200, 200]
    ),
    "upgrade that is refused": Case(POST + OTHER + LENGTH + LENGTH + b"\r\n" + HIDDEN + NEXT, [], [400]),
    "tunnel": Case(b"CONNECT a:80 HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + HIDDEN + NEXT, [], [400]),
    "invitation": Case(POST + EXPECT + LENGTH + b"\r\n" + HIDDEN + NEXT, [READ, LAST], [100, 200, 200]),
    "invitation for chunks": Case(POST + EXPECT + CHUNKED + b"\r\n" + CHUNKS + NEXT, [READ, LAST], [100, 200, 200]),
    "invitation and upgrade": Case(
        POST + UPGRADE + EXPECT + LENGTH + b"\r\n" + HIDDEN + NEXT, [READ, LAST], [100, 200, 200]
    ),
    "early": Case(EARLY + LENGTH + b"\r\n" + HIDDEN + NEXT, [TOLD, LAST], [413, 200]),
    "early with chunks": Case(EARLY + CHUNKED + b"\r\n" + EXTENDED + TRAILERS + NEXT, [TOLD, LAST], [413, 200]),
    "early and upgrade": Case(EARLY + OTHER + LENGTH + b"\r\n" + HIDDEN + NEXT, [TOLD, LAST], [413, 200]),
    "early without an invitation": Case(EARLY + EXPECT + LENGTH + b"\r\n" + HIDDEN + NEXT, [TOLD], [413]),
    "early without an invitation for chunks": Case(EARLY + EXPECT + CHUNKED + b"\r\n" + CHUNKS + NEXT, [TOLD], [413]),
    "early without an invitation or a body": Case(EARLY + EXPECT + LENGTH + b"\r\n" + NEXT, [TOLD], [413]),
    "last": Case(POST + LENGTH + b"Connection: close\r\n\r\n" + HIDDEN + HIDDEN, [READ], [200]),
    "last, then none": Case(POST + LENGTH + b"Connection: close\r\n\r\n" + HIDDEN + b"\0\0", [READ], [200]),
    "nonsense": Case(
        NEXT + POST + LENGTH + b"\r\n" + HIDDEN + b"nonsense\r\n\r\n" + NEXT, [LAST, READ], [200, 200, 400]
    ),
    "bad chunk": Case(NEXT + POST + CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n" + NEXT, [LAST], [200, 400]),
    "bad head": Case(NEXT + POST + b"Host: a\r\n\r\n" + NEXT, [LAST], [200, 400]),
    "absolute target": Case(
        b"POST http://A:80?b HTTP/1.1\r\nHost: a:80\r\n" + LENGTH + b"\r\n" + HIDDEN + NEXT,
        [("POST", "/", HIDDEN), LAST],
        [200, 200],
    ),
    "other target": Case(b"GET http://b/ HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT, [], [400]),
    "empty lines": Case(b"\r\n\r\n" + NEXT + b"\r\n" + NEXT, [LAST, LAST], [200, 200]),
    "RTSP": Case(NEXT + b"GET /next RTSP/1.1\r\n" + HOST + b"\r\n" + NEXT, [LAST], [200, 400]),
    "RTSP after an empty line": Case(b"\nGET /next RTSP/1.0\r\n" + HOST + b"X: a HTTP/1.1\r\n\r\n" + NEXT, [], [400]),
    "RTSP after its own name": Case(
        b"GET /next HTTP/1.1\r\nX: /next HTTP/1.1\r\n" + HOST + b"\r\nGET /next RTSP/1.0\r\n" + HOST + b"\r\n",
        [LAST],
        [200, 400],
    ),
    "RTSP in a header": Case(
        b"GET /next HTTP/1.1\r\nX: RTSP/1.0 is another\r\n" + HOST + b"\r\n" + NEXT, [LAST, LAST], [200, 200]
    ),
    "too many headers": Case(b"GET /next HTTP/1.1\r\n" + b"a:\r\n" * 101 + HOST + b"\r\n" + NEXT, [], [431]),
    "blanks after values": Case(
        b"GET /next HTTP/1.1\r\n" + HOST.replace(b"\r\n", b" \t\r\n") + b"\r\n" + NEXT, [LAST, LAST], [200, 200]
    ),
    "HTTP/1.0": Case(b"GET /next HTTP/1.0\r\n" + EXPECT + b"\r\n" + NEXT, [LAST], [200]),
}  # fmt: skip


class Connection:
    """One that is handed pieces; what was answered, and which requests it was that an application was handed."""

    def __init__(self, config: uvicorn.Config, state: ServerState):
        self.requests: list[tuple[str, str, bytes]] = []
        self._transport = Recorder()
        self._protocol = HttpProtocol(config, state, {})
        self._protocol.app = RequestMiddleware(self._application, Traffic())
        self._protocol.connection_made(self._transport)

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer under /early before the body has come, and else after that."""
        status, body = (413, b"") if scope["path"] == "/early" else (200, b"")
        while status == 200:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.requests.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def take(self, pieces: Iterable[bytes]) -> bytes:
        """All that is sent, and the end of the connection if it came."""
        for piece in pieces:
            if self._transport.is_closing():
                break
            self._protocol.data_received(piece)
            await self._rest()
        sent = b"".join(each if isinstance(each, bytes) else b"\n[closed]" for each in self._transport.done)
        self._protocol.connection_lost(None)
        return sent

    async def _rest(self) -> None:
        """Until nothing more is answered."""
        answered = -1
        while answered < (answered := len(self._transport.done)):
            for _ in range(TURNS):
                await asyncio.sleep(0)


async def connections(ways: Iterable[Sequence[bytes]]) -> list[tuple[list[tuple[str, str, bytes]], bytes]]:
    """What became of a stream that came in pieces, for each way to cut it."""
    config, state = configured(application), ServerState()
    found = []
    for pieces in ways:
        connection = Connection(config, state)
        sent = await connection.take(pieces)
        found.append((connection.requests, re.sub(rb"[0-9a-f]{16}", b"an-id", sent)))
    return found


def cut(data: bytes, *places: int) -> list[bytes]:
    return [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)])]


@pytest.mark.parametrize("name", CASES)
async def test_pieces_are_answered_as_the_whole(name: str) -> None:
    """At every byte in two, at a sample of all pairs of bytes in three, and byte by byte."""
    sent, requests, statuses = CASES[name]
    places = range(1, len(sent))
    pairs = random.Random(name).sample(list(itertools.combinations(places, 2)), SAMPLES)
    ways = [[sent], *(cut(sent, place) for place in places), *(cut(sent, *pair) for pair in pairs), cut(sent, *places)]
    whole, *others = await connections(ways)
    assert whole[0] == requests
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", whole[1])] == statuses
    for way, other in zip(ways[1:], others, strict=True):
        assert other == whole, way


async def test_every_stream_is_answered_as_if_it_came_alone() -> None:
    """Behind an upgrade that is left out, in any order."""
    kept = [case for case in CASES.values() if case.statuses[-1] == 200 and len(case.requests) > 1]
    for first, second in itertools.product(kept, kept):
        ((requests, _),) = await connections([[first.sent + second.sent]])
        assert requests == first.requests + second.requests
    many = random.Random(1).choices(kept, k=400)
    sent = b"".join(case.sent for case in many)
    for requests, _ in await connections([[sent], cut(sent, *range(1_000, len(sent), 1_000))]):
        assert requests == [request for case in many for request in case.requests]


PIECE = 10_000
ENDLESS = {
    "target": (b"GET /", b"a" * PIECE),
    "header's name": (b"GET / HTTP/1.1\r\n", b"a" * PIECE),
    "header's value": (b"GET / HTTP/1.1\r\na: ", b"a" * PIECE),
    "blanks": (b"GET / HTTP/1.1\r\na:", b" " * PIECE),
    "headers": (b"GET / HTTP/1.1\r\n", b"a: %b\r\n" % (b"b" * (PIECE // 10 - 5)) * 10),
    "chunk's size": (POST + CHUNKED + b"\r\n", b"0" * PIECE),
    "extension": (POST + CHUNKED + b"\r\n5;", b"a" * PIECE),
    "extensions of small chunks": (POST + CHUNKED + b"\r\n", b"1;%b\r\na\r\n" % (b"a" * PIECE)),
    "trailer's name": (POST + CHUNKED + b"\r\n5\r\nabcde\r\n0\r\n", b"a" * PIECE),
    "trailer's value": (POST + CHUNKED + b"\r\n0\r\nX: ", b"a" * PIECE),
    "trailers": (POST + CHUNKED + b"\r\n0\r\n", b"a: b\r\n" * (PIECE // 6)),
    "trailer after an early answer": (EARLY + CHUNKED + b"\r\n0\r\nX: ", b"a" * PIECE),
    "trailer after an upgrade": (POST + OTHER + CHUNKED + b"\r\n0\r\nX: ", b"a" * PIECE),
}


@pytest.mark.parametrize("part", ENDLESS)
async def test_nothing_but_a_body_may_be_large(part: str) -> None:
    """Whatever has no end is refused once more than the bound has come, or closed where it is answered."""
    begun, more = ENDLESS[part]
    most = REST_BYTES if begun.startswith(EARLY) else MOST_BYTES
    pieces = [begun, *[more] * (most // PIECE)]
    ((_, taken), (_, refused)) = await connections([pieces, [*pieces, more, more]])
    early = b"HTTP/1.1 413" if begun.startswith(EARLY) else b""
    assert taken.startswith(early)
    assert b"431" not in taken
    assert b"[closed]" not in taken
    assert refused.startswith(early or b"HTTP/1.1 431")
    assert refused.endswith(b"[closed]")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\na: %b\r\nHost: a\r\n\r\n" % (b"a" * 2 * MOST_BYTES),
        POST + CHUNKED + b"\r\n0\r\nX: %b\r\nY: " % (b"a" * 2 * MOST_BYTES),
    ],
)
async def test_what_is_too_large_is_refused_when_it_comes_at_once(sent: bytes) -> None:
    for _, answer in await connections([[sent], cut(sent, 100), cut(sent, len(sent) - 1)]):
        assert answer.startswith(b"HTTP/1.1 431")
        assert answer.endswith(b"[closed]")


async def test_small_chunks_are_not_too_large() -> None:
    body = b"a" * MOST_BYTES
    sent = POST + CHUNKED + b"\r\n" + b"1\r\na\r\n" * len(body) + b"0\r\n\r\n"
    pieces = cut(sent, *range(1_000, len(sent), 1_000))
    (((request,), answer),) = await connections([pieces])
    assert request == ("POST", "/read", body)
    assert answer.startswith(b"HTTP/1.1 200")


async def test_nothing_that_a_client_sends_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nor that it left before its turn came."""
    await connections([[case.sent] for case in CASES.values()] + [[POST + LENGTH + b"\r\n"], [NEXT + NEXT + POST]])
    assert caplog.text == ""
