"""What is printed waits for nobody: a thread writes it, and what cannot be written is dropped and counted."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from app.operations.streams import MOST_WAITING, BackgroundStream

ROOT = Path(__file__).parents[3]
LINE = b"x" * 99 + b"\n"
SECONDS = 30.0
"""How long something that is about to happen is waited for."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def read(descriptor: int, size: int) -> bytes:
    content = b""
    while len(content) < size:
        content += os.read(descriptor, size - len(content))
    return content


def test_lines_keep_their_order(pipe: tuple[int, int]) -> None:
    stream = BackgroundStream("<test>", pipe[1])
    lines = [b"%d\n" % number for number in range(1_000)]
    for line in lines:
        assert stream.write(line) == len(line)
    assert stream.await_written(SECONDS)
    assert read(pipe[0], len(b"".join(lines))) == b"".join(lines)
    assert stream.dropped_lines == 0


def test_pipe_that_nobody_reads_keeps_nobody_waiting(pipe: tuple[int, int]) -> None:
    stream = BackgroundStream("<test>", pipe[1])
    count = 2 * MOST_WAITING // len(LINE)
    for _ in range(count):
        stream.write(LINE)
    assert not stream.await_written(0)
    dropped = stream.dropped_lines
    assert count / 3 < dropped < count
    kept = read(pipe[0], (count - dropped) * len(LINE))
    assert kept == LINE * (count - dropped)
    stream.write(b"later\n")
    assert read(pipe[0], 6) == b"later\n"
    assert stream.dropped_lines == dropped


def test_reader_that_has_gone_is_not_written_to(pipe: tuple[int, int]) -> None:
    stream = BackgroundStream("<test>", pipe[1])
    os.close(pipe[0])
    for _ in range(3):
        stream.write(LINE * 2)
        assert stream.await_written(SECONDS)
    assert stream.dropped_lines == 6


def test_full_disk_is_written_to_again_and_again() -> None:
    with Path("/dev/full").open("wb") as full:
        stream = BackgroundStream("<test>", full.fileno())
        for _ in range(3):
            stream.write(LINE)
            assert stream.await_written(SECONDS)
    assert stream.dropped_lines == 3


def test_descriptor_that_others_have_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    stream = BackgroundStream("<test>", pipe[1])
    lines = LINE * 5_000
    for _ in range(5_000):
        stream.write(LINE)
    assert read(pipe[0], len(lines)) == lines
    assert stream.dropped_lines == 0


