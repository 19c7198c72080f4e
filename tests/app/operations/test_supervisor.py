"""How workers are started, replaced and ended: real processes whose work is a few lines, so no model is loaded."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.operations import signals, supervisor

ROOT = Path(__file__).parents[3]

PROGRAM = """
import logging, os, signal, subprocess, sys, time
from app.operations.signals import Signals
from app.operations.supervisor import CannotStart, Supervisor

logging.basicConfig(format="%(message)s", level="INFO", stream=sys.stdout)
signals = Signals()

def serve(place):
    place.serves()
    while True:
        signal.pause()

{work}

def on_serving():
    print("serving", flush=True)

try:
    Supervisor(signals, work, {count}, drain_s=0.5, stop_s=0.5, on_serving=on_serving).run()
except CannotStart as error:
    print("refused:", error)
    sys.exit(1)
print("ended")
"""


class Program:
    """A process that supervises, and the lines that it prints."""

    def __init__(self, work: str, count: int):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM.format(work=textwrap.dedent(work), count=count)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def started(self) -> int:
        """The process id of the worker that starts next."""
        word, pid, rest = self.line().split()
        assert (word, rest) == ("worker", "started")
        return int(pid)

    def serves(self) -> int:
        """The process id of the first worker, once it serves."""
        pid = self.started()
        assert self.line() == "serving"
        return pid

    def stop(self, *numbers: int) -> tuple[int, str]:
        """Exit status and what else was printed."""
        for number in numbers:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        rest = self.process.stdout.read()  # `communicate` would miss what was read ahead with a line
        return self.process.wait(30), rest


Run = Callable[..., Program]


@pytest.fixture
def run() -> Iterator[Run]:
    made: list[Program] = []

    def run(work: str, count: int = 1) -> Program:
        made.append(Program(work, count))
        return made[-1]

    yield run
    for program in made:
        with program.process as process:
            process.kill()


def await_end(pid: int) -> None:
    """Until a process that is no child of this one has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([descriptor], [], [], 30)[0], f"{pid} is still there"
    os.close(descriptor)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("number", signals.STOPPING)
def test_it_ends_all_workers_on_a_signal(run: Run, count: int, number: int) -> None:
    program = run("work = serve", count)
    pids = [program.serves()]
    pids += [program.started() for _ in range(count - 1)]
    assert program.stop(number) == (0, "ended\n")
    for pid in pids:
        await_end(pid)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ("raise CannotStart('no models')", "no models"),
        ("sys.exit(3)", "worker {pid} ended with status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "worker {pid} ended with status -9"),
    ],
)
def test_first_worker_that_cannot_start_is_the_only_one(run: Run, work: str, reason: str) -> None:
    program = run(f"def work(place):\n    print(os.getpid(), flush=True)\n    {work}", 2)
    pid = program.line()
    assert program.stop() == (1, f"refused: {reason.format(pid=pid)}\n")


def test_worker_that_cannot_start_again_is_tried_ever_more_rarely(run: Run) -> None:
    program = run(
        """
        def work(place):
            if place.number == 0:
                serve(place)
            raise CannotStart("no models")
        """,
        2,
    )
    program.serves()
    began = time.monotonic()
    assert [program.line() for _ in range(3)] == [f"no models; the next worker starts in {s} s" for s in (0, 1, 2)]
    assert time.monotonic() - began > 0.9
    assert program.stop(signal.SIGTERM) == (0, "ended\n")


def test_pauses_have_a_limit() -> None:
    pauses = [supervisor.pause_after(failures) for failures in (0, 1, 2, 3, 4, 7, 8, 10_000)]
    assert pauses == [0, 0, 1, 2, 4, 32, 60, 60]


def test_worker_that_was_steady_is_replaced_at_once(run: Run) -> None:
    program = run("import app.operations.supervisor\napp.operations.supervisor.STEADY_S = 0.0\nwork = serve")
    first = program.serves()
    os.kill(first, signal.SIGKILL)
    assert program.line() == f"worker {first} ended with status -9; the next worker starts in 0 s"
    assert program.started() != first


def test_system_without_processes_is_waited_for(run: Run) -> None:
    program = run(
        """
        fork, left = os.fork, [1]
        def fork_once():
            if not left:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            left.pop()
            return fork()
        os.fork = fork_once
        work = serve
        """,
        2,
    )
    program.serves()
    assert program.line() == (
        "no process can be started: Resource temporarily unavailable; the next worker starts in 0 s"
    )
    status, output = program.stop(signal.SIGTERM)
    *tries, last = output.splitlines()  # it may have tried again meanwhile
    assert (status, last) == (0, "ended")
    assert all(line.startswith("no process can be started: ") for line in tries)


DEAF = """
def work(place):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    serve(place)
"""


@pytest.mark.parametrize("number", signals.STOPPING)
def test_worker_that_does_not_stop_is_killed(run: Run, number: int) -> None:
    program = run(DEAF)
    pid = program.serves()
    assert program.stop(number) == (0, f"worker {pid} did not stop in time and is killed\nended\n")
    await_end(pid)


def test_no_worker_starts_once_it_stops(run: Run) -> None:
    program = run(
        """
        import app.operations.supervisor
        app.operations.supervisor.pause_after = lambda failures: 0
        def work(place):
            if place.number:
                raise CannotStart("no models")
            signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
            serve(place)
        """,
        2,
    )
    program.serves()
    assert "no models" in program.line()
    status, rest = program.stop(signal.SIGTERM)
    assert status == 0
    assert "no models" not in rest.partition("told")[2]


def test_second_signal_tells_workers_to_stop_now(run: Run) -> None:
    program = run(
        """
        def work(place):
            noted_r, noted_w = os.pipe()
            os.set_blocking(noted_w, False)
            signal.set_wakeup_fd(noted_w)
            for number in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, lambda *_: None)
            place.serves()
            for _ in range(2):
                print(signal.Signals(os.read(noted_r, 1)[0]).name, flush=True)
        """
    )
    program.serves()
    program.process.send_signal(signal.SIGTERM)
    assert program.line() == "SIGTERM"
    assert program.stop(signal.SIGTERM) == (0, "SIGUSR1\nended\n")


def test_what_a_worker_started_ends_with_it(run: Run) -> None:
    program = run(
        """
        def work(place):
            child = subprocess.Popen(["sleep", "1000"])
            print(child.pid, flush=True)
            serve(place)
        """
    )
    child = int(program.line())
    worker = program.serves()
    os.kill(worker, signal.SIGKILL)
    await_end(child)


@pytest.mark.parametrize("work", ["serve(place)", "time.sleep(1000)", "deaf(place)"])
def test_workers_do_not_outlive_their_parent(run: Run, work: str) -> None:
    program = run(f"{DEAF}\ndeaf = work\ndef work(place):\n    print(os.getpid(), flush=True)\n    {work}")
    pid = int(program.line())
    program.process.kill()
    await_end(pid)


@pytest.mark.parametrize("number", signals.STOPPING)
def test_signal_that_comes_before_anything_runs_ends_it(run: Run, number: int) -> None:
    program = run(f"os.kill(os.getpid(), {number:d})\nprint('late')\nwork = serve")
    assert program.stop() == (0, "")
