"""No answer shows a stack, a path or a word of what went wrong inside; no client writes lines of its own in the log."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import Any

import fakes
import pytest
from client import Client, client_of_fakes
from service import Service, running

from app import keys
from app.http.problem_types import ProblemType
from app.main import create_app
from app.operations import logs
from app.serving import runtime
from app.serving.batching import DeadlinePassed, QueueFull
from app.serving.models import Model
from app.serving.repository import Repository, UnknownModel
from app.serving.served_model import NotLoaded, ServedModel, UnknownVersion
from app.settings import Settings
from seq2seq.bundle import BundleError
from seq2seq.decoding import States
from seq2seq.vocabulary import FloatArray

ROOT = Path(__file__).parents[2]
SECRET = f"secret of {ROOT}/models"
INSIDE = re.compile(
    rf"Traceback|File \"|line \d+, in |\.py\b|site-packages|{re.escape(str(ROOT))}|{re.escape(sys.prefix)}"
    r"|/(usr|home|root|tmp|srv|work|venv|etc)/|secret|0x[0-9a-f]{6,}|object at |<class|<function|Error\(|numpy|onnx"
    r"|uvicorn|starlette|fastapi|pydantic|Python/",
    re.IGNORECASE,
)
"""What gives away where or how the service runs."""


def assert_tells_nothing(status: int, headers: list[tuple[str, str]], body: str) -> None:
    assert status >= 400
    told = "\n".join([*(f"{name}: {value}" for name, value in headers), body])
    assert not INSIDE.search(told), told
    assert "server" not in dict(headers)


def failing(error: Exception) -> Client:
    """A service whose every prediction fails with this."""

    def broken(_: States) -> FloatArray:
        raise error

    models = fakes.models()
    network = replace(fakes.truthful(fakes.ADDITION), decode=broken)
    return Client(create_app(Settings(), models | {"addition": Model(fakes.addition_manifest(), network)}))


def breaking(error: Exception) -> Client:
    """A service that raises an error wherever it looks for a model."""

    class Broken(Repository):
        def __getitem__(self, name: str) -> ServedModel:
            raise error

    def load(_: Path) -> Model:
        raise error

    return Client(create_app(Settings(), repository=Broken(ROOT, fakes.Trial(load), load, fakes.predictor)))


ASKED: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/add", {"expression": "1+1"}),
    ("POST", "/models/addition/predict/batch", {"expressions": ["1+1"]}),
    ("POST", "/v2/models/addition/infer", {}),
    ("GET", "/models/addition", None),
)


INNER = [
    RuntimeError(SECRET),
    OSError(2, SECRET, f"{ROOT}/models"),
    KeyError(SECRET),
    UnicodeDecodeError("ascii", b"\xff", 0, 1, SECRET),
    RecursionError(SECRET),
    MemoryError(SECRET),
    AssertionError(SECRET),
    BundleError(ROOT / "models", SECRET),
    runtime.RuntimeMissing(SECRET),
    ExceptionGroup(SECRET, [ValueError(SECRET)]),
]


@pytest.mark.parametrize("error", INNER, ids=lambda error: type(error).__name__)
def test_failure_of_a_model_tells_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    for path, body in (("/add", {"expression": "1+1"}), ("/add/batch", {"expressions": ["1+1", "1+"]})):
        answer = failing(error).post(path, json=body)
        assert answer.status_code == 500
        assert_tells_nothing(500, answer.headers.multi_items(), answer.text)
    assert "secret" in caplog.text  # it is for the log


@pytest.mark.parametrize("error", INNER, ids=lambda error: type(error).__name__)
def test_failure_of_a_route_tells_nothing(error: Exception) -> None:
    client = breaking(error)
    for method, path, body in ASKED:
        answer = client.request(method, path, json=body)
        assert answer.status_code == 500
        assert_tells_nothing(500, answer.headers.multi_items(), answer.text)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueueFull(SECRET), 429),
        (DeadlinePassed(SECRET), 504),
        (NotLoaded("No version of addition is loaded."), 503),
        (UnknownModel("There is no model division; there are addition, reversal."), 404),
        (UnknownVersion("There is no version 7 of addition; served: 1."), 404),
    ],
)
def test_error_of_the_service_tells_what_it_is_meant_to(error: Exception, status: int) -> None:
    client = breaking(error)
    for method, path, body in ASKED:
        answer = client.request(method, path, json=body)
        assert answer.status_code == status
        assert_tells_nothing(status, answer.headers.multi_items(), answer.text)


ODD = ["\x1b[31mred", "a\r\nb: c", "a\x00b", "\u202e\u2066", "{0.__class__}", "%s%n", "${jndi:ldap://a}", "x" * 20_000]
"""What is echoed, if at all, harmless and short."""


@pytest.mark.parametrize("text", [*ODD, "../../etc/shadow", "/models/../app/main"])
def test_what_a_client_sends_comes_back_harmless(text: str) -> None:
    client = client_of_fakes()
    for answer in (
        client.post("/add", json={"expression": text}),
        client.post("/add", json={text: text}),
        client.post("/add/batch", json={"expressions": [text, {text: [text]}]}),
        client.post("/reverse", json={"sequence": [text] * 6}),
        client.post("/add", json={"expression": "1+1"}, params={"version": text}),
        client.post("/add", content=b"{}", headers={"content-type": text.encode()}),
        client.post("/add", json={"expression": "1+1"}, headers={"x-timeout-ms": text.encode()}),
    ):
        assert answer.status_code in (200, 400, 404, 413, 415, 422)
        assert answer.content.isascii()
        assert len(answer.content) < 5_000
        assert not re.search(rb"[\x00-\x1f\x7f]", answer.content)
        assert all(value.isprintable() for value in answer.headers.values())


def test_every_status_is_gone_through() -> None:
    """A status that is added to the service's errors is added to the tests of this file, too."""
    assert {each.status for each in ProblemType} == {
        400,
        401,
        403,
        404,
        405,
        408,
        413,
        415,
        422,
        429,
        431,
        500,
        503,
        504,
    }


