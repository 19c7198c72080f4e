"""Where a request ends: what two readers could take for different requests is refused, over a real socket.

Behind a proxy, a request that it and the service delimit differently smuggles another one past it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import fakes
import pytest
from server import Address, serving

from app.main import create_app
from app.settings import Settings

BODY = b'{"expression": "1+1"}'
POST = b"POST /add HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: 21\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"15\r\n" + BODY + b"\r\n0\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
"""What would be answered by itself if the request before it ended too early."""


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with serving(create_app(Settings(allowed_hosts=["a"]), fakes.models()), read_timeout_s=1.0) as address:
        yield address


def answers(address: Address, data: bytes) -> tuple[list[int], bytes]:
    """The statuses of all answers until the service closes the connection, and all that it sent."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(data)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", received)], received


REFUSED = {
    "length and chunks": POST + LENGTH + CHUNKED + b"\r\n" + b"0\r\n\r\n" + HIDDEN,
    "chunks and length": POST + CHUNKED + b"Content-Length: 5\r\n\r\n" + b"0\r\n\r\n" + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\n" + LENGTH + b"\r\n" + HIDDEN,
    "the same length twice": POST + LENGTH * 2 + b"\r\n" + BODY,
    "list of lengths": POST + b"Content-Length: 21, 21\r\n\r\n" + BODY,
    "length with a sign": POST + b"Content-Length: +21\r\n\r\n" + BODY,
    "negative length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "length in hex": POST + b"Content-Length: 0x15\r\n\r\n" + BODY,
    "length with a blank": POST + b"Content-Length: 2 1\r\n\r\n" + BODY,
    "length with an underscore": POST + b"Content-Length: 2_1\r\n\r\n" + BODY,
    "empty length": POST + b"Content-Length:\r\n\r\n" + HIDDEN,
    "length past 64 bits": POST + b"Content-Length: 18446744073709551637\r\n\r\n" + BODY,
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "no coding": POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "coding twice": POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked twice": POST + CHUNKED * 2 + b"\r\n" + CHUNKS,
    "blank before a colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "control before a coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "coding in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + HIDDEN,
    "folded header": POST + b"X: a\r\n b\r\n" + LENGTH + b"\r\n" + BODY,
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "fold at the start": b"POST /add HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
    "bare line feeds": (POST + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "bare line feed between headers": POST.replace(b"a\r\n", b"a\n", 1) + LENGTH + b"\r\n" + BODY,
    "bare line feed after the headers": POST + LENGTH + b"\n" + BODY,
    "bare carriage return between headers": POST.replace(b"a\r\n", b"a\r", 1) + LENGTH + b"\r\n" + BODY,
    "bare carriage return in a value": POST + b"X: a\rb\r\n" + LENGTH + b"\r\n" + BODY,
    "null in a value": POST + b"X: a\x00b\r\n" + LENGTH + b"\r\n" + BODY,
    "null in a name": POST + b"X\x00: a\r\n" + LENGTH + b"\r\n" + BODY,
    "escape in a value": POST + b"X: a\x1b[2Jb\r\n" + LENGTH + b"\r\n" + BODY,
    "blank in a name": POST + b"X Y: a\r\n" + LENGTH + b"\r\n" + BODY,
    "empty name": POST + b": a\r\n" + LENGTH + b"\r\n" + BODY,
    "no colon": POST + b"Xyz\r\n" + LENGTH + b"\r\n" + BODY,
    "no host": (POST + LENGTH + b"\r\n").replace(b"Host: a\r\n", b"") + BODY,
    "two hosts": POST + b"Host: a\r\n" + LENGTH + b"\r\n" + BODY,
    "line feed in a chunk's extension": POST + CHUNKED + b"\r\n15;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
    "bare line feeds around chunks": POST + CHUNKED + b"\r\n15\n" + BODY + b"\n0\n\n",
    "chunk of negative size": POST + CHUNKED + b"\r\n-1\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a prefix": POST + CHUNKED + b"\r\n0x15\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a blank": POST + CHUNKED + b"\r\n15 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk past 64 bits": POST + CHUNKED + b"\r\n10000000000000015\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk longer than its size": POST + CHUNKED + b"\r\n15\r\n" + BODY + b"xx0\r\n\r\n",
    "length after the chunks": POST + CHUNKED + b"\r\n15\r\n" + BODY + b"\r\n0\r\nContent-Length: 40\r\n\r\n" + HIDDEN,
    "tunnel": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /health/live\r\n\r\n",
    "RTSP/1.0": b"OPTIONS /health/live RTSP/1.0\r\nHost: a\r\n\r\n",
    "RTSP/1.1": b"GET /health/live RTSP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "ICE/1.0": b"SOURCE /health/live ICE/1.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9 by name": b"GET /health/live HTTP/0.9\r\nHost: a\r\n\r\n",
    "no version and a host": b"GET /health/live\r\nHost: a\r\n\r\n",
    "HTTP/2.0": b"GET /health/live HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/9.9": b"GET /health/live HTTP/9.9\r\nHost: a\r\n\r\n",
    "target of another host": b"GET http://b/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with a user": b"GET http://u@a/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with another port": b"GET http://a:81/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "target of another scheme": b"GET ftp://a/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "target without a host": b"GET http:///health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET /health/live HTTP/1.2\r\nHost: a\r\n\r\n",
    "version in lower case": b"GET /health/live http/1.1\r\nHost: a\r\n\r\n",
    "bytes past ASCII in the path": b"GET /add\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes past ASCII in the query": b"GET /add?\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "null in the path": b"GET /a\x00dd HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in the path": b"GET /a\tdd HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment in the path": b"GET /health/live#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "path without a slash": b"GET health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "unknown method": b"HIDE /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(address: Address, case: str) -> None:
    statuses, received = answers(address, REFUSED[case])
    assert statuses == [400], received
    assert b"connection: close" in received
    assert b"problem+json" in received
    assert b"hidden" not in received


LEGITIMATE = {
    "length": POST + LENGTH + b"\r\n" + BODY,
    "chunks": POST + CHUNKED + b"\r\n" + CHUNKS,
    "chunks in capitals": POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n" + CHUNKS,
    "chunk with an extension": POST + CHUNKED + b"\r\n15;a=b\r\n" + BODY + b"\r\n0\r\n\r\n",
    "header past ASCII": POST + LENGTH + b"X: \x80\xff\r\n\r\n" + BODY,
    "header that only resembles a length": POST + b"Content_Length: 3\r\n" + LENGTH + b"\r\n" + BODY,
    "empty lines before a request": b"\r\n\r\n" + POST + LENGTH + b"\r\n" + BODY,
}


@pytest.mark.parametrize("case", LEGITIMATE)
def test_what_can_be_read_in_one_way_is_answered(address: Address, case: str) -> None:
    statuses, received = answers(address, LEGITIMATE[case] + HIDDEN)
    assert statuses == [200, 404], received  # what follows is a request of its own
    assert b'"sum":2' in received


def test_what_follows_a_body_is_no_header(address: Address) -> None:
    """A trailer cannot stand in for a header that a proxy has checked, set or taken out."""
    trailers = b"Host: b\r\nX-Request-ID: forged\r\nContent-Type: text/plain\r\nX-Timeout-Ms: 0\r\n"
    for content_type, status in ((b"application/json", 200), (b"text/plain", 415)):
        head = POST.replace(b"application/json", content_type) + CHUNKED
        other = trailers.replace(b"text/plain", b"application/json") if status == 415 else trailers
        statuses, received = answers(address, head + b"\r\n15\r\n" + BODY + b"\r\n0\r\n" + other + b"\r\n")
        assert statuses == [status], received
        assert b"forged" not in received


def test_body_of_a_request_that_needs_none_is_no_request(address: Address) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN)
    assert answers(address, head + HIDDEN)[0] == [200]


@pytest.mark.parametrize("method", [b"GET /health/live", b"POST /add"])
def test_nothing_is_read_after_the_last_request(address: Address, method: bytes) -> None:
    head = method + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    statuses, received = answers(address, head + HIDDEN)
    assert len(statuses) == 1
    assert b"hidden" not in received


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"other"])
def test_wish_for_another_protocol_is_ignored(address: Address, protocol: bytes) -> None:
    head = POST + LENGTH + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
    statuses, received = answers(address, head + BODY + HIDDEN)
    assert statuses == [200, 404]
    assert b'"sum"' in received


