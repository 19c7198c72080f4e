"""Starts a contender, waits for its first right answer, and stops it with all its processes. Knows no load."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from benchmarks import machine
from benchmarks.contenders import Contender, Setup
from benchmarks.workload import Question

START_LIMIT_S = 120
STOP_LIMIT_S = 10
POLL_S = 0.002


class ServerFailed(Exception):
    """A contender did not start, or gave a wrong answer."""


@dataclass
class Running:
    """A running contender; `start_s` is the time from the start of its process to its first right answer."""

    contender: Contender
    setup: Setup
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    start_s: float = 0.0

    def pids(self) -> set[int]:
        """All processes of the contender."""
        return machine.family(self.process.pid, f"BENCH_PORT={self.setup.port}")

    def check(self, asked: Sequence[Question], seconds: float) -> int:
        """Ask one question after another until all are answered or time is up. Raises `ServerFailed` at a wrong one.

        Returns how many were answered.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.setup.port, timeout=60)
        ends = time.perf_counter() + seconds
        answered = 0
        with contextlib.closing(connection):
            for question in asked:
                connection.request("POST", *self._request(question))
                response = connection.getresponse()
                self._verify(question, response.status, response.read())
                answered += 1
                if time.perf_counter() > ends:
                    break
        return answered

    def _request(self, question: Question) -> tuple[str, bytes, dict[str, str]]:
        form, route = self.contender.form, self.setup.route
        body = json.dumps(form.body(route, question.value), separators=(",", ":")).encode("ascii")
        return form.path(route), body, {"Content-Type": "application/json"}

    def _verify(self, question: Question, status: int, body: bytes) -> None:
        name = self.contender.name
        if status != 200:
            raise ServerFailed(f"{name} answered {question.value!r} with status {status}: {body[:200]!r}")
        try:
            asked, answer = self.contender.form.read(self.setup.route, json.loads(body))
        except (ValueError, LookupError, TypeError) as error:
            raise ServerFailed(f"{name} answered {question.value!r} with {body[:200]!r}: {error!r}") from error
        if asked != question.value or (self.contender.check == "truth" and answer != question.truth):
            raise ServerFailed(f"{name} answered {question.value!r} with {answer!r}; right is {question.truth!r}")

    def end(self) -> str:
        """How the process ended, and its last output; empty while it runs."""
        if self.process.poll() is None:
            return ""
        self.log.seek(0)
        last = self.log.read().decode(errors="replace").strip()[-500:]
        return f"{self.contender.name} ended with status {self.process.returncode}: {last}"

    def wait(self, question: Question) -> None:
        """Poll until the first right answer. Raises `ServerFailed`."""
        started = time.perf_counter()
        complaint = "no connection"
        while time.perf_counter() - started < START_LIMIT_S:
            if end := self.end():
                raise ServerFailed(end)
            try:
                self.check([question], 0)
            except (OSError, http.client.HTTPException, ServerFailed) as error:
                complaint = str(error)
                time.sleep(POLL_S)
            else:
                return
        raise ServerFailed(f"{self.contender.name} gave no right answer in {START_LIMIT_S} s: {complaint}")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(contender: Contender, setup: Setup, cores: Iterable[int], question: Question) -> Iterator[Running]:
    """A contender on `cores` that answers `question` rightly; stopped at the end. Raises `ServerFailed`."""
    cores = frozenset(cores)
    argv, environ = contender.argv(setup), contender.environ(setup)
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile(dir=directory) as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            argv,
            env=environ,
            cwd=environ["PYTHONPATH"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        server = Running(contender, setup, process, log)
        try:
            server.wait(question)
            server.start_s = time.perf_counter() - started
            yield server
        finally:
            stop(server)


def stop(server: Running) -> None:
    """Stop a contender and all its processes: SIGTERM first, then SIGKILL."""
    process, pids = server.process, server.pids()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT_S)
    for pid in pids | server.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