# Over sockets, from the service as it is run


@pytest.fixture(scope="module")
def key() -> str:
    return keys.fresh_key()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, key: str) -> Iterator[Service]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(keys.line("ci", key))
    options = {"api_keys_file": path, "access_log": True, "log_level": "debug", "read_timeout_s": 1}
    options["trusted_proxies"] = '["127.0.0.1"]'  # so that what a client says of its address is logged
    with running(**options, allowed_hosts='["127.0.0.1"]', max_body_bytes=1_000) as service:
        yield service


def talk(service: Service, data: bytes) -> bytes:
    """All that comes back until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
        return answer


def request(key: str, line: str, body: bytes = b"", **headers: str) -> bytes:
    fields = {"Host": "127.0.0.1", "Authorization": f"Bearer {key}", "Connection": "close"}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


SUM = b'{"expression": "1+1"}'


@pytest.mark.parametrize(
    ("status", "make"),
    [
        (400, lambda _: b"no http\r\n\r\n"),
        (400, lambda key: request(key, "GET /models", Host="other.example")),
        (400, lambda key: request(key, "POST /add", SUM, X_Timeout_Ms="soon")),
        (401, lambda key: request(key, "GET /models", Authorization="")),
        (401, lambda key: request(key, "POST /add", SUM, Authorization="Bearer wrong")),
        (404, lambda key: request(key, "GET /app/../../../shadow")),
        (404, lambda key: request(key, "POST /add?version=99", SUM)),
        (404, lambda key: request(key, "GET /docs/assets/%2e%2e/%2e%2e/core")),
        (405, lambda key: request(key, "DELETE /add")),
        (408, lambda key: request(key, "POST /add", SUM)[:-1]),
        (413, lambda key: request(key, "POST /add", b" " * 2_000)),
        (415, lambda key: request(key, "POST /add", SUM, Content_Type="text/plain")),
        (422, lambda key: request(key, "POST /add", b'{"expression": "1+"}')),
        (431, lambda key: request(key, "GET /models", Cookie="c" * 400_000)[:-1]),
    ],
)
def test_error_over_a_socket_tells_nothing(
    service: Service, key: str, status: int, make: Callable[[str], bytes]
) -> None:
    answers = (talk(service, make(key)) for _ in range(20))  # of a request that was not read whole, it may be lost
    answer = next(filter(None, answers)).decode("latin-1")
    head, _, body = answer.partition("\r\n\r\n")
    status_line, *fields = head.split("\r\n")
    assert status_line.split()[1] == str(status), answer
    headers = [(name.lower(), value) for name, _, value in (field.partition(": ") for field in fields)]
    names = dict(headers)
    assert_tells_nothing(status, [pair for pair in headers if pair != ("connection", "close")], body)
    assert names["content-type"] == "application/problem+json"
    assert names["x-content-type-options"] == "nosniff"
    assert json.loads(body)["status"] == status


# The log


NASTY = [
    b"abc\x1b[2Jdef",
    b"a\x9b31mb",
    "a\u2028b\u202ec".encode(),
    b"x" * 5_000,
    b"%s%d%n",
    b'"}\\n{"level": "info"',
    b"\xff\xfe",
    b"\xc2\x85next line",
]
"""What a header's value may hold, but no log should."""

