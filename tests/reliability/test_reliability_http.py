"""Whatever bytes come over a connection, and however slowly: the service goes on answering others as before."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator

import load
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

IDLE = 1_000
FUZZED = 5_000
BODY = b'{"expression": "10+6"}'


def request(body: bytes) -> bytes:
    head = b"POST /add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


REQUEST = request(BODY)
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
PIECES = [
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"\xff\xfe",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Host: other\r\n",
    b" folded: header\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    REQUEST,
]


def fuzzed(seed: int) -> Iterator[bytes]:
    """Requests cut, joined, repeated and altered, without end."""
    rng = random.Random(seed)
    while True:
        data = bytearray(REQUEST)
        for _ in range(rng.randint(1, 5)):
            place = rng.randrange(len(data) + 1)
            match rng.randrange(5):
                case 0:
                    data[place:place] = rng.choice(PIECES)
                case 1:
                    del data[place : place + rng.randint(1, 20)]
                case 2:
                    data[place : place + 1] = rng.randbytes(1)
                case 3:
                    data[place:place] = rng.randbytes(rng.randint(1, 30))
                case _:
                    data += data[:place]
        yield bytes(data)


async def converse(port: int, data: bytes, pause: bool) -> list[int]:
    """Send bytes, some of them later, and give the statuses that come back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        middle = len(data) // 2 if pause else len(data)
        writer.write(data[:middle])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(data[middle:])
        await writer.drain()
        received = await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        pass  # closed before all was read, which is an answer too
    finally:
        writer.close()
    return [int(status) for status in STATUS.findall(received)]


async def median_seconds(port: int) -> float:
    """Of answers, one after another, over one connection."""
    connection = load.Connection(port)
    tally = load.Tally()
    for question, _ in zip(load.sums(7), range(500), strict=False):
        tally.add(question, await connection.ask(question))
    connection.close()
    tally.assert_clean()
    return tally.quantile(0.5)


def test_fuzzed_bytes(say: Callable[[str], None]) -> None:
    async def play() -> Counter[int]:
        statuses: Counter[int] = Counter()
        with service.running(read_timeout_s=1, idle_timeout_s=1) as running:
            before = await median_seconds(running.port)
            attempts = fuzzed(1)
            for _ in range(FUZZED // 50):
                batch = [converse(running.port, next(attempts), place % 2 == 0) for place in range(50)]
                for answered in await asyncio.gather(*batch):
                    statuses.update(answered)
                assert (await asyncio.to_thread(running.ask, "POST", "/add", json.loads(BODY)))[1]["sum"] == 16
            after = await median_seconds(running.port)
            assert running.process.poll() is None
        say(f"{FUZZED} fuzzed connections: {dict(statuses)}; an answer takes {after / before:.2f} times what it did")
        assert after < 3 * before
        return statuses

    statuses = asyncio.run(play())
    assert statuses
    assert max(statuses) < 500


def test_idle_and_slow_clients(say: Callable[[str], None]) -> None:
    """A thousand connections that say nothing, or half a request: others are served, and these are let go."""

    async def play() -> None:
        with service.running(read_timeout_s=5) as running:
            before = await median_seconds(running.port)
            began = time.monotonic()
            clients = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(IDLE)]
            for number, (_, writer) in enumerate(clients):
                writer.write(REQUEST[: number % len(REQUEST)])
            during = await median_seconds(running.port)
            answers = await asyncio.gather(*(reader.read() for reader, _ in clients))
            seconds = time.monotonic() - began
            for _, writer in clients:
                writer.close()
            statuses = Counter(answer[9:12].decode("ascii") for answer in answers)
            say(
                f"{IDLE} idle and slow connections: an answer takes {during / before:.2f} times what it did;"
                f" all let go {seconds:.1f} s after the first came, with {dict(statuses)}"
            )
            assert set(statuses) == {"", "408"}
            assert during < 3 * before

    asyncio.run(play())


def test_pipelined_requests(say: Callable[[str], None]) -> None:
    """Very many requests in one go over one connection are answered in order."""
    many = 2_000

    async def play() -> None:
        with service.running() as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            sums = [number % 100 + number // 100 for number in range(many)]
            for number in range(many):
                writer.write(request(b'{"expression": "%d+%d"}' % (number % 100, number // 100)))
            for expected in sums:
                _, _, body = await load.read_answer(reader)
                assert json.loads(body)["sum"] == expected
            writer.close()
        say(f"{many} pipelined requests: all answered in order")

    asyncio.run(play())
