"""Through the compose file's proxy, over a network that cuts its stream to the service at every byte: nobody gets an
answer that is not theirs, and the service sees no request that nobody sent.

Between the proxy and the service stands a relay that cuts. Knows nothing of how either reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import load
import proxy
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

CLIENTS = 6
LONGEST = 420
"""More bytes than the proxy sends the service in one go, here."""

PAUSE_S = 0.001
"""How long the second piece takes to follow the first one, so that it is read by itself."""

HIDDEN = b"POST /add HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: hidden\r\nContent-Length: 0\r\n\r\n"
"""A body that is a request by itself: no reader may ever take it for one."""

UPGRADE = b"Connection: Upgrade\r\nUpgrade: foo\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
EXPECT = b"Expect: 100-continue\r\n"
JSON = b"Content-Type: application/json\r\n"
TEXT = b"Content-Type: text/plain\r\n"


@dataclass
class Request:
    """What is sent, and what must come back: a status, and where that is 200 the sum."""

    id: str
    data: bytes
    status: int
    sum: int


def framed(framing: str, body: bytes) -> bytes:
    """The rest of a request, from what says how its body ends."""
    if framing == "length":
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    if framing == "chunks":
        return chunked + b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (3, body[:3], len(body) - 3, body[3:])
    trailers = b"X-Request-ID: hidden\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"
    return chunked + b"%x;a=b\r\n%b\r\n0;c\r\n" % (len(body), body) + trailers


KINDS = [
    *itertools.product(("length", "chunks", "trailers"), (b"", UPGRADE, H2C, EXPECT, EXPECT + UPGRADE), ("sum",)),
    *itertools.product(("length", "chunks", "trailers"), (UPGRADE, H2C, EXPECT + UPGRADE), ("hidden",)),
    *itertools.product(("length", "chunks"), (b"", UPGRADE, EXPECT), ("early",)),
]


def requests(client: int) -> list[Request]:
    """One of each kind, in an order of the client's own."""
    made = []
    rng = random.Random(client)
    for framing, wish, kind in rng.sample(KINDS, len(KINDS)):
        first, second = rng.randint(0, 99), rng.randint(0, 99)
        id_ = f"{client}-{next(NUMBERS)}"
        body = HIDDEN if kind != "sum" else b'{"expression":"%d+%d"}' % (first, second)
        head = b"POST /add HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: %b\r\n" % id_.encode()
        data = head + wish + (TEXT if kind == "early" else JSON) + framed(framing, body)
        made.append(Request(id_, data, {"sum": 200, "hidden": 422, "early": 415}[kind], first + second))
    return made


NUMBERS = itertools.count()


class Relay:
    """Passes on what comes from the proxy, cut in two at a byte, and what comes back, as it is."""

    def __init__(self, port: int):
        self._port = port
        self.place = 1
        self.cuts: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._connect, host, port):
            yield
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for task in (self._pass_on(reader, back, cuts=True), self._pass_on(there, writer, cuts=False)):
            self._tasks.add(made := asyncio.create_task(task))
            made.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cuts: bool) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65_536):
                place = self.place  # which moves on where the first piece is answered
                if cuts and place < len(data):
                    self.cuts[place] += 1
                    writer.write(data[:place])
                    await writer.drain()
                    await asyncio.sleep(PAUSE_S)
                    data = data[place:]
                writer.write(data)
                await writer.drain()


async def play(connection: load.Connection, client: int, tally: Counter[str], wrong: list[str], sent: set[str]) -> None:
    """Send a client's requests over a connection, and note what came back."""
    for request in requests(client):
        sent.add(request.id)
        status, headers, body = await connection.exchange(request.data)
        tally[str(status)] += 1
        answered = json.loads(body)
        if (
            status != request.status
            or headers.get("x-request-id") != request.id
            or (status == 200 and answered["sum"] != request.sum)
            or (status != 200 and answered["request_id"] != request.id)
        ):
            wrong.append(f"{request} got {status} {headers} {body!r}")


def logged(log: str) -> Counter[str]:
    """The ids of the requests that were logged, but for those of the proxy's own checks."""
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return Counter(entry["request_id"] for entry in entries if entry.get("path") not in (None, "/health/ready"))


def test_stream_that_is_cut_at_every_byte(tmp_path: Path, say: Callable[[str], None]) -> None:
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    sent: set[str] = set()

    async def play_all(port: int, cut_port: int, instance: service.Service) -> Relay:
        relay = Relay(instance.port)
        async with relay.serving("127.0.0.2", cut_port):
            await asyncio.to_thread(proxy.await_service, port)
            connections = [load.Connection(port) for _ in range(CLIENTS)]
            for relay.place in range(1, LONGEST):
                plays = (play(each, client, tally, wrong, sent) for client, each in enumerate(connections))
                await asyncio.gather(*plays)
                assert not wrong, "\n".join(wrong[:3])
            for connection in connections:
                connection.close()
        return relay

    cut_port = service.free_port()
    with (
        service.running(access_log=True, log_format="json") as instance,
        proxy.running(tmp_path, cut_port, ["127.0.0.2"]) as port,
    ):
        relay = asyncio.run(play_all(port, cut_port, instance))
        assert instance.stop() == 0
        ids = logged(instance.rest())
    say(
        f"{len(sent)} requests through the proxy in {sum(relay.cuts.values())} streams cut at {len(relay.cuts)} places:"
        f" {dict(tally)}; {len(wrong)} wrong answers, {len(set(ids) - sent)} requests that nobody sent"
    )
    assert set(ids) == sent
    assert set(ids.values()) == {1}
    assert sum(tally.values()) == len(sent) == (LONGEST - 1) * CLIENTS * len(KINDS)
    assert len(relay.cuts) > LONGEST / 2
