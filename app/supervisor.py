"""Several processes that serve on one port: one that dies is replaced while the others serve on.

The parent loads nothing, holds what workers listen on, and forks them from itself, so that a new one starts from
modules that are in memory already and takes the place, and the waiting connections, of the one that died. The first
worker starts alone: where it cannot, the service refuses to start. Knows nothing of models or HTTP.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple

from app import streams

RESTART_S = 1.0
"""How long a worker must have lived for its successor to start at once; a shorter life makes that one wait as long."""

MARGIN_S = 5.0
"""How much longer than it may take to stop a worker is waited for."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

logger = logging.getLogger("app")


@dataclass(frozen=True)
class Parent:
    """What a worker knows of its parent: its place among the workers, counted from 0, a pipe that ends when the
    parent does, and how to say that it serves.
    """

    place: int
    alive_r: int
    started_w: int | None = None

    def started(self) -> None:
        """Say that this worker serves."""
        if self.started_w is not None:
            os.write(self.started_w, b"\0")
            os.close(self.started_w)


class _Worker(NamedTuple):
    place: int
    since: float


Work = Callable[[Parent], int]
"""What a worker does, until it is told to stop by SIGTERM; it gives an exit status."""


class Supervisor:
    """Keeps `count` workers alive, each a fork that runs `work` and has `stop_s` seconds to stop in.

    `on_started` is called once the first one serves, and `on_stopping` once they are to stop.
    """

    def __init__(
        self,
        work: Work,
        count: int,
        stop_s: float,
        *,
        on_started: Callable[[], None],
        on_stopping: Callable[[], None],
    ):
        self._work = work
        self._count = count
        self._stop_s = stop_s
        self._on_started = on_started
        self._on_stopping = on_stopping
        self._workers: dict[int, _Worker] = {}  # by process id
        self._stop_signals: list[int] = []
        self._wake_r, self._wake_w = os.pipe()
        self._alive_r, self._alive_w = os.pipe()

    def run(self) -> int:
        """Start the workers and replace those that die until told to stop. Returns the exit status."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        gc.freeze()  # memory that workers share with this process until one of them writes to it
        status = self._start_first()
        if status is None and not self._stop_signals:
            logger.info("worker %d started", next(iter(self._workers)))
            self._on_started()
            self._keep()
        self._on_stopping()
        self._end()
        return status or 0

    def _start_first(self) -> int | None:
        """The exit status of a first worker that did not come to serve; None once it does, or is to stop."""
        started_r, started_w = os.pipe()
        pid = self._fork(0, started_w)
        os.close(started_w)
        try:
            while not self._stop_signals:
                if started_r in self._wait(None, started_r):
                    return None if os.read(started_r, 1) else self._reap(pid)
        finally:
            os.close(started_r)
        return None

    def _keep(self) -> None:
        """Fork what is missing and wait for whatever happens next, until told to stop."""
        while not self._stop_signals:
            dead = self._reap_dead()
            for pid, lived, status in dead:
                logger.error("worker %d ended with status %d after %.1f s and is replaced", pid, status, lived)
            if any(lived < RESTART_S for _, lived, _ in dead):
                self._wait(RESTART_S)
            for place in set(range(self._count)) - {worker.place for worker in self._workers.values()}:
                logger.info("worker %d started", self._fork(place))
            self._wait(None)

    def _end(self) -> None:
        """Have every worker stop, and make those stop that do not; a second signal makes them all."""
        told = 0
        ends = time.monotonic() + self._stop_s + MARGIN_S
        while self._workers:
            while told < len(self._stop_signals):
                self._tell(self._stop_signals[told])
                told += 1
            self._wait(max(0.0, ends - time.monotonic()))
            if time.monotonic() > ends:
                self._tell(signal.SIGKILL)
            self._reap_dead()

    def _fork(self, place: int, started_w: int | None = None) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # or one meant for the worker is lost on its way
        pid = os.fork()
        if pid:
            self._workers[pid] = _Worker(place, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            return pid
        status = 1
        try:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.setpgid(0, 0)  # so that Ctrl-C reaches the parent only, which passes it on
            for descriptor in (self._wake_r, self._wake_w, self._alive_w):
                os.close(descriptor)
            gc.unfreeze()
            status = self._work(Parent(place, self._alive_r, started_w))
        except KeyboardInterrupt:
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            logger.exception("a worker failed")
        finally:
            streams.flush()
            os._exit(status)

    def _tell(self, number: int) -> None:
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self, pid: int) -> int:
        """The exit status of a worker that ended, or is about to."""
        self._workers.pop(pid, None)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _reap_dead(self) -> list[tuple[int, float, int]]:
        """Process id, seconds lived and exit status of each worker that has ended; negative for a signal."""
        dead = []
        for pid, worker in list(self._workers.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self._workers[pid]
                dead.append((pid, time.monotonic() - worker.since, os.waitstatus_to_exitcode(status)))
        return dead

    def _wait(self, seconds: float | None, *descriptors: int) -> list[int]:
        """Until a signal comes, or one of the descriptors can be read, or for so long. Gives what can be read."""
        ready, _, _ = select.select([self._wake_r, *descriptors], [], [], seconds)
        if self._wake_r in ready:
            os.read(self._wake_r, 4_096)
        return ready

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._stop_signals.append(number)
        os.write(self._wake_w, b"\0")
