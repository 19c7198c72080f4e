"""How a body is read, message by message as a server hands it over, and how long a request may take."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.errors import ProblemError
from app.bodies import Bodies
from app.json_route import seconds_granted


def read(*messages: Message, declared: int | str | None = None, limit: int = 10) -> tuple[bytes, int]:
    """The body of these messages, and how many of them were not asked for."""
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    headers = {} if declared is None else {b"content-length": str(declared).encode("ascii")}
    body = asyncio.run(Bodies(100).read(headers, receive, limit))
    return body, len(left)


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_body_in_one_part() -> None:
    assert read(part(b"abc"), declared=3) == (b"abc", 0)


def test_body_in_many_parts() -> None:
    assert read(part(b"abc", more=True), part(b"", more=True), part(b"de")) == (b"abcde", 0)


def test_no_body() -> None:
    assert read({"type": "http.request"}) == (b"", 0)


def test_largest_body() -> None:
    assert read(part(b"12345", more=True), part(b"67890"), declared=10) == (b"1234567890", 0)


def test_declared_too_large_is_not_read() -> None:
    with pytest.raises(ProblemError) as caught:
        read(declared=11)
    assert caught.value.status == 413


@pytest.mark.parametrize("declared", [None, 3, "many", "-1"])
def test_too_large_is_noticed_whatever_was_declared(declared: int | str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        read(part(b"123456", more=True), part(b"123456", more=True), declared=declared)
    assert caught.value.status == 413


def test_client_that_leaves() -> None:
    with pytest.raises(ClientDisconnect):
        read(part(b"123", more=True), {"type": "http.disconnect"})


@pytest.mark.parametrize(("given", "seconds"), [(None, 10.0), (b"0", 0.0), (b"250", 0.25), (b"99999999", 10.0)])
def test_time_can_only_be_shortened(given: bytes | None, seconds: float) -> None:
    assert seconds_granted({} if given is None else {b"x-timeout-ms": given}, 10.0) == seconds


@pytest.mark.parametrize("given", [b"", b"-1", b"1.5", b"soon", b"9" * 13, "\u0663".encode()])
def test_time_is_a_number(given: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        seconds_granted({b"x-timeout-ms": given}, 10.0)
    assert caught.value.status == 400
    assert "X-Timeout-Ms" in caught.value.detail
