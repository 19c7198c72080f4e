"""A connection: how a response is written, and what becomes of clients that are slow, gone or out of order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from recorder import Recorder, application
from server import configured
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.http.middleware import CLIENT_GONE, RequestMiddleware
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.operations.connections import HttpProtocol, OneWrite
from app.operations.request_framing import MOST_BYTES, PIECE_BYTES
from app.serving.counters import Traffic

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


def test_head_goes_with_the_body() -> None:
    recorder = Recorder()
    transport = OneWrite(recorder)
    transport.write(HEAD)
    assert recorder.done == []
    transport.write(b"ok")
    transport.write(b"more")
    transport.flush()
    assert recorder.done == [HEAD + b"ok", b"more"]


def test_head_without_a_body_goes_at_the_end() -> None:
    recorder = Recorder()
    transport = OneWrite(recorder)
    transport.write(HEAD)
    transport.flush()
    assert recorder.done == [HEAD]


def test_closing_sends_what_is_held() -> None:
    recorder = Recorder()
    transport = OneWrite(recorder)
    transport.write(HEAD)
    transport.close()
    assert recorder.done == [HEAD, "close"]
    assert transport.is_closing()


def test_invitation_to_go_on_is_never_held() -> None:
    recorder = Recorder()
    OneWrite(recorder).write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert recorder.done == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def unconnected(**options: Any) -> tuple[HttpProtocol, Recorder]:
    """A connection without a socket, and what it did."""
    protocol, recorder = HttpProtocol(configured(application), ServerState(), {}, **options), Recorder()
    protocol.connection_made(recorder)
    return protocol, recorder


@asynccontextmanager
async def connected(
    served: ASGIApp = application, protocol: type[HttpProtocol] = HttpProtocol, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to an application that is served on a free port."""
    config, state = configured(served), ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config, state, {}, **options), "127.0.0.1", 0
    )
    async with server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("method", "path", "answer"), [("GET", "/a", b"/a"), ("HEAD", "/a", b""), ("GET", "/long", b"5\r\n/long\r\n")]
)
async def test_over_a_connection(method: str, path: str, answer: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode("ascii"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(len(answer)) == answer


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with connected() as (reader, writer):
        paths = [f"/{number}" for number in range(5)]
        writer.write("".join(f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n" for path in paths).encode("ascii"))
        for path in paths:
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(path)) == path.encode("ascii")


async def test_very_many_pipelined_requests_are_no_large_head() -> None:
    async with connected() as (reader, writer):
        many = 3 * MOST_BYTES // len(b"GET /a HTTP/1.1\r\nhost: test\r\n\r\n")
        writer.write(b"GET /a HTTP/1.1\r\nhost: test\r\n\r\n" * many)
        for _ in range(many):
            assert (await reader.readuntil(b"\r\n\r\n/a")).startswith(b"HTTP/1.1 200")


async def test_pipelined_requests_wait_unparsed_while_many_wait_for_answers() -> None:
    request = b"GET /a HTTP/1.1\r\nhost: test\r\n\r\n"
    many, waiting = 5_000, []
    goes_on = asyncio.Event()

    class Noting(HttpProtocol):
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            waiting.append(len(self.pipeline))

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await goes_on.wait()
        await application(scope, receive, send)

    async with connected(slow, Noting) as (reader, writer):
        writer.write(request * many)
        while not waiting:
            await asyncio.sleep(0.01)
        goes_on.set()
        for _ in range(many):
            assert (await reader.readuntil(b"\r\n\r\n/a")).startswith(b"HTTP/1.1 200")
    assert len(waiting) == many
    assert max(waiting) <= PIECE_BYTES / len(request) + 1


async def test_pipelined_requests_that_are_read_in_large_pieces_are_no_large_head() -> None:
    """Each piece but the first begins within a head, and ends within another."""
    protocol, recorder = unconnected()
    request = b"GET /a HTTP/1.1\r\nhost: test\r\n\r\n"
    sent = request * (6 * MOST_BYTES // len(request))
    size = 2 * MOST_BYTES // len(request) * len(request) + 20
    for start in range(0, len(sent), size):
        protocol.data_received(sent[start : start + size])
    assert recorder.done == []
    assert len(protocol.pipeline) <= PIECE_BYTES // len(request)  # the rest waits to be read
    protocol.connection_lost(None)


async def test_client_that_waits_to_be_invited() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"bc")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"/abc"


async def test_what_is_no_http_is_answered_and_closed() -> None:
    async with connected() as (reader, writer):
        writer.write(b"nonsense\r\n\r\n")
        assert_problem(await reader.read(), 400)


def assert_problem(answer: bytes, status: int) -> None:
    """The last answer of a connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode("ascii"))
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode("ascii") in head


HASTY = 0.2


@pytest.mark.parametrize(
    "begun",
    [
        b"P",
        b"POST /a HTTP/1.1\r\nhost: te",
        b"POST /a HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_request_that_does_not_come_whole_is_refused(begun: bytes) -> None:
    async with connected(read_timeout_s=HASTY) as (reader, writer):
        writer.write(begun)
        assert_problem(await reader.read(), 408)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no HTTP\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nhost: te", 408),
        (b"GET /a HTTP/1.1\r\nhost: test\r\nhost: test\r\n\r\n", 400),
    ],
)
async def test_refusal_is_told_with_its_id(sent: bytes, status: int) -> None:
    told: list[tuple[Scope, str, int]] = []

    def tell(scope: Scope, route: str, status: int, _: float) -> None:
        told.append((scope, route, status))

    async with connected(note=tell, read_timeout_s=HASTY) as (reader, writer):
        writer.write(sent)
        answer = await reader.read()
        ((scope, route, noted),) = told
        assert (route, noted) == ("other", status)
        assert (scope["method"], scope["path"], scope["client"][0]) == ("none", "", "127.0.0.1")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"] == scope["state"]["request_id"]


async def test_refusal_of_what_the_application_has_is_noted_by_the_application() -> None:
    told: list[tuple[str, int]] = []

    def tell(_scope: Scope, route: str, status: int, _: float) -> None:
        told.append((route, status))

    async def reading(scope: Scope, receive: Receive, _send: Send) -> None:
        scope["route"] = Route("/add", reading)
        while (await receive())["more_body"]:
            pass

    async with connected(RequestMiddleware(reading, Traffic(tell)), note=tell, read_timeout_s=HASTY) as (
        reader,
        writer,
    ):
        writer.write(b"POST /add HTTP/1.1\r\nhost: test\r\nx-request-id: mine\r\ncontent-length: 5\r\n\r\nabc")
        assert_problem(answer := await reader.read(), 408)
        assert b'"request_id": "mine"' in answer
    assert told == [("/add", 408)]


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_client_that_asks_nothing_is_let_go(sent: bytes) -> None:
    async with connected(read_timeout_s=HASTY) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_drip_of_bytes_gains_no_time() -> None:
    protocol, recorder = unconnected(read_timeout_s=HASTY)
    protocol.data_received(b"GET /a HTTP/1.1\r\nhost: ")
    while not recorder.is_closing():
        protocol.data_received(b"a")
        await asyncio.sleep(0.02)
    answer, _ = recorder.done
    assert isinstance(answer, bytes)
    assert_problem(answer, 408)


async def test_request_that_was_answered_before_it_came_whole_gets_no_second_answer() -> None:
    async def hasty(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async with connected(hasty, read_timeout_s=HASTY) as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nabc")
        assert (await reader.read()).count(b"HTTP/1.1") == 1


async def test_second_request_has_its_own_time() -> None:
    async with connected(read_timeout_s=HASTY) as (reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\nhost: test\r\n\r\nGET /b HTTP/1.1\r\n")
        assert (await reader.readuntil(b"\r\n\r\n/a")).startswith(b"HTTP/1.1 200")
        assert_problem(await reader.read(), 408)


async def test_endless_head_is_refused() -> None:
    async with connected() as (reader, writer):
        answer = asyncio.create_task(reader.read())
        writer.write(b"GET /a HTTP/1.1\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not answer.done() and sent < 100 * MOST_BYTES:
                writer.write(b"name: " + b"a" * 10_000 + b"\r\n")
                sent += 10_000
                await writer.drain()
        with contextlib.suppress(ConnectionError):  # its end may be lost, since it comes before all was read
            assert_problem(await answer, 431)
        assert sent < 100 * MOST_BYTES


async def test_answer_that_nobody_reads_is_given_up() -> None:
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def endless(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"a" * 1_000_000, "more_body": True})
        except asyncio.CancelledError as cancelled:
            ends.put_nowait(cancelled.args[0])

    async with connected(endless, read_timeout_s=HASTY) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        assert await asyncio.wait_for(ends.get(), 10) == CLIENT_GONE


async def test_request_of_a_client_that_left_is_cancelled() -> None:
    events: asyncio.Queue[str] = asyncio.Queue()

    async def waiting(_: Scope, __: Receive, ___: Send) -> None:
        events.put_nowait("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            events.put_nowait(cancelled.args[0])

    async with connected(waiting) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        assert await asyncio.wait_for(events.get(), 10) == "begun"
        writer.close()
        assert await asyncio.wait_for(events.get(), 10) == CLIENT_GONE


@pytest.mark.parametrize("is_draining", [False, True])
async def test_answers_ask_to_connect_anew_while_the_service_drains(is_draining: bool) -> None:
    async with connected(is_draining=lambda: is_draining) as (reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\nhost: test\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert (b"connection: close\r\n" in head) == is_draining


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health/live", 200), ("/svc/health/live", 200), ("/svc/svc/health/live", 400), ("/svc/add", 400), ("/add", 400)],
)
async def test_health_is_told_to_any_host_also_below_a_prefix(path: str, status: int) -> None:
    problem = ProblemError(ProblemType.HOST_NOT_ALLOWED, "It is for another host.")
    async with connected(check_host=lambda _: problem, prefix="/svc") as (reader, writer):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: evil.example\r\n\r\n".encode("ascii"))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 %d " % status)
