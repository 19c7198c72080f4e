"""HTTP over one connection: uvicorn's protocol, made fit to face clients that are slow, gone or out of order.

- A response's head and body leave in one write. uvicorn hands the head to the system as soon as it is known, and the
  body right after; for an answer of a hundred bytes that second call costs as much as validating the request. An
  application that has both can hand them over together, which spares it uvicorn's look at every header.
- A request must have come whole within a time, its head within a size, and an answer must be read within that time.
- A request whose client has gone is cancelled, so that what waits for its turn is not run for nobody.
- While the service drains, answers ask the client to connect anew, which leads it to another instance.
- What is no HTTP, or could be read in more than one way, gets a problem, as every other error.

Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app import errors, middleware
from app.errors import ProblemError
from app.measures import Log

MOST_HEAD_BYTES = 64 * 1024
UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
NOT_HTTP = ProblemError(400, "What came is not HTTP/1.1 as RFC 9112 has it.")
LARGE_HEAD = ProblemError(431, f"The request line and headers are larger than {MOST_HEAD_BYTES} bytes.")
SLOW = ProblemError(408, "The request did not come whole in the time that this service waits for it.")


class Ambiguous(Exception):
    """A request that another reader may take for another one; it is refused as no HTTP."""


class HttpProtocol(HttpToolsProtocol):
    """As uvicorn's, but for what is said above.

    Its class says how long it waits, whether the service drains, and who is told of requests that are refused here.
    """

    read_timeout_s: float = 20.0
    is_draining: Callable[[], bool] = staticmethod(lambda: False)
    note: Log = staticmethod(lambda *_: None)

    transport: OneWrite  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._task: asyncio.Task[None] | None = None
        self._coming = False  # whether a request has begun to come and is not whole yet
        self._head_goes_on = False  # whether the head that is coming began before the data that is read
        self._head_bytes = 0
        self._head_is_whole = False
        self._hosts = 0
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = OneWrite(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_read_timer()
        self._end_write_timer()
        if self._task is not None and not self._task.done():
            self._task.cancel(middleware.CLIENT_GONE)

    # Reading

    def data_received(self, data: bytes) -> None:
        if not self._coming and b"pgrade" in data:
            data = _without_upgrade(data)
        self._head_goes_on = self._coming and not self._head_is_whole
        super().data_received(data)
        if self._coming:
            if self._head_goes_on and not self._head_is_whole:
                self._head_bytes += len(data)
                if self._head_bytes > MOST_HEAD_BYTES:
                    self._refuse(LARGE_HEAD)
            self._await_request()
        elif self._is_idle():
            self._await_request()  # what came is no request, such as an empty line, but has ended uvicorn's own wait

    def on_message_begin(self) -> None:
        self._coming = True
        self._head_goes_on = False
        self._head_bytes = 0
        self._head_is_whole = False
        self._hosts = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, but for what others that the request has passed may have understood in another way.

        What follows a chunked body is no header, and any coding but `chunked` would have to be undone.
        """
        if self._head_is_whole:
            return
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Ambiguous(name)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() != "1.0"):
            raise Ambiguous("host")
        self._head_is_whole = True
        super().on_headers_complete()
        if self.is_draining():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._coming = False
        self._end_read_timer()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope: Scope = cycle.scope  # type: ignore[assignment]  # whose extensions are anybody's
        scope["extensions"] = {middleware.WHOLE: partial(self._send_whole, cycle)}
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _await_request(self) -> None:
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(self.read_timeout_s, self._came_too_slowly)

    def _end_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _came_too_slowly(self) -> None:
        self._read_timer = None
        if self._coming:
            self._refuse(SLOW)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words are less clear
        self._refuse(NOT_HTTP)

    def _refuse(self, problem: ProblemError) -> None:
        """Answer with a problem, unless another answer is on its way, and close the connection."""
        if not self.transport.is_closing() and self._may_answer():
            come: Scope | None = self.scope  # type: ignore[assignment]  # which uvicorn has as None before the first
            scope: Scope = {"method": "none", "path": "", **(come or {}), "client": self.client}
            state = scope.setdefault("state", {})
            request_id = state.setdefault("request_id", middleware.fresh_id().decode("ascii"))
            self.transport.write(_closing(problem, scope, request_id))
            if self._is_handed_on():
                state[middleware.STATUS] = problem.status  # which the application notes when it ends
            else:
                self.note(scope, middleware.OTHER, problem.status, 0.0)
        self.transport.close()

    def _is_handed_on(self) -> bool:
        """Whether the application has the request that is coming."""
        cycle = self._last_cycle()
        return cycle is not None and cycle.scope is self.scope

    def _may_answer(self) -> bool:
        """Whether what is written now is the answer to the request that is coming."""
        if self._is_handed_on():  # it may be answered already
            return not self.cycle.response_started and not self.pipeline
        return self._is_idle()

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        cycle = self._last_cycle()
        return cycle is None or cycle.response_complete

    def _last_cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # which uvicorn declares to be there before the first request as well

    # Writing

    def _send_whole(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> bool:
        """Send a success at once, as uvicorn's cycle would by two messages; not where there is more to it."""
        if (
            not cycle.keep_alive
            or cycle.response_started
            or cycle.waiting_for_100_continue
            or cycle.disconnected
            or self.flow.write_paused
        ):
            return False
        cycle.response_started = cycle.response_complete = True
        own = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        self.transport.send(b"".join((STATUS_LINE[200], own, head, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        self.transport.flush()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_write_timer()

    def _end_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # which waits for no client that does not read


def http_protocol(
    read_timeout: float, draining: Callable[[], bool] = lambda: False, told: Log = lambda *_: None
) -> type[HttpProtocol]:
    """The class of connections that wait so many seconds, look to `draining`, and tell `told` of what they refuse."""

    class LimitedHttpProtocol(HttpProtocol):
        read_timeout_s = read_timeout
        is_draining = staticmethod(draining)
        note = staticmethod(told)

    return LimitedHttpProtocol


def _without_upgrade(data: bytes) -> bytes:
    """A request less its wish for another protocol, which HTTP lets a server ignore.

    The parser would take what follows the head for that protocol, and Java's client asks for HTTP/2 with every body.
    Only a head that is whole and ends where any reader ends it is touched: of a line that goes on in the next piece, or
    of a body, nothing may be taken.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end or head.count(b"\n") != head.count(b"\r\n"):
        return data
    return UPGRADE.sub(b"", head) + end + rest


class OneWrite:
    """A transport that holds a response's head back until the first piece of the body, or the end, comes."""

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send data, what is held before it; a head by itself is held."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            return
        self._transport.write(data)

    def send(self, data: bytes) -> None:
        """Send a whole response."""
        self.flush()
        self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _closing(problem: ProblemError, scope: Scope, request_id: str) -> bytes:
    """A problem as the last bytes of a connection."""
    response = errors.response(scope, problem)
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode("ascii")]
    headers = [*response.raw_headers, (middleware.HEADER, request_id.encode("ascii")), (b"connection", b"close")]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])