def test_without_a_thread_lines_are_dropped_or_wait(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    stream = BackgroundStream("<test>", pipe[1])
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        stream.write(b"first\n")
    stream.write(b"second\n")
    assert read(pipe[0], 13) == b"first\nsecond\n"


def test_thread_takes_no_signals(pipe: tuple[int, int]) -> None:
    """A supervisor blocks signals while it forks; the thread would take one, and nothing would wake the supervisor."""
    before = {thread.native_id for thread in threading.enumerate()}
    stream = BackgroundStream("<test>", pipe[1])
    stream.write(LINE)
    (thread,) = (thread for thread in threading.enumerate() if thread.native_id not in before)
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    blocked = int(re.findall(r"^SigBlk:\s*([0-9a-f]+)$", status, re.MULTILINE)[0], 16)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        assert blocked & 1 << (number - 1)
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert stream.await_written(SECONDS)  # or the thread could write into what takes the place of the pipe


def program(code: str) -> subprocess.CompletedProcess[str]:
    """A process that prints by these streams."""
    setup = "import sys, os; from app.operations import logs, streams; from app.settings import Settings"
    command = [sys.executable, "-W", "error", "-c", f"{setup}\nlogs.configure(Settings())\n{code}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_forks_write_their_own_lines_once() -> None:
    done = program("""
print("before")
for number in range(3):
    pid = os.fork()
    if not pid:
        print("child", number)
        streams.flush()
        os._exit(0)
    print("parent", number)
    os.waitpid(pid, 0)
""")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert sorted(lines) == sorted(
        ["before", *(f"{who} {number}" for who in ("child", "parent") for number in range(3))]
    )
    assert lines[0] == "before"
    assert [line for line in lines if line.startswith("parent")] == [f"parent {number}" for number in range(3)]


def test_line_without_an_end_is_written_at_the_end() -> None:
    assert program("sys.stdout.write('no end')").stdout == "no end"


def test_crash_prints_its_traceback_after_all_that_was_logged() -> None:
    done = program("""
import logging
logging.getLogger("app").warning("first")
raise RuntimeError("broken")
""")
    assert done.returncode == 1
    first, *trace = done.stderr.splitlines()
    assert first.endswith("first")
    assert (trace[0], trace[-1]) == ("Traceback (most recent call last):", "RuntimeError: broken")


def test_what_libraries_and_python_itself_say_is_logged() -> None:
    done = program("""
import logging, warnings
logging.getLogger("some.library").warning("from a library")
logging.getLogger("some.library").info("not shown")
warnings.simplefilter("always")
warnings.warn("from a warning")
class Broken:
    def __del__(self):
        raise ValueError("from a finalizer")
Broken()
""")
    library, warning, *others = (line for line in done.stderr.splitlines() if line)
    assert library.endswith("WARNING:  from a library")
    assert re.search(r"WARNING:  .*UserWarning: from a warning", warning)
    assert "ValueError: from a finalizer" in others
    assert "not shown" not in done.stderr


PATH = "/" + "x" * 390
ENOUGH = (MOST_WAITING + 2 * 65_536) // len(PATH)
"""So many requests for the path make more lines than a pipe and the service's memory hold."""


@contextmanager
def serving(
    stdout: int | IO[Any], stderr: int | IO[Any], workers: int
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A service with an access log, and its port, which no line tells."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("APP_")}
    environ |= {"APP_PORT": str(port), "APP_WORKERS": str(workers), "APP_ACCESS_LOG": "true", "APP_DRAIN_S": "0"}
    command = [sys.executable, "-W", "error", "-m", "app"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=stdout, stderr=stderr) as process:
        try:
            ends = time.monotonic() + SECONDS
            while not is_ready(port):
                assert process.poll() is None
                assert time.monotonic() < ends
                time.sleep(0.05)  # nothing that it prints is read
            yield process, port
        finally:
            process.kill()


def is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        return get(port, "/health/ready")[0] == 200
    return False


def get(port: int, path: str) -> tuple[int, str]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def ask_often(port: int) -> None:
    """Pipeline requests over one connection, and read every answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        for _ in range(ENOUGH // 50):
            connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 50)
            answers = b""
            while answers.count(b"HTTP/1.1 404") < 50:
                received = connection.recv(1 << 20)
                assert received
                answers += received


def dropped(port: int) -> float:
    (found,) = re.findall(r"^service_log_lines_dropped_total (\S+)$", get(port, "/metrics")[1], re.MULTILINE)
    return float(found)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sink", ["unread", "gone", "full"])
def test_log_that_cannot_be_written_stops_nothing(sink: str, workers: int) -> None:
    """Neither its requests nor its end wait for whoever reads its log, be it late, gone or out of space."""
    with contextlib.ExitStack() as stack:
        ends = os.pipe()
        written: int | IO[Any] = ends[1]
        stack.callback(os.close, ends[1])
        if sink == "full":
            written = stack.enter_context(Path("/dev/full").open("wb"))
        elif sink == "gone":
            os.close(ends[0])
        if sink != "gone":
            stack.callback(os.close, ends[0])
        with serving(written, written, workers) as (process, port):
            ask_often(port)
            while not dropped(port):  # workers tell each other of theirs now and then
                select.select([], [], [], 0.05)
            process.terminate()
            assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_socket_takes_the_place_of_a_closed_stream(closed: str) -> None:
    """Whatever writes to 1 or 2, be it a library in C, would write to a client."""
    code = """
import os, socket, sys
from app.operations import logs
from app.operations import streams
from app.settings import Settings
numbers = {socket.socket().fileno() for _ in range(3)}
logs.configure(Settings())
print("line")
streams.flush()
sys.exit(bool(numbers & {0, 1, 2}) or streams.dropped_lines())
"""
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout == ("" if " >&-" in f" {closed}" else "line\n")
    assert done.stderr == ""
