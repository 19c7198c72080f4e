"""How bodies are read, message by message as a server hands them over: each up to a limit, all within a budget."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.http.bodies import Bodies, headers_of
from app.http.problem_details import ProblemError

GONE: Message = {"type": "http.disconnect"}


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def giving(*messages: Message | Exception) -> Receive:
    """What a server hands over, one after the other; then nothing more comes."""
    left = list(messages)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        message = left.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    return receive


async def read(*messages: Message, declared: int | str | None = None) -> bytes:
    headers = {} if declared is None else {b"content-length": str(declared).encode("ascii")}
    return await Bodies(100).read(headers, giving(*messages), 10)


async def test_body_in_one_part() -> None:
    assert await read(part(b"abc"), declared=3) == b"abc"


async def test_body_in_many_parts() -> None:
    assert await read(part(b"abc", more=True), part(b"", more=True), part(b"de")) == b"abcde"


async def test_no_body() -> None:
    assert await read({"type": "http.request"}) == b""


async def test_largest_body() -> None:
    assert await read(part(b"12345", more=True), part(b"67890"), declared=10) == b"1234567890"


async def test_declared_too_large_is_not_read() -> None:
    with pytest.raises(ProblemError) as caught:
        await read(declared=11)
    assert caught.value.status == 413


@pytest.mark.parametrize("declared", [None, 3, "many", "-1"])
@pytest.mark.parametrize("is_whole", [True, False])
async def test_too_large_is_noticed_whatever_was_declared(declared: int | str | None, is_whole: bool) -> None:
    with pytest.raises(ProblemError) as caught:
        await read(part(b"123456", more=True), part(b"123456", more=not is_whole), declared=declared)
    assert caught.value.status == 413


async def test_client_that_leaves() -> None:
    with pytest.raises(ClientDisconnect):
        await read(part(b"123", more=True), GONE)


# The budget


async def unfinished(bodies: Bodies, size: int) -> asyncio.Task[bytes]:
    """A body of which so many bytes have come, and no more will."""
    task = asyncio.ensure_future(bodies.read({}, giving(part(b"x" * size, more=True)), 100))
    before = bodies.held
    while bodies.held < before + size and not task.done():
        await asyncio.sleep(0)
    return task


async def test_unfinished_bodies_past_the_budget_are_told_to_come_again() -> None:
    bodies = Bodies(100)
    waiting = [await unfinished(bodies, 50), await unfinished(bodies, 50)]
    assert bodies.held == 100
    with pytest.raises(ProblemError) as caught:
        await (await unfinished(bodies, 1))
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
    assert "100 bytes of unfinished request bodies" in caught.value.detail
    assert bodies.held == 100
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert bodies.held == 0
    assert await bodies.read({}, giving(part(b"a" * 50, more=True), part(b"b")), 100) == b"a" * 50 + b"b"


async def test_whole_body_needs_no_budget() -> None:
    """So that requests which come in one piece, as small ones do, are answered while others hold all of it."""
    bodies = Bodies(10)
    waiting = await unfinished(bodies, 10)
    assert await bodies.read({}, giving(part(b"y" * 90)), 100) == b"y" * 90
    waiting.cancel()


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (part(b"ef"), None),
        (part(b"e" * 20), ProblemError),
        (part(b"e" * 20, more=True), ProblemError),
        (GONE, ClientDisconnect),
        (OSError(), OSError),
    ],
    ids=["whole", "too large at its end", "too large", "client gone", "failed"],
)
async def test_every_ending_gives_the_budget_back(last: Message | Exception, expected: type[Exception] | None) -> None:
    bodies = Bodies(100)
    asked = bodies.read({}, giving(part(b"abc", more=True), part(b"d", more=True), last), 10)
    if expected is None:
        assert await asked == b"abcdef"
    else:
        with pytest.raises(expected):
            await asked
    assert bodies.held == 0


async def test_nothing_but_the_budget_holds_what_has_come() -> None:
    """A message that kept its body would double what a client can have the service hold."""
    first = part(b"abc", more=True)
    await read(first, part(b"d"))
    assert "body" not in first


# Codings


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_body_is_inflated(compress: Callable[[bytes], bytes]) -> None:
    coded = compress(b"10+6" * 20)
    headers = {b"content-encoding": b"gzip" if compress is gzip.compress else b"deflate"}
    given = giving(part(coded[:5], more=True), part(coded[5:]))
    assert await Bodies(100).read(headers, given, 80) == b"10+6" * 20


def test_values_of_a_header_that_comes_twice_are_one_list() -> None:
    given = [(b"host", b"a"), (b"content-encoding", b"gzip"), (b"content-encoding", b"br")]
    assert headers_of({"headers": given}) == {b"host": b"a", b"content-encoding": b"gzip, br"}
    assert headers_of({"headers": given[:2]}) == dict(given[:2])
