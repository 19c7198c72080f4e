"""The open-loop load generator: sends requests at random times at a given rate, answered or not (Poisson process).

Latency counts from when a request was due. A server that stalls pays for everything that was due meanwhile, also for
requests that waited for a connection. The generator runs alone on a core, never sleeps, and reports how late it was
itself. Up to some 10,000 requests a second, which is what one server core answers, Python sends on time. Knows nothing
of the server.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.contenders import Contender
from benchmarks.stats import percentile, significant
from benchmarks.workload import Question, Route

CONNECTIONS = 256
DRAIN_S = 3.0
KEPT_UP = 0.95
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Result:
    """A window of open loop.

    rate, achieved  requests a second: due, and answered
    kept_up         whether nearly all due requests were answered within the window
    late_p99_us     how late the generator itself was, when a connection was free
    unanswered      requests without an answer some seconds after the window
    responses       the number of each request, and the whole response to it
    """

    rate: float
    achieved: float
    kept_up: bool
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    late_p99_us: float
    unanswered: int
    responses: list[tuple[int, bytes]] = field(repr=False)

    def as_data(self) -> dict[str, float | bool]:
        """All but the responses."""
        return {
            name: value if isinstance(value, bool) else significant(value)
            for name, value in vars(self).items()
            if name != "responses"
        }


def payload(contender: Contender, route: Route, question: Question) -> bytes:
    """A request as it goes over the wire."""
    body = json.dumps(contender.form.body(route, question.value), separators=(",", ":")).encode("ascii")
    head = (
        f"POST {contender.form.path(route)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def wrong(contender: Contender, route: Route, asked: Sequence[Question], result: Result) -> int:
    """The number of responses that are not the right answer."""
    count = 0
    for number, response in result.responses:
        head, _, body = response.partition(END_OF_HEAD)
        question = asked[number % len(asked)]
        try:
            value, answer = contender.form.read(route, json.loads(body))
        except (ValueError, LookupError, TypeError):
            count += 1
            continue
        right = value == question.value and (contender.check == "form" or answer == question.truth)
        count += not (right and head.startswith(b"HTTP/1.1 200"))
    return count


def due_times(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """When each request of a Poisson process is due, in seconds from the start."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, size=int(rate * seconds * 1.5) + 50))
    return [float(each) for each in times[times < seconds]]


def run(port: int, payloads: Sequence[bytes], rate: float, seconds: float, cores: Iterable[int]) -> Result:
    """Send at `rate` for `seconds`, with this process on `cores`."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, frozenset(cores))
    gc.collect()
    gc.disable()
    loop = _Loop(port, payloads)
    try:
        return loop.run(due_times(rate, seconds), rate, seconds)
    finally:
        loop.close()
        gc.enable()
        os.sched_setaffinity(0, affinity)


class _Loop:
    """The connections: which are free, and which request each of the others waits for."""

    def __init__(self, port: int, payloads: Sequence[bytes]):
        self._payloads = payloads
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._free: deque[int] = deque()
        self._asked: dict[int, int] = {}
        self._parts: dict[int, bytes] = {}
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._poll.register(connection, select.EPOLLIN)
            self._sockets[connection.fileno()] = connection
            self._free.append(connection.fileno())

    def close(self) -> None:
        for connection in self._sockets.values():
            connection.close()
        self._poll.close()

    def run(self, due: Sequence[float], rate: float, seconds: float) -> Result:
        clock, poll, free, asked = time.perf_counter, self._poll.poll, self._free, self._asked
        latencies: list[float] = []
        lateness: list[float] = []
        responses: list[tuple[int, bytes]] = []
        in_time, sent, blocked, count = 0, 0, -1.0, len(due)
        started = clock()
        while True:
            now = clock() - started
            if (sent == count and not asked) or now > seconds + DRAIN_S:
                break
            while sent < count and due[sent] <= now and free:
                if due[sent] > blocked:
                    lateness.append(now - due[sent])
                self._send(free.popleft(), sent)
                sent += 1
                now = clock() - started
            if not free:
                blocked = now
            for descriptor, _ in poll(0):
                response = self._receive(descriptor)
                if response is not None:
                    now = clock() - started
                    number = asked.pop(descriptor)
                    free.append(descriptor)
                    latencies.append(now - due[number])
                    responses.append((number, response))
                    in_time += now <= seconds
        return _result(rate, seconds, count, in_time, latencies, lateness, responses)

    def _send(self, descriptor: int, number: int) -> None:
        self._asked[descriptor] = number
        self._sockets[descriptor].send(self._payloads[number % len(self._payloads)])

    def _receive(self, descriptor: int) -> bytes | None:
        """A whole response, or None if it is not complete yet."""
        data = self._sockets[descriptor].recv(65_536)
        if not data:
            raise OSError("the server closed a connection")
        text = self._parts.pop(descriptor, b"") + data
        head, found, body = text.partition(END_OF_HEAD)
        if found and len(body) >= _length(head):
            return text
        self._parts[descriptor] = text
        return None


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise OSError("a response without a length")


def _result(
    rate: float,
    seconds: float,
    due: int,
    in_time: int,
    latencies: Sequence[float],
    lateness: Sequence[float],
    responses: list[tuple[int, bytes]],
) -> Result:
    microseconds = [latency * 1e6 for latency in latencies] or [float("inf")]
    figures: dict[str, Any] = {f"p{share}_us": percentile(microseconds, share / 100) for share in (50, 90, 99)}
    return Result(
        rate=rate,
        achieved=in_time / seconds,
        kept_up=in_time >= KEPT_UP * due,
        max_us=max(microseconds),
        late_p99_us=percentile([late * 1e6 for late in lateness] or [0.0], 0.99),
        unanswered=due - len(latencies),
        responses=responses,
        **figures,
    )
