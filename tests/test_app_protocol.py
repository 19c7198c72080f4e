"""How a response is written: head and body at once, and nothing held back for long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from threading import Thread

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from app.protocol import HttpProtocol, OneWrite

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


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


def converse(play: Callable[[int], Awaitable[None]]) -> None:
    """Serve the application on a free port while `play` is given it."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(application, http=HttpProtocol, lifespan="off", log_level="critical", ws="none")
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                await asyncio.wait_for(play(listener.getsockname()[1]), 20)
            finally:
                server.should_exit = True
                await serving

    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=run)  # where uvicorn leaves the process's signals alone
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize(
    ("method", "path", "answer"), [("GET", "/a", b"/a"), ("HEAD", "/a", b""), ("GET", "/long", b"5\r\n/long\r\n")]
)
def test_over_a_connection(method: str, path: str, answer: bytes) -> None:
    async def play(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode("ascii"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(len(answer)) == answer
        writer.close()

    converse(play)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def play(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        paths = [f"/{number}" for number in range(5)]
        writer.write("".join(f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n" for path in paths).encode("ascii"))
        for path in paths:
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(path)) == path.encode("ascii")
        writer.close()

    converse(play)


def test_client_that_waits_to_be_invited() -> None:
    async def play(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /a HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"bc")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"/abc"
        writer.close()

    converse(play)


def test_what_is_no_http_is_answered_and_closed() -> None:
    async def play(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()

    converse(play)
