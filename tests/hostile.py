"""Hostile clients, a connection of each kind: `python hostile.py PORT SECONDS` attacks a service on this machine.

It runs as a process of its own, so that it does not slow down the process that measures. Each client attacks until its
time is over, and connects again when its connection is closed. Prints as JSON how often each connected and what it was
answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

BATCH = 1024 * 1024
PAUSE_S = 0.05
"""How long those wait that send little at a time."""

BLOCK = b"a" * 65_536
HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD % b"/add" + b"Transfer-Encoding: chunked\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def posted(path: bytes, body: bytes) -> bytes:
    return HEAD % path + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def endless(begun: bytes, more: bytes = BLOCK) -> Iterator[bytes]:
    yield begun
    while True:
        yield more


def slowly(data: bytes) -> Iterator[bytes]:
    for byte in data:
        time.sleep(PAUSE_S)
        yield bytes([byte])


def garbage() -> Iterator[bytes]:
    rng = random.Random(1)
    while True:
        yield rng.randbytes(1_000)


def all_but_one(path: bytes, size: int) -> Iterator[bytes]:
    yield posted(path, b'{"expressions":["%b"]}' % (b"1" * (size - 20)))[:-1]
    while True:  # the last byte never comes
        yield b""


UNKNOWN = b"{" + b",".join(b'"%06d":1' % number for number in range(95_000)) + b"}"
WRONG = json.dumps({"expressions": ["x" * 900] * 1_000}).encode()
SMUGGLED = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
PIPELINED = b"GET /a HTTP/1.1\r\nHost:[::1]\r\n\r\n" * 10_000
UPGRADING = posted(b"/add", SMUGGLED).replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", 1)
EXPECTING = HEAD % b"/add" + b"Expect: 100-continue\r\nContent-Length: 70000\r\n\r\n" + SMUGGLED

KINDS: dict[str, tuple[bool, Callable[[], Iterator[bytes]]]] = {
    "endless head": (True, lambda: endless(b"GET / HTTP/1.1\r\nX: ")),
    "endless headers": (True, lambda: endless(b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 10_000)),
    "endless trailer": (True, lambda: endless(CHUNKED + b"0\r\nX: ")),
    "endless trailers": (True, lambda: endless(CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000)),
    "endless extension": (True, lambda: endless(CHUNKED + b"1;")),
    "endless body": (True, lambda: endless(CHUNKED, b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK))),
    "one-byte chunks": (True, lambda: endless(CHUNKED, b"1\r\na\r\n" * 10_000)),
    "empty lines": (True, lambda: endless(b"\r\n", b"\r\n" * 10_000)),
    "slow head": (True, lambda: slowly(posted(b"/add", b'{"expression":"1+1"}') * 9)),
    "slow body": (True, lambda: slowly(posted(b"/add", b'{"expression":"1+1"' + b" " * 500 + b"}"))),
    "no reader": (False, lambda: endless(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000)),
    "no reader of many requests": (False, lambda: endless(PIPELINED, PIPELINED)),
    "many requests at once": (True, lambda: endless(PIPELINED, PIPELINED)),
    "upgrade": (True, lambda: endless(b"", UPGRADING)),
    "garbage": (True, garbage),
    "unknown fields": (True, lambda: endless(b"", posted(b"/add/batch", UNKNOWN))),
    "many errors": (True, lambda: endless(b"", posted(b"/add/batch", WRONG))),
    "all but one byte": (True, lambda: all_but_one(b"/add/batch", BATCH)),
    "expect without a body": (True, lambda: endless(b"", EXPECTING)),
}
"""Whether a kind reads its answers, and what it sends."""


class Attack:
    """Those who attack, and what they were answered."""

    def __init__(self, port: int, seconds: float):
        self._port = port
        self._ends = time.monotonic() + seconds
        self.connections: Counter[str] = Counter()
        self.statuses: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}

    def run(self) -> None:
        threads = [threading.Thread(target=self._go_on, args=(kind,)) for kind in KINDS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _go_on(self, kind: str) -> None:
        while time.monotonic() < self._ends:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as connection:
                self.connections[kind] += 1
                self._attack(kind, connection)

    def _attack(self, kind: str, connection: socket.socket) -> None:
        reads, pieces = KINDS[kind]
        connection.setblocking(False)
        for piece in pieces():
            rest = memoryview(piece)
            while True:
                if time.monotonic() > self._ends:
                    return
                readable, _, _ = select.select([connection] * reads, [connection] if rest else [], [], PAUSE_S)
                if readable:
                    answer = connection.recv(1_000_000)
                    self.statuses[kind].update(status.decode() for status in STATUS.findall(answer))
                    if not answer:
                        return
                with contextlib.suppress(BlockingIOError):
                    rest = rest[connection.send(rest) :]
                if not rest:
                    break


if __name__ == "__main__":
    os.nice(10)
    attack = Attack(int(sys.argv[1]), float(sys.argv[2]))
    attack.run()
    sys.stdout.write(json.dumps({"connections": attack.connections, "statuses": attack.statuses}))