NEW_LINES = [b"abc\r\nINFO:     forged", b"abc\nINFO:     forged", b"abc\rforged", b"abc\x00def", b"abc\x0b\x0cdef"]


def lines_until(service: Service, mark: str) -> list[str]:
    """What is logged up to a line that has the mark."""
    lines: list[str] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(Empty):
            lines.append(service.lines.get(timeout=1))
            if mark in lines[-1]:
                return lines
    raise AssertionError(f"no line has {mark}; logged were {lines}")


@pytest.mark.parametrize("place", ["x-request-id", "x-forwarded-for", "traceparent", "user-agent", "path", "query"])
def test_client_writes_no_line_of_the_log(service: Service, key: str, place: str) -> None:
    for number, nasty in enumerate([*NASTY, *NEW_LINES]):
        plain = request(key, "GET /models/none", Connection="close")
        if place in ("path", "query"):
            data = plain.replace(b"/models/none", b"/models/none" + (b"/" if place == "path" else b"?a=") + nasty)
        else:
            data = plain.replace(b"\r\n\r\n", b"\r\n" + place.encode() + b": " + nasty + b"\r\n\r\n")
        answer = talk(service, data)
        assert re.match(rb"HTTP/1.1 [234]", answer), (nasty, answer)
        mark = f"/mark/{place}/{number}"
        talk(service, request(key, f"GET {mark}"))
        for line in lines_until(service, mark):
            text = line.removesuffix("\n")
            assert text.isascii(), (nasty, line)
            assert text.isprintable(), (nasty, line)
            assert not text.startswith("INFO:     forged")
            assert len(text) < 10_000


def test_keys_are_not_in_the_log(service: Service, key: str) -> None:
    wrong = keys.fresh_key()
    for each in (key, wrong):
        talk(service, request(each, "POST /add", SUM))
        talk(service, request("", "POST /add", SUM, X_API_Key=each, Authorization=""))
        talk(service, request(each, "GET /models"))
        talk(service, request(each, "POST /add", SUM, Cookie="c" * 70_000))
        talk(service, request(each, "POST /add", SUM)[:-1])
        talk(service, request(each, "no http"))
    mark = "/mark/keys"
    talk(service, request(key, f"GET {mark}"))
    logged = "".join(lines_until(service, mark))
    assert mark in logged
    assert key not in logged
    assert wrong not in logged
    assert "Authorization" not in logged


def test_failure_is_logged_under_a_sane_id(caplog: pytest.LogCaptureFixture) -> None:
    for nasty in NASTY + NEW_LINES:
        caplog.clear()
        with caplog.at_level(logging.ERROR, logger="app"):
            answer = failing(RuntimeError("broken")).post(
                "/add", json={"expression": "1+1"}, headers={"x-request-id": nasty}
            )
        (record,) = caplog.records
        assert re.fullmatch(r"request [A-Za-z0-9_.\-]{1,64} failed", record.getMessage())
        assert answer.headers["x-request-id"] in record.getMessage()


def test_trace_is_set_apart_from_the_lines_around_it() -> None:
    """What an exception quotes of a request starts no line either."""
    config = logs.log_config(Settings())
    formatter = logging.Formatter("INFO:     %(message)s")
    try:
        raise ValueError("quoted\nINFO:     forged\x1b[2J")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord(
        "app", logging.ERROR, __file__, 1, "request %s failed after %.1f s", ("a\nb", 1.5), failure
    )
    assert config["handlers"]["messages"]["filters"] == ["printable"]
    assert logs.Printable().filter(record)
    first, *others = formatter.format(record).split("\n")
    assert first == "INFO:     request a\\nb failed after 1.5 s"
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert others[-1] == "    INFO:     forged\\x1b[2J"
