"""A real server on a real socket: whatever bytes come, the answer is a clean problem and the next request is served."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest
import uvicorn

from app.main import create_app
from app.operations.connections import HttpProtocol
from app.settings import Settings

Address = tuple[str, int]
JSON = {"Content-Type": "application/json"}


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[Address]:
    """Where a server answers, in a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        models = fakes.repository(*fakes.models().values(), models_dir=Path("none"))  # so that no other is loaded
        app = create_app(settings, repository=models)
        config = uvicorn.Config(app, http=HttpProtocol, lifespan="on", ws="none", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with serving(Settings()) as address:
        yield address


@pytest.fixture
def connection(address: Address) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(*address, timeout=30)
    yield connection
    connection.close()


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


def refused(connection: http.client.HTTPConnection, path: str, body: bytes) -> dict[str, Any]:
    """The one fault that a body is refused for, on a connection that goes on to serve."""
    problem = assert_problem(exchange(connection, "POST", path, body), 422)
    assert_serves(connection)
    (fault,) = problem["errors"]
    assert fault["detail"]
    result: dict[str, Any] = fault
    return result


@pytest.mark.parametrize(
    ("expression", "position"),
    [
        (b'"10+"', 3),
        (b'"+6"', 0),
        (b'"10++6"', 3),
        (b'"1 0+6"', 1),
        (b'"10-6"', 2),
        ('"٣+4"'.encode(), 0),
        (b'"\\u0663+4"', 0),
        (b'"007+1"', 0),
        (b'"100+1"', 0),
        (b'"1+1+1+1"', None),
        (b'""', None),
        (b'"' + b"1" * 10_000 + b'"', None),
        (b"106", None),
        (b"true", None),
        (b"[]", None),
        (b'"1+1\\u0000"', 3),
    ],
)
def test_expression_is_refused_by_place(
    connection: http.client.HTTPConnection, expression: bytes, position: int | None
) -> None:
    fault = refused(connection, "/add", b'{"expression": ' + expression + b"}")
    assert (fault["pointer"], fault.get("position")) == ("/expression", position)


@pytest.mark.parametrize(
    ("sequence", "pointer"),
    [
        (b"[1,2,3,4,5]", "/sequence"),
        (b"[1,2,3,4,5,6,7]", "/sequence"),
        (b"[]", "/sequence"),
        (b"null", "/sequence"),
        (b"[0,2,3,4,5,6]", "/sequence/0"),
        (b"[1,51,3,4,5,6]", "/sequence/1"),
        (b"[1,2,-1,4,5,6]", "/sequence/2"),
        (b"[1,2,3,true,5,6]", "/sequence/3"),
        (b"[1,2,3,4,1.0,6]", "/sequence/4"),
        (b'[1,2,3,4,5,"7"]', "/sequence/5"),
        (b"[1,2,3,4,5,null]", "/sequence/5"),
        (b"[[1],2,3,4,5,6]", "/sequence/0"),
        (b"[1,2,3,4,5,1" + b"0" * 4_000 + b"]", "/sequence/5"),
        (b"[1,2,3,4,5,1e400]", "/sequence/5"),
    ],
)
def test_sequence_is_refused_by_place(connection: http.client.HTTPConnection, sequence: bytes, pointer: str) -> None:
    assert refused(connection, "/reverse", b'{"sequence": ' + sequence + b"}")["pointer"] == pointer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"10+6",
        b'{"expression": "10+6"',
        b'{"expression": "10+6"}}',
        b'{"expression": "10\x00+6"}',
        b"\x00" * 100,
        b'{"expression": "\xff\xfe"}',
        b'{"expression": "\\ud800"}',
        b'\xef\xbb\xbf{"expression": "10+6"}',
        b"[" * 10_000,
        b"[" * 10_000 + b"]" * 10_000,
        b'{"expression":' * 4_000,
        b'{"expression": ' + b"9" * 10_000 + b"}",
        b"null",
        b'["10+6"]',
    ],
)
@pytest.mark.parametrize("path", ["/add", "/add/batch", "/reverse", "/reverse/batch"])
def test_what_is_no_such_object_is_refused(connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
    assert refused(connection, path, body)["pointer"] == ""


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"expression": "1+1", "extra": 1}', "/extra"),
        (b'{"expression": "1+1", "expression": "1+2"}', "/expression"),
        (b"{}", "/expression"),
    ],
)
def test_field_is_refused_by_name(connection: http.client.HTTPConnection, body: bytes, pointer: str) -> None:
    assert refused(connection, "/add", body)["pointer"] == pointer


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "\xff"}])
def test_what_is_not_declared_json_is_refused(connection: http.client.HTTPConnection, headers: dict[str, str]) -> None:
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


def test_wrong_method_is_refused(connection: http.client.HTTPConnection) -> None:
    answer = exchange(connection, "GET", "/add")
    assert_problem(answer, 405)
    assert answer.headers["Allow"] == "POST"
    assert_serves(connection)


@pytest.mark.parametrize("path", ["/subtract", "/add/", "/../etc/passwd", "/%00", "/docs/assets/../../core.py", "//"])
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


def test_batch_carries_its_errors(connection: http.client.HTTPConnection) -> None:
    answer = exchange(connection, "POST", "/add/batch", b'{"expressions": ["1+1", 7, "1+", "2+2"]}')
    assert answer.status == 200
    assert [result.get("sum") for result in answer.data["results"]] == [2, None, None, 4]


def test_many_at_once_get_their_own_answers(address: Address) -> None:
    sums: dict[int, int] = {}

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection(*address, timeout=30)
        body = json.dumps({"expression": f"{number}+{number}"}).encode("ascii")
        sums[number] = exchange(connection, "POST", "/add", body).data["sum"]
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == {number: 2 * number for number in range(32)}


def heads(settings: Settings, *requests: dict[str, str]) -> list[dict[str, str]]:
    """The headers of answers to the same question, each over a connection of its own, less what differs with time."""
    with serving(settings) as address:
        found = []
        for headers in requests:
            connection = http.client.HTTPConnection(*address, timeout=30)
            with contextlib.closing(connection):
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
    with serving(Settings()) as address:
        connection = http.client.HTTPConnection(*address, timeout=30)
        with contextlib.closing(connection):
            assert_serves(connection)
            assert_serves(connection)
            counted = exchange(connection, "GET", "/metrics").body.decode()
    assert 'service_requests_total{route="/add",status="200"} 2.0' in counted