def test_body_behind_a_wish_for_another_protocol_is_no_request(address: Address) -> None:
    head = POST + b"Content-Length: %d\r\nConnection: UPGRADE\r\nUPGRADE: h2c\r\n\r\n" % len(HIDDEN)
    assert answers(address, head + HIDDEN + HIDDEN)[0] == [422, 404]


@pytest.mark.parametrize("target", [b"http://a/health/live", b"HTTPS://A/health/live?a=b", b"http://a", b"http://a?b"])
def test_target_may_name_the_host(address: Address, target: bytes) -> None:
    statuses, received = answers(address, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target + HIDDEN)
    assert statuses == [200, 404], received


def test_target_for_a_host_that_is_not_allowed_is_refused(address: Address) -> None:
    assert answers(address, b"GET http://b/models HTTP/1.1\r\nHost: b\r\n\r\n")[0] == [400]


def test_good_request_is_answered_before_what_is_none(address: Address) -> None:
    statuses, received = answers(address, POST + LENGTH + b"\r\n" + BODY + b"\x16\x03\x01" + HIDDEN)
    assert statuses == [200, 400]
    assert b'"sum":2' in received


def test_requests_of_http_1_0_need_no_host(address: Address) -> None:
    assert answers(address, b"GET /health/live HTTP/1.0\r\n\r\n" + HIDDEN)[0] == [200]
