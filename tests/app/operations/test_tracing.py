"""Traces: a span for each request, in the caller's trace, that tells no key, query or body; and how they are sent."""

from __future__ import annotations

import gzip
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import fakes
import pytest
from client import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from service import running

from app.main import create_app
from app.operations.tracing import Tracing
from app.settings import Settings

ROOT = Path(__file__).parents[3]
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


class Traced:
    """A client of an app that keeps its spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.app = create_app(Settings(), fakes.models(), tracing=Tracing(provider))
        self.client = Client(self.app)

    def span(self) -> ReadableSpan:
        (span,) = self._exporter.get_finished_spans()
        self._exporter.clear()
        return span


@pytest.fixture(scope="module")
def traced() -> Traced:
    return Traced()


@pytest.mark.parametrize(
    ("method", "path", "body", "name", "status"),
    [
        ("POST", "/add", {"expression": "1+1"}, "POST /add", 200),
        ("POST", "/add", {"expression": "1+"}, "POST /add", 422),
        ("POST", "/models/addition/predict", {"expression": "1+1"}, "POST /models/{name}/predict", 200),
        ("POST", "/v2/models/addition/infer", {}, "POST /v2/models/{name}/infer", 400),
        ("GET", "/models/none", None, "GET /models/{name}", 404),
        ("GET", "/made/up", None, "GET other", 404),
    ],
)
def test_request_is_a_span_of_the_callers_trace(
    traced: Traced, method: str, path: str, body: Any, name: str, status: int
) -> None:
    headers = {"traceparent": TRACEPARENT, "X-Request-ID": "mine"}
    answer = traced.client.request(method, path, json=body, headers=headers)
    assert answer.status_code == status
    span = traced.span()
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert (span.name, span.kind, span.status.status_code) == (name, SpanKind.SERVER, StatusCode.UNSET)
    assert span.attributes is not None
    assert span.attributes["http.route"] == name.partition(" ")[2]
    assert span.attributes["http.request.method"] == method
    assert span.attributes["http.response.status_code"] == status
    assert span.attributes["request.id"] == "mine"


def test_request_without_a_trace_begins_one(traced: Traced) -> None:
    traced.client.post("/add", json={"expression": "1+1"})
    span = traced.span()
    assert span.parent is None


def test_failure_is_an_error() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    traced = Traced()
    traced.app.add_api_route("/fail", fail)
    assert traced.client.get("/fail").status_code == 500
    span = traced.span()
    assert (span.name, span.status.status_code) == ("GET /fail", StatusCode.ERROR)
    assert span.events == ()  # the trace of the failure is in the log


@pytest.mark.parametrize("path", ["/add", "/models"])
def test_span_tells_no_key_query_or_body(traced: Traced, path: str) -> None:
    headers = {"Authorization": "Bearer hidden", "X-API-Key": "hidden", "Cookie": "hidden"}
    traced.client.post(f"{path}?hidden=1", json={"expression": "hidden"}, headers=headers)
    assert "hidden" not in traced.span().to_json()


NASTY = [
    b"",
    b"\xff\\x",
    b"\xff\xfe",
    "\u0663".encode(),
    b"00-\\x",
    b"x" * 5_000,
    TRACEPARENT.upper().encode(),
    b"a=b,,=;",
]


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize(
    "place", ["traceparent", "tracestate", "baggage", "host", "user-agent", "content-length", "x-other", "query"]
)
async def test_what_no_tracer_can_read_is_answered_as_ever(traced: Traced, place: str, nasty: bytes) -> None:
    """Raw, as a server hands it over: no client library would send it."""
    headers = [(b"content-type", b"application/json"), (b"host", b"test")]
    if place != "query":
        headers = [*(header for header in headers if header[0] != place.encode()), (place.encode(), nasty)]
    if place in ("tracestate", "baggage"):
        headers.append((b"traceparent", TRACEPARENT.encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/add",
        "raw_path": b"/add",
        "root_path": "",
        "query_string": b"a=" + nasty if place == "query" else b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b'{"expression": "1+1"}'}

    async def send(message: Any) -> None:
        messages.append(message)

    await traced.app(scope, receive, send)
    assert messages[0]["status"] == 200, messages
    assert traced.span().name == "POST /add"


class Collector(ThreadingHTTPServer):
    """Takes spans as OTLP over HTTP has them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Export)
        self.exports: Queue[tuple[str, ExportTraceServiceRequest]] = Queue()


class _Export(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        export = ExportTraceServiceRequest()
        export.ParseFromString(body)
        self.server.exports.put((self.path, export))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("workers", [1, 2])
def test_service_sends_its_spans_before_it_ends(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    with collector() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with running(tracing=True, access_log=True, log_format="json", workers=workers, drain_s=0) as service:
            assert service.add("10+6") == 16
            trace_id = service.await_line(r'"trace_id":"([0-9a-f]{32})"')[1]
            assert server.exports.empty()
            assert service.stop() == 0
        path, export = server.exports.get(timeout=10)
    assert path == "/v1/traces"
    (resource,) = export.resource_spans
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert attributes["service.name"] == "sequences-to-service"
    ((span,),) = ([*each.spans] for each in resource.scope_spans)
    assert (span.name, span.trace_id.hex()) == ("POST /add", trace_id)


def test_service_ends_though_nobody_takes_its_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as server:
        address = server.server_address
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{address[1]}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running(tracing=True, drain_s=0) as service:
        assert service.add("10+6") == 16
        assert service.stop() == 0


def test_collector_that_never_answers_delays_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """More spans than the exporter keeps: what it cannot send it drops."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with running(tracing=True, drain_s=0) as service:
            for _ in range(200):
                assert service.add("10+6") == 16
            assert service.stop() == 0


def refused(code: str, **environ: str) -> str:
    """The one line with which a service that does not start says why."""
    command = f"import sys; {code}; from app.__main__ import main; sys.exit(main(['--port', '0', '--tracing', 'true']))"
    result = subprocess.run(
        [sys.executable, "-c", command], env=environ, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_without_the_packages_the_service_refuses_to_start() -> None:
    line = refused("sys.modules['opentelemetry.sdk'] = None")
    assert re.fullmatch(
        r"app: cannot start: APP_TRACING is true, but opentelemetry\.sdk[\w.]* is not installed; "
        r"install requirements/tracing\.txt",
        line,
    )


def test_variable_that_cannot_be_used_is_refused() -> None:
    line = refused("pass", OTEL_BSP_MAX_QUEUE_SIZE="-1")
    assert line.startswith("app: cannot start: APP_TRACING is true, but a variable OTEL_* cannot be used: max_queue")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "sequences-to-service"),
        ({"OTEL_SERVICE_NAME": "sums"}, "sums"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=lists,team=a"}, "lists"),
    ],
)
def test_service_is_named(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], name: str) -> None:
    for variable in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    code = "from app.operations.tracing import Tracing; Tracing.from_environment()"
    code += "; from opentelemetry.sdk.resources import Resource; print(Resource.create().attributes['service.name'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == name
