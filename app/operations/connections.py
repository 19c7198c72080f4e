"""HTTP over one connection: uvicorn's protocol, made fit to face clients that are slow, gone or out of order.

- A response's head and body leave in one write. uvicorn hands the head to the system as soon as it is known, and the
  body right after; for an answer of a hundred bytes that second call costs as much as validating the request. An
  application that has both can hand them over together, which spares it uvicorn's look at every header.
- A request must have come whole within a time, and an answer must be read within that time.
- A request's head is bounded, and so is what frames its body.
- A request whose client has gone is cancelled, so that what waits for its turn is not run for nobody.
- While the service drains, answers ask the client to connect anew, which leads it to another instance.
- What is no HTTP, or could be read in more than one way, gets a problem after the answers to the requests before it.
  Nothing is read after that.
- Only HTTP is spoken. A wish for another protocol is left out, and the request is answered.

Knows no routes but those that tell of the service's health.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from typing import Any

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http import middleware, problem_details
from app.http.guards import HEALTH
from app.http.problem_details import ProblemError
from app.serving.counters import Log

MOST_BYTES = 64 * 1024
"""The most that a request's head may hold, and the most that may frame its body: chunk extensions and trailers."""

MOST_HEADERS = 100
"""How many headers a request may have. Each takes 120 bytes besides its own, so that 64 KiB of short ones took 2 MB."""

CHUNK_BYTES = 12
"""What a chunk's size in eight digits and two ends of lines take. They do not count, however many chunks there are."""

REST_BYTES = 1024 * 1024
"""How much more of a request is read once it is answered. A client that sends more is cut off."""

PIECE_BYTES = 4 * 1024
"""How much is read before a look at how many requests wait: 140 of the smallest, which take 7 ms."""

TURN_BYTES = 32 * 1024
"""How much is read of a connection before others have their turn. The event loop hands over up to 8 MiB at once, which
take 0.2 s to read as chunks of one byte."""

SLASH = ord("/")
OTHER_PROTOCOL = re.compile(rb" (?:RTSP|ICE)/[0-9.]*\r?\n")
"""How a line ends that asks for what the parser knows besides HTTP. It does not tell which of them it has read."""

ABSOLUTE = re.compile(rb"https?://([^/?#]*)(/[^?]*)?(.*)", re.IGNORECASE)

NOT_HTTP = ProblemError(400, "What came is not HTTP/1.1 as RFC 9112 has it.")
UNKNOWN_VERSION = ProblemError(400, "The request line names no version that this service knows; send HTTP/1.1.")
OTHER_TARGET = ProblemError(
    400, "The request's target and its header Host name different hosts; send the same in both."
)
TOO_LARGE = ProblemError(
    431,
    f"The request has more than {MOST_HEADERS} headers, or its head, or its chunk extensions and trailers, are larger"
    f" than {MOST_BYTES} bytes.",
)
SLOW = ProblemError(408, "The request did not come whole in the time that this service waits for it.")


class Reading(Enum):
    """What a connection is read for.

    START  a request's first byte
    HEAD   the rest of its request line and headers
    BODY   what follows its head
    END    nothing: a request was refused
    """

    START = "start"
    HEAD = "head"
    BODY = "body"
    END = "end"


START, HEAD, BODY, END = Reading
"""By names of the module, for looking one up in its class takes Python 3.11 20 times as long."""


class Refused(Exception):
    """A request that the parser takes and this service does not."""

    def __init__(self, problem: ProblemError):
        super().__init__(problem.detail)
        self.problem = problem


