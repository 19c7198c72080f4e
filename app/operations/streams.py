"""stdout and stderr without waiting: a thread writes the lines, and those that it cannot write are dropped and counted.

If the event loop wrote into a pipe that nobody reads, it would stand still, and all requests with it. Knows nothing of
logging.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from typing import Any

MOST_WAITING = 1024 * 1024
"""How many bytes wait for the thread. When they are reached, new lines are dropped."""

FLUSH_S = 1.0
"""How long a process that ends waits until its last lines are written."""

FORK_S = 0.1
"""How long a fork waits until the thread has ended."""


class BackgroundStream(io.RawIOBase):
    """A descriptor that a thread writes to, in the order in which lines come."""

    def __init__(self, name: str, descriptor: int):
        self.name = name
        self._descriptor = descriptor
        self.dropped_lines = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what waits, and its thread. A fork has the former, which its parent writes, but not the latter."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0  # of what waits and what is being written
        self._thread: threading.Thread | None = None
        self._ends = False

    def write(self, data: Any) -> int:
        content = bytes(data)
        with self._changed:
            if self._size + len(content) > MOST_WAITING:
                self.dropped_lines += content.count(b"\n")
                return len(content)
            self._waiting.append(content)
            self._size += len(content)
            if self._thread is None or not self._thread.is_alive():
                self._start_thread()
            self._changed.notify_all()
        return len(content)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._keep_writing, name=self.name, daemon=True)
        # It takes no signals: a main thread that waits in a system call would not hear of them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with contextlib.suppress(RuntimeError):  # the system has no more threads, or the interpreter ends
                thread.start()
                self._thread = thread
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def await_written(self, seconds: float) -> bool:
        """Wait until all is written, but no longer than that. Returns whether all is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._size, seconds)

    def end_thread(self) -> None:
        """End the thread before a fork, since processes with several threads should not fork."""
        if (thread := self._thread) is None:
            return
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        thread.join(FORK_S)
        self._ends = False

    def _keep_writing(self) -> None:
        while content := self._next():
            written = 0
            with contextlib.suppress(OSError):  # the reader is gone, or the disk is full
                while written < len(content):
                    written += self._write_some(content[written:])
            with self._changed:
                self._size -= len(content)
                self.dropped_lines += content[written:].count(b"\n")
                self._changed.notify_all()

    def _next(self) -> bytes:
        """All that waits, as soon as something does; nothing if the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ends)
            waiting, self._waiting = self._waiting, deque()
            return b"".join(waiting)

    def _write_some(self, content: bytes) -> int:
        try:
            return os.write(self._descriptor, content)
        except BlockingIOError:  # another process that holds it as well has made it so
            select.select([], [self._descriptor], [])
            return 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


def _descriptors() -> list[int]:
    """Those of stdin, stdout and stderr. A closed one is opened to nowhere; a client's socket would get its number."""
    found = enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__))
    return [os.open(os.devnull, os.O_RDWR) if stream is None else number for number, stream in found]


_raw = [
    BackgroundStream(name, number) for name, number in zip(("<stdout>", "<stderr>"), _descriptors()[1:], strict=True)
]
stdout, stderr = (io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True) for raw in _raw)


def dropped_lines() -> int:
    """How many lines this process could not write."""
    return sum(raw.dropped_lines for raw in _raw)


def flush() -> None:
    """Wait a moment until all is written; to be called before a process ends without Python's own clean-up."""
    ends = time.monotonic() + FLUSH_S
    for stream, raw in zip((stdout, stderr), _raw, strict=True):
        stream.flush()
        raw.await_written(max(0.0, ends - time.monotonic()))


def _before_fork() -> None:
    for raw in _raw:
        raw.end_thread()


def _in_child() -> None:
    for raw in _raw:
        raw.begin_anew()
        raw.dropped_lines = 0


atexit.register(flush)
os.register_at_fork(before=_before_fork, after_in_child=_in_child)
