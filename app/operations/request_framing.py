"""How bytes become requests: uvicorn's reader, made strict about where a request begins and ends (RFC 9112).

- A request's head is bounded, and so is what frames its body.
- What is no HTTP, or could be read in more than one way, is refused. Nothing is read after that.
- Only HTTP is spoken. A wish for another protocol is left out, and the request is answered.
- A connection with many small requests reads them in pieces, so that other connections have their turn.

Writes nothing. It knows no routes but those that tell of the service's health.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http.guards import HEALTH
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType

MOST_BYTES = 64 * 1024
"""The most that a request's head may hold, and the most that may frame its body: chunk extensions and trailers."""

MOST_HEADERS = 100
"""Most headers of a request. Each costs 120 bytes more than its text: 64 KiB of short ones took 2 MB."""

CHUNK_BYTES = 12
"""A chunk's size in eight digits, and two line ends. They do not count, so a body may have any number of chunks."""

REST_BYTES = 1024 * 1024
"""How much more of a request is read once it is answered. A client that sends more is cut off."""

PIECE_BYTES = 4 * 1024
"""How much is read before a look at how many requests wait: 140 of the smallest, which take 7 ms."""

TURN_BYTES = 32 * 1024
"""How much is read of a connection before others have their turn. The event loop hands over up to 8 MiB at once, which
take 0.2 s to read as chunks of one byte."""

SLASH = ord("/")
OTHER_PROTOCOL = re.compile(rb" (?:RTSP|ICE)/[0-9.]*\r?\n")
"""The end of a request line for RTSP or ICE. The parser takes these too, and does not say which protocol it read."""

ABSOLUTE = re.compile(rb"https?://([^/?#]*)(/[^?]*)?(.*)", re.IGNORECASE)

NOT_HTTP = ProblemError(ProblemType.BAD_REQUEST, "The request is not valid HTTP/1.1 (RFC 9112).")
UNKNOWN_VERSION = ProblemError(ProblemType.BAD_REQUEST, "The HTTP version of the request is unknown; send HTTP/1.1.")
OTHER_TARGET = ProblemError(
    ProblemType.BAD_REQUEST,
    "The request's target and its header Host name different hosts; send the same in both.",
)
TOO_LARGE = ProblemError(
    ProblemType.HEADERS_TOO_LARGE,
    f"The request has more than {MOST_HEADERS} headers, or its head, or its chunk extensions and trailers, are larger"
    f" than {MOST_BYTES} bytes.",
)


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
"""Names of the module, because Python 3.11 takes 20 times as long to look one up in the class."""


class Refused(Exception):
    """A request that the parser takes and this service does not."""

    def __init__(self, problem: ProblemError):
        super().__init__(problem.detail)
        self.problem = problem


class RequestReader(HttpToolsProtocol):
    """Reads requests off a connection.

    is_draining  whether the service drains
    check_host   is given what stands in `Host`, and gives a problem where requests may not be for that
    prefix       what a proxy may leave on in front of the path

    A subclass says what happens to a request that is refused, and how long a connection waits for one.
    """

    flow: Flow

    def __init__(
        self,
        *arguments: Any,
        is_draining: Callable[[], bool] = lambda: False,
        check_host: Callable[[bytes], ProblemError | None] = lambda _: None,
        prefix: str = "",
        **options: Any,
    ):
        super().__init__(*arguments, **options)
        self._is_draining = is_draining
        self._host_problem = check_host
        self._prefix = prefix
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._reading = START
        self._head_so_far = b""  # what came since the request began, until its head is complete
        self._framing_left = MOST_BYTES  # how many more bytes may come that are no body
        self._is_continued = False  # whether the request began before the data that is read, so that all of it counts
        self._host: bytes | None = None
        self._checked_host: bytes | None = None  # the last one that requests may be for
        self._unread = b""  # what came, but waits until requests have had their turn

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        raise NotImplementedError

    def _await_request(self) -> None:
        """Start the timer for receiving a whole request."""
        raise NotImplementedError

    def _end_read_timer(self) -> None:
        raise NotImplementedError

    def _refuse(self, problem: ProblemError) -> None:
        """Read no more, and answer with a problem."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Read what came, until it is others' turn, or requests wait for theirs; what is left is held till then."""
        self._unset_keepalive_if_required()
        if len(data) <= PIECE_BYTES and not self.pipeline and not self._unread:
            self._read_piece(data)
        else:
            self._read_turn(self._unread + data)
        if self._unread:
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
        self._unread = b"" if self._reading is END else data[at:]
        if not self._unread:
            self.flow.let_go()
            return
        self.flow.hold()
        if not self.pipeline:
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._unread and not self.pipeline and not self.transport.is_closing():
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
        self._head_so_far = self._head_so_far + data if self._reading is HEAD else data
        if self._reading is START:
            self._is_continued = False
        else:
            self._is_continued = True
            self._framing_left -= len(data)
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
            self._head_so_far = b""
        if self._framing_left < 0 and self._reading is not START:
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
        self._framing_left = MOST_BYTES
        self._is_continued = False
        self._host = None
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, but refuses what a proxy may have read in another way, and drops trailers of a chunked body."""
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
        self._framing_left = MOST_BYTES
        self._is_continued = False
        super().on_headers_complete()
        if self._is_draining():
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        if self._is_continued and not self.cycle.response_complete:
            self._framing_left += CHUNK_BYTES

    def on_body(self, body: bytes) -> None:
        """As uvicorn's, without its question for a WebSocket at every call."""
        cycle = self.cycle
        if not cycle.response_complete:
            if self._is_continued:
                self._framing_left += len(body)
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
        # A line that names another protocol is fed apart if it comes in one piece; this finds one that came in several.
        if self._is_continued and OTHER_PROTOCOL.search(self._head_so_far):
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
        if self.url.partition(b"?")[0].decode("ascii").removeprefix(self._prefix) not in HEALTH:
            if problem := self._host_problem(host):
                raise Refused(problem)
            self._checked_host = host


class Flow(FlowControl):
    """As uvicorn's, but nothing is read while it is held, whatever applications ask for."""

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
