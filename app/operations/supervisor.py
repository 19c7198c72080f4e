"""Runs the workers: starts them, replaces one that ends, and ends them all in time. Knows no models and no HTTP.

A single worker has a parent too. The parent loads no model and answers no request, so nothing keeps it from obeying
signals, also as process 1 of a container. At a stop it kills a worker that hangs. A worker is a fork of the parent.

`uvicorn.supervisors.Multiprocess` was tried and fails three bars. Its two workers still answered 30 s after their
parent was killed. With one worker stopped, it had not ended 45 s after SIGTERM (of 22 s), and a second SIGTERM changed
nothing. A worker that cannot start again stops the whole service, or is started twice a second for ever. It also took
178 MB where forks take 168 MB.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from app.operations import streams
from app.operations.signals import HANDLED, NOW, STOPPING, Signals

NOW_S = 3.0
"""How long workers may clean up after a second signal."""

STEADY_S = 1.0
"""A worker that served for a shorter time counts as one that could not start."""

LONGEST_PAUSE_S = 60
KILL_S = 1.0
"""How long the system may take to end a killed worker."""

SERVES = b"\0"

logger = logging.getLogger("app")


class CannotStart(Exception):
    """A worker cannot start. The message says why."""


class Place(NamedTuple):
    """A worker's place, counted from 0, and a pipe to its parent. Through it the worker reports that it serves."""

    number: int
    report_w: int

    def serves(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone, and this worker ends too
            os.write(self.report_w, SERVES)


Work = Callable[[Place], None]
"""What a worker does. It ends by itself after SIGTERM (with a grace), SIGINT or `NOW`. Raises `CannotStart`."""


@dataclass
class Worker:
    """What the parent knows of a worker."""

    pid: int
    place: int
    report_r: int
    serves_since: float | None = None
    reason: str = ""

    def was_steady(self) -> bool:
        return self.serves_since is not None and time.monotonic() - self.serves_since >= STEADY_S


class Supervisor:
    """Keeps `count` workers at work until a signal says stop.

    Workers have `drain_s` and `stop_s` seconds to end after SIGTERM, `stop_s` after SIGINT, `NOW_S` after a second
    signal. The first worker starts alone. Once it serves, `on_serving` is called and the others start.
    """

    def __init__(
        self,
        signals: Signals,
        work: Work,
        count: int,
        *,
        drain_s: float,
        stop_s: float,
        on_serving: Callable[[], None],
    ):
        self._signals = signals
        self._work = work
        self._drain_s = drain_s
        self._stop_s = stop_s
        self._on_serving = on_serving
        self._workers: dict[int, Worker] = {}  # by process id
        self._failures = [0] * count  # of each place, in a row
        self._due = {0: 0.0}  # when the next worker of a place starts
        self._ends: float | None = None  # when workers are killed, once they are told to stop
        self._has_served = False
        self._alive_r, self._alive_w = os.pipe()  # nobody writes: a read ends when this process does

    def run(self) -> None:
        """Raises `CannotStart` if the first worker cannot start."""
        self._signals.note()
        gc.collect()
        gc.freeze()  # workers share this memory until they write to it
        while self._ends is None or (self._workers and time.monotonic() < self._ends):
            self._start_due()
            self._wait()
        self._kill()

    def _wait(self) -> None:
        """Wait for whatever happens next, and act on it."""
        moments = [*self._due.values()] if self._ends is None else [self._ends]
        seconds = max(0.0, min(moments) - time.monotonic()) if moments else None
        silent = {worker.report_r: worker for worker in self._workers.values() if worker.serves_since is None}
        numbers, ready = self._signals.wait(seconds, silent)
        for descriptor in set(ready) & set(silent):
            self._listen(silent[descriptor])
        for number in numbers:
            if number in STOPPING:
                self._stop(number)
        self._reap()

    def _start_due(self) -> None:
        if self._ends is None:
            for place in [place for place, due in self._due.items() if due <= time.monotonic()]:
                del self._due[place]
                self._start(place)

    def _start(self, place: int) -> None:
        try:
            report_r, report_w = os.pipe()
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # or the fork could miss one
            try:
                pid = os.fork()
                if not pid:
                    self._be_worker(Place(place, report_w))
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
                os.close(report_w)
        except OSError as error:  # no more processes or descriptors
            self._note_end(place, f"no process can be started: {error.strerror}", was_steady=False)
            return
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # both do it, so it is done whoever comes first
        os.set_blocking(report_r, False)
        self._workers[pid] = Worker(pid, place, report_r)

    def _be_worker(self, place: Place) -> NoReturn:
        status = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, and a worker is killed with all that it started
            self._signals.forget()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            os.close(self._alive_w)
            threading.Thread(target=self._end_with_parent, daemon=True).start()
            self._work(place)
            status = 0
        except CannotStart as error:
            os.write(place.report_w, str(error).encode()[: select.PIPE_BUF])
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            logger.exception("a worker failed")
        finally:
            streams.flush()
            os._exit(status)

    def _end_with_parent(self) -> None:
        """In a worker: once the parent is gone, stop as on SIGINT, so that the port is free at once."""
        os.read(self._alive_r, 1)
        os.killpg(0, signal.SIGINT)
        time.sleep(self._stop_s)
        os.killpg(0, signal.SIGKILL)

    def _listen(self, worker: Worker) -> None:
        """Read what a worker reports: that it serves, or why it cannot."""
        with contextlib.suppress(BlockingIOError):
            report = os.read(worker.report_r, select.PIPE_BUF)
            if report != SERVES:
                worker.reason = worker.reason or report.decode("utf-8", "replace")
                return
            worker.serves_since = time.monotonic()
            logger.info("worker %d started", worker.pid)
            if not self._has_served:
                self._has_served = True
                self._on_serving()
                self._due |= dict.fromkeys(range(1, len(self._failures)), 0.0)

    def _stop(self, number: int) -> None:
        """Tell all workers to end. A second signal tells them to do so now."""
        now = time.monotonic()
        number = signal.SIGTERM if number == signal.SIGTERM else signal.SIGINT
        if self._ends is None:
            self._ends = now + self._stop_s + (self._drain_s if number == signal.SIGTERM else 0.0)
        else:
            self._ends = min(self._ends, now + NOW_S)
            number = NOW
        for pid in self._workers:
            os.kill(pid, number)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                worker = self._workers.pop(found[0], None)
                if worker is None:  # process 1 also gets the orphans of others
                    continue
                _kill_group(worker.pid)  # what it started
                self._listen(worker)
                os.close(worker.report_r)
                ended = f"worker {worker.pid} ended with status {os.waitstatus_to_exitcode(found[1])}"
                self._note_end(worker.place, worker.reason or ended, was_steady=worker.was_steady())

    def _note_end(self, place: int, reason: str, *, was_steady: bool) -> None:
        """Let the next worker take the place: at once, or after a pause that doubles with each further failure."""
        if self._ends is not None:
            return
        if not self._has_served:
            raise CannotStart(reason)
        self._failures[place] = 0 if was_steady else self._failures[place] + 1
        pause = pause_after(self._failures[place])
        self._due[place] = time.monotonic() + pause
        logger.error("%s; the next worker starts in %d s", reason, pause)

    def _kill(self) -> None:
        """End workers that are still there."""
        ends = time.monotonic() + KILL_S
        for worker in self._workers.values():
            _kill_group(worker.pid)
            logger.error("worker %d did not stop in time and is killed", worker.pid)
        while self._workers and (seconds := ends - time.monotonic()) > 0:
            self._signals.wait(seconds)
            self._reap()


def pause_after(failures: int) -> int:
    """Seconds until the next worker starts after so many failures in a row."""
    return min(2 ** (failures - 2), LONGEST_PAUSE_S) if failures > 1 else 0


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
