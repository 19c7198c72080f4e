"""A real server on a real socket: whatever bytes come, the answer is a clean problem and the next request is served."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import fakes
import pytest
from server import Address, serving

from app.main import create_app
from app.settings import Settings

JSON = {"Content-Type": "application/json"}


def served(settings: Settings) -> AbstractContextManager[Address]:
    """A service with the fake models and no others."""
    return serving(create_app(settings, repository=fakes.repository(*fakes.models().values(), models_dir=Path("none"))))


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with served(Settings()) as address:
        yield address


def connected(address: Address) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(*address, timeout=30))


@pytest.fixture
def connection(address: Address) -> Iterator[http.client.HTTPConnection]:
    with connected(address) as connection:
        yield connection


class Answer:
    """What came back over a connection, read whole."""

    def __init__(self, response: http.client.HTTPResponse):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def data(self) -> Any:
        return json.loads(self.body)


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, headers: dict[str, str] = JSON
) -> Answer:
    connection.request(method, path, body, headers, encode_chunked=isinstance(body, Iterator))
    return Answer(connection.getresponse())


def assert_serves(connection: http.client.HTTPConnection) -> None:
    answer = exchange(connection, "POST", "/add", b'{"expression": "10+6"}')
    assert (answer.status, answer.data["sum"]) == (200, 16)


def assert_problem(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, answer.body[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.data
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert len(answer.body) < 5_000
    return problem


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/add", b"", ""),
        ("/add", b"[" * 10_000, ""),
        ("/add", b'{"expression": "10++6"}', "/expression"),
        ("/add/batch", b"\x00" * 100, ""),
        ("/reverse", b'{"sequence": [1,2,3,4,5,1e400]}', "/sequence/5"),
        ("/reverse/batch", b'{"sequences": [], "extra": 1}', "/sequences"),
    ],
)
def test_wrong_body_is_refused(connection: http.client.HTTPConnection, path: str, body: bytes, pointer: str) -> None:
    problem = assert_problem(exchange(connection, "POST", path, body), 422)
    assert problem["errors"][0]["pointer"] == pointer
    assert_serves(connection)


def test_what_is_not_declared_json_is_refused(connection: http.client.HTTPConnection) -> None:
    headers = {"Content-Type": "\xff"}
    assert_problem(exchange(connection, "POST", "/add", b'{"expression": "10+6"}', headers), 415)
    assert_serves(connection)


def test_too_large_body_is_refused(connection: http.client.HTTPConnection) -> None:
    body = b'{"expression": "' + b"1" * 100_000 + b'"}'
    assert_problem(exchange(connection, "POST", "/add", body), 413)
    assert_serves(connection)


def test_too_large_body_in_chunks_is_refused(connection: http.client.HTTPConnection) -> None:
    assert_problem(exchange(connection, "POST", "/add", iter([b" " * 10_000] * 10)), 413)
    assert_serves(connection)


def test_body_in_chunks_is_read(connection: http.client.HTTPConnection) -> None:
    answer = exchange(connection, "POST", "/add", iter([b'{"expres', b'sion": "1', b'+1"}']))
    assert (answer.status, answer.data["sum"]) == (200, 2)


@pytest.mark.parametrize("declared", [b"2", b"abc", b"-1", b"1, 2"])
def test_wrong_content_length_is_refused(address: Address, declared: bytes) -> None:
    with socket.create_connection(address, timeout=30) as raw:
        raw.sendall(
            b"POST /add HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: " + declared + b'\r\n\r\n{"expression": "10+6"}'
        )
        status_line = raw.makefile("rb").readline()
    assert status_line.split()[1][:1] == b"4"


def test_client_that_leaves_harms_nobody(address: Address, connection: http.client.HTTPConnection) -> None:
    with socket.create_connection(address, timeout=30) as raw:
        raw.sendall(b"POST /add HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
    assert_serves(connection)


@pytest.mark.parametrize("path", ["/../etc/passwd", "/%00", "/docs/assets/../../core.py", "//"])
def test_unknown_route_is_refused(connection: http.client.HTTPConnection, path: str) -> None:
    assert_problem(exchange(connection, "GET", path), 404)
    assert_serves(connection)


LANE = ["/add", "/models/addition/predict/batch", "/v2/models/addition/infer"]
GETS = [
    "/",
    "/docs",
    "/docs/assets/favicon.png",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/models",
    "/models/addition",
    "/models/division",
    "/nothing",
    "/openapi.json",
    "/v2",
    "/v2/",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/addition",
    "/v2/models/addition/config",
    "/v2/models/addition/ready",
    "/v2/models/addition/versions/1",
    "/v2/models/nothing",
    "/v2/models/stats",
    "/v2/logging",
    *LANE,
]


@pytest.mark.parametrize("path", GETS)
def test_head_is_answered_as_get_is_without_a_body(connection: http.client.HTTPConnection, path: str) -> None:
    headers = {"X-Request-ID": "same"}
    whole, head = exchange(connection, "GET", path, None, headers), exchange(connection, "HEAD", path, None, headers)
    assert head.body == b""
    assert head.status == whole.status
    given, expected = dict(head.headers), dict(whole.headers)
    for changing in ("date", "Content-Length", "content-length"):
        lengths = [headers.pop(changing, None) for headers in (given, expected)]
        if changing.lower() == "content-length" and path not in ("/metrics", *LANE):
            assert lengths[0] == lengths[1]
    assert given == expected
    assert int(head.headers["content-length"]) > 0
    assert_serves(connection)


def test_every_get_route_is_asked_by_head() -> None:
    routes = create_app(Settings(), fakes.models()).routes
    for route in routes:
        if "GET" in (methods := getattr(route, "methods", None) or ()):
            assert "HEAD" in methods


def test_many_at_once_get_their_own_answers(address: Address) -> None:
    sums: dict[int, int] = {}

    def ask(number: int) -> None:
        body = json.dumps({"expression": f"{number}+{number}"}).encode("ascii")
        with connected(address) as connection:
            sums[number] = exchange(connection, "POST", "/add", body).data["sum"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == {number: 2 * number for number in range(32)}


def heads(settings: Settings, *requests: dict[str, str]) -> list[dict[str, str]]:
    """The headers of answers to the same question, each over a connection of its own, less what differs with time."""
    found = []
    with served(settings) as address:
        for headers in requests:
            with connected(address) as connection:
                answer = exchange(connection, "POST", "/add", b'{"expression": "10+6"}', JSON | headers)
            assert (answer.status, answer.data["sum"]) == (200, 16)
            found.append({name.lower(): value for name, value in answer.headers.items() if name.lower() != "date"})
            assert "date" in answer.headers
    return found


def test_answer_is_the_same_whether_the_connection_stays_or_not() -> None:
    kept, closed = heads(Settings(), {"X-Request-ID": "mine"}, {"X-Request-ID": "mine", "Connection": "close"})
    assert closed.pop("connection") == "close"
    assert kept == closed
    assert kept["x-request-id"] == "mine"
    assert kept["x-content-type-options"] == "nosniff"


def test_guards_see_the_answers_that_they_add_to() -> None:
    origin = "https://a.example"
    (found,) = heads(Settings(cors_origins=[origin]), {"Origin": origin})
    assert found["access-control-allow-origin"] == origin


def test_answers_over_one_connection_are_counted() -> None:
    with served(Settings()) as address, connected(address) as connection:
        assert_serves(connection)
        assert_serves(connection)
        counted = exchange(connection, "GET", "/metrics").body.decode()
    assert 'service_requests_total{route="/add",status="200"} 2.0' in counted
