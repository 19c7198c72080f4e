"""OpenTelemetry traces: a span for each request, in the trace that the client's `traceparent` names.

Loaded only if the setting asks for it. The `OTEL_*` variables say where spans go and which are kept. A span never has a
key, a query or a body. Of a request's headers it sees those that name its trace and the client's program. A thread
sends the spans and drops what its queue cannot hold, so that no request waits for a collector. Knows no models.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SERVICE_NAME = "sequences-to-service"
CONVENTIONS = "OTEL_SEMCONV_STABILITY_OPT_IN"
FLUSH_S = 3.0
"""How long a process waits for its last spans to be sent before it ends."""

SHOWN = frozenset({b"traceparent", b"tracestate", b"baggage", b"user-agent"})
REQUEST = "app.request"
"""Where the scope that spans are made from keeps the request itself."""


class Tracing:
    """Makes a span for each request of an application, and sends what is left of them at the end."""

    def __init__(self, provider: TracerProvider):
        self._provider = provider

    @classmethod
    def from_environment(cls) -> Tracing:
        """As the `OTEL_*` variables say; by default OTLP over HTTP to a collector on this machine.

        Raises `ValueError` for a variable that cannot be used.
        """
        os.environ.setdefault(OTEL_SERVICE_NAME, _named_service() or SERVICE_NAME)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def traced(self, app: ASGIApp, route_of: Callable[[Scope], str]) -> ASGIApp:
        """The application with a span for each request. `route_of` knows the route that a request was for."""
        os.environ.setdefault(CONVENTIONS, "http")  # the names of attributes that are stable
        return _Traced(app, route_of, self._provider)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """From the first request to the last. At the end, spans that are left are sent, if there is time."""
        try:
            yield
        finally:
            sending = threading.Thread(target=self._provider.shutdown, daemon=True)  # it may take longer than we do
            sending.start()
            await asyncio.to_thread(sending.join, FLUSH_S)


def _named_service() -> Any:
    """The service's name, where OTEL_RESOURCE_ATTRIBUTES has one."""
    name = str(Resource.create().attributes["service.name"])
    return None if name.startswith("unknown_service") else name


class _Traced:
    def __init__(self, app: ASGIApp, route_of: Callable[[Scope], str], provider: TracerProvider):
        self._app = app
        self._route_of = route_of
        self._middleware = OpenTelemetryMiddleware(
            self._answer,
            default_span_details=lambda scope: (scope["method"], {}),
            tracer_provider=provider,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["receive", "send"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._middleware(_shown(scope), receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, shown: Scope, receive: Receive, send: Send) -> None:
        scope = shown[REQUEST]
        span = trace.get_current_span()
        context = span.get_span_context()
        if context.is_valid:
            scope.setdefault("state", {})["trace_id"] = trace.format_trace_id(context.trace_id)

        async def send_describing(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._describe(span, scope)
            await send(message)

        try:
            await self._app(scope, receive, send_describing)
        finally:
            if span.is_recording():  # no answer was sent, or not all of it
                self._describe(span, scope)

    def _describe(self, span: Span, scope: Scope) -> None:
        route = self._route_of(scope)
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("request.id", scope.get("state", {}).get("request_id", "none"))


def _shown(scope: Scope) -> Scope:
    """What a span is made from; all of it text that can be read as ASCII."""
    headers = [(name, value) for name, value in scope["headers"] if name in SHOWN and value.isascii()]
    return {**scope, "headers": headers, "query_string": b"", REQUEST: scope}