class HttpProtocol(HttpToolsProtocol):
    """As uvicorn's, but for what is said above.

    Its class says how long it waits, whether the service drains, who is told of requests that are refused here, and
    which hosts requests may be for.
    """

    read_timeout_s: float = 20.0
    is_draining: Callable[[], bool] = staticmethod(lambda: False)
    note: Log = staticmethod(lambda *_: None)
    check_host: Callable[[bytes], ProblemError | None] = staticmethod(lambda _: None)
    prefix: str = ""

    transport: OneWrite  # type: ignore[assignment]
    flow: Flow

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._reading = START
        self._read = b""  # the data that is read; of a head that began before, all since then
        self._left = MOST_BYTES  # how much more may come that is no body
        self._goes_on = False  # whether what is read began before the data that is read, so that all of it counts
        self._host: bytes | None = None
        self._checked_host: bytes | None = None  # the last one that requests may be for
        self._running: RequestResponseCycle | None = None  # the request that is being answered, or was last
        self._task: asyncio.Task[None] | None = None
        self._held = b""  # what came, but is not read before requests have had their turn
        self._dated: list[tuple[bytes, bytes]] | None = None
        self._begun = b""  # how an answer begins, by these headers
        self._last_words = b""  # what is sent once all requests are answered, and then the connection is closed
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = OneWrite(transport)
        self.flow = Flow(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._reading = END
        self._end_read_timer()
        self._end_write_timer()
        if self._running is not None:
            self._running.disconnected = True
        if self._task is not None and not self._task.done():
            self._task.cancel(middleware.CLIENT_GONE)

    # Reading

    def data_received(self, data: bytes) -> None:
        """Read what came, until it is others' turn, or requests wait for theirs; what is left is held till then."""
        self._unset_keepalive_if_required()
        if len(data) <= PIECE_BYTES and not self.pipeline and not self._held:
            self._read_piece(data)
        else:
            self._read_turn(self._held + data)
        if self._held:
            self._end_read_timer()
        elif self._reading is HEAD or self._reading is BODY:
            self._await_request()
        elif self._reading is START and self._is_idle():
            self._await_request()  # what came is no request, such as an empty line, but has ended uvicorn's own wait

    def _read_turn(self, data: bytes) -> None:
        at = 0
        while at < min(len(data), TURN_BYTES) and not self.pipeline:
            self._read_piece(data[at : at + PIECE_BYTES])
            at += PIECE_BYTES
        self._held = b"" if self._reading is END else data[at:]
        if not self._held:
            self.flow.let_go()
            return
        self.flow.hold()
        if not self.pipeline:
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._held and not self.pipeline and not self.transport.is_closing():
            self.data_received(b"")

    def _read_piece(self, data: bytes) -> None:
        """Read a piece. A line that names another protocol is read apart, so that no other request is judged by it."""
        if b" RTSP/" not in data and b" ICE/" not in data:
            self._feed(data)
            return
        at = 0
        for found in OTHER_PROTOCOL.finditer(data):
            line_at = max(at, data.rfind(b"\n", at, found.start()) + 1)
            self._feed(data[at:line_at])
            self._feed(data[line_at : found.end()])
            at = found.end()
        self._feed(data[at:])

    def _feed(self, data: bytes) -> None:
        if not data or self._reading is END:
            return
        self._read = self._read + data if self._reading is HEAD else data
        if self._reading is START:
            self._goes_on = False
        else:
            self._goes_on = True
            self._left -= len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as wish:
                self._parse_past(wish, memoryview(data))
        except httptools.HttpParserError as error:
            refused = error.__context__
            self._refuse(refused.problem if isinstance(refused, Refused) else NOT_HTTP)
            return
        if self._reading is not HEAD:
            self._read = b""
        if self._left < 0 and self._reading is not START:
            self._refuse(TOO_LARGE)

    def _parse_past(self, wish: httptools.HttpParserUpgrade, data: memoryview) -> None:
        """Go on where the parser stopped for another protocol: give it the head again without that wish, then the rest.

        HTTP lets a server ignore the wish, and Java's client has it with every request.
        """
        while True:
            data = data[wish.args[0] :]
            headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
            line = (self.parser.get_method(), self.url, self.parser.get_http_version().encode("ascii"))
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"%b %b HTTP/%b\r\n" % line + b"".join(headers) + b"\r\n")
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as another:
                wish = another

    def on_message_begin(self) -> None:
        self._reading = HEAD
        self._left = MOST_BYTES
        self._goes_on = False
        self._host = None
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, but for what others that the request has passed may have understood in another way.

        What follows a chunked body is no header, and any coding but `chunked` would have to be undone.
        """
        if self._reading is BODY:
            return
        if len(self.headers) >= MOST_HEADERS:
            raise Refused(TOO_LARGE)
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"host":
            if self._host is not None:
                raise Refused(NOT_HTTP)
            self._host = value
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Refused(NOT_HTTP)
        elif name == b"expect":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refused(NOT_HTTP)
            return  # it is parsed again
        self._check_version()
        if self._host is None:
            raise Refused(NOT_HTTP)
        if b"#" in self.url:
            raise Refused(NOT_HTTP)
        if self.url[0] != SLASH:
            self._leave_out_host()
        if self._host != self._checked_host:
            self._check_host(self._host)
        self._reading = BODY
        self._left = MOST_BYTES
        self._goes_on = False
        super().on_headers_complete()
        if self.is_draining():
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        if self._goes_on and not self.cycle.response_complete:
            self._left += CHUNK_BYTES

    def on_body(self, body: bytes) -> None:
        """As uvicorn's, without its question for a WebSocket at every call."""
        cycle = self.cycle
        if not cycle.response_complete:
            if self._goes_on:
                self._left += len(body)
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._reading is BODY:
            self._reading = START
            self._end_read_timer()
            if not self.cycle.response_complete:
                self.cycle.more_body = False
                self.cycle.message_event.set()

    def _check_version(self) -> None:
        """Refuse what is no HTTP/1.1 or HTTP/1.0. The parser takes other protocols without a word."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Refused(UNKNOWN_VERSION)
        if self._goes_on and OTHER_PROTOCOL.search(self._read):  # a piece that holds a whole such line is read apart
            raise Refused(UNKNOWN_VERSION)
        if version == "1.0":
            self._host = self._host or b""
            self.expect_100_continue = False  # which it does not know

    def _leave_out_host(self) -> None:
        """Make the target a path, where it names the host that `Host` names too."""
        if self.url == b"*":
            return
        found = ABSOLUTE.fullmatch(self.url)
        if found is None:
            raise Refused(NOT_HTTP)
        host, path, query = found.groups()
        if host.lower() != (self._host or b"").lower():
            raise Refused(OTHER_TARGET)
        self.url = (path or b"/") + query

    def _check_host(self, host: bytes) -> None:
        if self.url.partition(b"?")[0].decode("ascii").removeprefix(self.prefix) not in HEALTH:
            if problem := self.check_host(host):
                raise Refused(problem)
            self._checked_host = host

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.waiting_for_100_continue:
            app = _closing_uninvited(app, cycle)
        self._running = cycle
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
        if self._reading is START:
            self.transport.close()
        else:
            self._refuse(SLOW)

    def _refuse(self, problem: ProblemError) -> None:
        """Read no more. Answer with a problem after the requests that came before, and close the connection."""
        reading, self._reading = self._reading, END
        self._end_read_timer()
        scope: Scope = {"method": "none", "path": "", "headers": [], "client": self.client}
        if reading is not START:
            scope.update(self.scope)
        state = scope.setdefault("state", {})
        request_id = state.setdefault("request_id", middleware.request_id(scope).decode("ascii"))
        words = _closing(problem, scope, request_id)
        if reading is BODY and not self.pipeline:  # the application has it
            running = self.cycle
            if running.response_started:
                running.keep_alive = False
                if running.response_complete:
                    self.transport.close()
                return
            running.disconnected = True
            state[middleware.STATUS] = problem.status  # which the application notes when it ends
            self._close(words)
            return
        if reading is BODY:
            self.pipeline.popleft()
        self.note(scope, middleware.OTHER, problem.status, 0.0)
        self._last_words = words
        if self._is_idle():
            self._close(words)

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self._running is None or self._running.response_complete

    def _close(self, words: bytes) -> None:
        """Close the connection after these last words, unless it is closed."""
        if not self.transport.is_closing():
            self.transport.write(words)
            self.transport.close()

    # Writing

    def on_response_complete(self) -> None:
        self.transport.flush()
        if self._reading is BODY and self._running is self.cycle:
            self._left = REST_BYTES
        super().on_response_complete()
        if self._last_words and self._is_idle():
            self._close(self._last_words)
        elif self._held:
            self._read_on()

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
    read_timeout: float,
    draining: Callable[[], bool] = lambda: False,
    told: Log = lambda *_: None,
    host_checked: Callable[[bytes], ProblemError | None] = lambda _: None,
    root_path: str = "",
) -> type[HttpProtocol]:
    """The class of connections that wait so many seconds, look to `draining`, and tell `told` of what they refuse.

    `host_checked` is given what stands in `Host`, and gives a problem where requests may not be for that.
    `root_path` is the prefix that a proxy may leave on.
    """

    class LimitedHttpProtocol(HttpProtocol):
        read_timeout_s = read_timeout
        is_draining = staticmethod(draining)
        note = staticmethod(told)
        check_host = staticmethod(host_checked)
        prefix = root_path

    return LimitedHttpProtocol


class Flow(FlowControl):
    """As uvicorn's, but that nothing comes while it is held, whatever applications ask for."""

    is_held = False

    def hold(self) -> None:
        self.is_held = True
        self._transport.pause_reading()

    def let_go(self) -> None:
        if self.is_held:
            self.is_held = False
            if not self.read_paused:
                self._transport.resume_reading()

    def resume_reading(self) -> None:
        if self.is_held:
            self.read_paused = False
        else:
            super().resume_reading()


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
    response = problem_details.response(scope, problem)
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode("ascii")]
    headers = [*response.raw_headers, (middleware.HEADER, request_id.encode("ascii")), (b"connection", b"close")]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


def _closing_uninvited(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """An application whose client waits to be invited to send its body.

    Without an invitation nobody knows whether the body comes, so an answer given before that closes the connection.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_closing(message: Message) -> None:
            if cycle.waiting_for_100_continue:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, send_closing)

    return application
