"""HTTP over one connection: uvicorn's protocol, made fit to face clients that are slow, gone or out of order.

- A response's head and body leave in one write. uvicorn hands the head to the system as soon as it is known, and the
  body right after; for an answer of a hundred bytes that second call costs as much as validating the request.
- A request must have come whole within a time, and an answer must be read within that time.
- A request whose client has gone is cancelled, so that what waits for its turn is not run for nobody.
- While the service drains, answers ask the client to connect anew, which leads it to another instance.
- A request that is refused gets a problem, after the answers to the requests before it.

Knows no routes. What a request is, and which are refused, says `request_framing`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.http import middleware, problem_details
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.operations.request_framing import BODY, END, REST_BYTES, START, Flow, RequestReader
from app.serving.counters import Log

SLOW = ProblemError(ProblemType.REQUEST_TIMEOUT, "The request did not arrive in time.")


class HttpProtocol(RequestReader):
    """As uvicorn's, but for what is said above.

    read_timeout_s  how long it waits for a request, and for a client to read its answer
    note            is told of requests that are refused here
    """

    transport: OneWrite  # type: ignore[assignment]

    def __init__(self, *arguments: Any, read_timeout_s: float = 20.0, note: Log = lambda *_: None, **options: Any):
        super().__init__(*arguments, **options)
        self._read_timeout_s = read_timeout_s
        self._note = note
        self._running: RequestResponseCycle | None = None  # the request that is being answered, or was last
        self._task: asyncio.Task[None] | None = None
        self._dated: list[tuple[bytes, bytes]] | None = None
        self._begun = b""  # how a success begins, with these headers
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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope: Scope = cycle.scope  # type: ignore[assignment]  # whose extensions are anybody's
        scope["extensions"] = {middleware.WHOLE: partial(self._send_whole, cycle)}
        if cycle.waiting_for_100_continue:
            app = _closing_uninvited(app, cycle)
        self._running = cycle
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _await_request(self) -> None:
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(self._read_timeout_s, self._came_too_slowly)

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
        state[problem_details.PREFIX] = self._prefix
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
        self._note(scope, middleware.OTHER, problem.status, 0.0)
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

    def _send_whole(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> bool:
        """Send a success at once, as uvicorn's cycle would by two messages; not if there is more to it."""
        if (
            not cycle.keep_alive
            or cycle.response_started
            or cycle.waiting_for_100_continue
            or cycle.disconnected
            or self.flow.write_paused
        ):
            return False
        cycle.response_started = cycle.response_complete = True
        if self._dated is not cycle.default_headers:  # which change once a second
            self._dated = cycle.default_headers
            self._begun = b"".join([STATUS_LINE[200], *(b"%b: %b\r\n" % header for header in self._dated)])
        self.transport.write(b"".join((self._begun, head, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        self.transport.flush()
        if self._reading is BODY and self._running is self.cycle:
            self._framing_left = REST_BYTES
        super().on_response_complete()
        if self._last_words and self._is_idle():
            self._close(self._last_words)
        elif self._unread:
            self._read_on()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_write_timer()

    def _end_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # which waits for no client that does not read


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
