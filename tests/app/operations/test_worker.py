"""How the service stops, and what clients see of workers that end: the real command, with the models that ship."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import service

from app.operations import signals

BODY = json.dumps({"expression": "10+6"})
JSON = {"Content-Type": "application/json"}


def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("POST", "/add", BODY, JSON)
    response = connection.getresponse()
    assert json.loads(response.read())["sum"] == 16
    return response


@contextmanager
def connected(running: service.Service) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)) as connection:
        yield connection


def started(running: service.Service, count: int) -> list[int]:
    """The next workers that are started, by their process ids. The first one started before the port was known.

    The parent says so. What a worker logs itself may come after what the parent logs of it.
    """
    return [int(running.await_line(r"worker (\d+) started")[1]) for _ in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_is_announced_and_then_obeyed(workers: int) -> None:
    with service.running(workers=workers, drain_s=2) as running, connected(running) as kept:
        started(running, workers - 1)
        assert ask(kept).headers["Connection"] is None
        running.process.send_signal(signal.SIGTERM)
        for _ in range(workers):
            running.await_line("stopping")
        assert running.ask("GET", "/health/ready")[0] == 503
        assert running.ask("GET", "/health/live")[0] == 200
        assert running.add("20+3") == 23
        assert ask(kept).headers["Connection"] == "close"
        assert running.process.wait(30) == 0
        with pytest.raises(ConnectionRefusedError):
            running.add("1+1")


def send_part(running: service.Service) -> socket.socket:
    """A connection with a request that never comes whole."""
    slow = socket.create_connection(("127.0.0.1", running.port), timeout=30)
    slow.sendall(b"POST /add HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n")
    return slow


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", signals.STOPPING)
def test_second_signal_ends_it_at_once_and_cleans_up(workers: int, number: int) -> None:
    with service.running(workers=workers, drain_s=1000, read_timeout_s=1000) as running:
        started(running, workers - 1)
        with send_part(running), send_part(running):
            running.process.send_signal(signal.SIGTERM)
            for _ in range(workers):
                running.await_line("stopping")
            assert running.stop(number) == 0
        rest = running.rest()
        assert rest.count("Application shutdown complete") == workers
        assert "Traceback" not in rest
        assert "killed" not in rest


def test_signal_to_every_process_counts_once() -> None:
    """Service managers signal all processes of a service, and the parent tells its workers as well."""
    with service.running(drain_s=1000) as running:
        (worker,) = running.children()
        for pid in (worker, running.process.pid):
            os.kill(pid, signal.SIGTERM)
        running.await_line("stopping")
        assert running.ask("GET", "/health/ready")[0] == 503
        while is_pending(running.process.pid, signal.SIGTERM):  # else the system would make one of two
            os.sched_yield()
        assert running.stop() == 0


def is_pending(pid: int, number: int) -> bool:
    """Whether a process has not taken a signal yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) >> (number - 1) & 1 for mask in re.findall(r"^S\w+Pnd:\s+(\w+)$", status, re.MULTILINE))


def test_worker_that_hangs_does_not_keep_it_from_ending() -> None:
    with service.running(drain_s=0, stop_timeout_s=1) as running:
        (worker,) = running.children()
        os.kill(worker, signal.SIGSTOP)
        assert running.stop() == 0
        assert f"worker {worker} did not stop in time and is killed" in running.rest()


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupt_waits_for_nothing_but_requests_in_flight(workers: int) -> None:
    with service.running(workers=workers, drain_s=1000) as running:
        assert running.stop(signal.SIGINT) == 0


def test_connection_on_which_nothing_comes_does_not_keep_it_alive() -> None:
    with service.running(drain_s=0) as running, connected(running) as kept:
        ask(kept)
        assert running.stop() == 0


def test_request_that_never_comes_whole_ends_with_the_deadline() -> None:
    with service.running(drain_s=0, stop_timeout_s=1, read_timeout_s=1000) as running, send_part(running):
        assert running.add("1+1") == 2
        assert running.stop() == 0
        rest = running.rest()
        assert "Application shutdown complete" in rest
        assert "Traceback" not in rest


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_that_dies_is_replaced(workers: int) -> None:
    with service.running(workers=workers) as running:
        started(running, workers - 1)
        dead = max(running.children())
        os.kill(dead, signal.SIGKILL)
        assert running.await_line(r"worker (\d+) ended with status -9")[1] == str(dead)
        (successor,) = started(running, 1)
        assert successor in running.children()
        assert running.add("20+4") == 24
        assert running.stop() == 0


def counted(running: service.Service) -> tuple[float, float]:
    """How many sums were answered, and how many workers are ready, as any worker shows it."""
    text = running.text("/metrics")
    answered = re.search(r'service_answers_total\{is="exact",model="addition",version="1"\} (\S+)', text)
    ready = re.search(r"^service_ready_workers (\S+)", text, re.MULTILINE)
    assert answered
    assert ready
    return float(answered[1]), float(ready[1])


def test_counts_outlive_a_worker() -> None:
    with service.running(workers=2) as running:
        started(running, 1)
        seen = 0.0
        for dead in running.children():
            for _ in range(20):
                running.add("20+4")
                answered, _ = counted(running)
                assert answered >= seen
                seen = answered
            os.kill(dead, signal.SIGKILL)
            started(running, 1)
            answered, ready = counted(running)
            assert answered >= seen
            assert ready == 2


def test_no_client_waits_on_a_worker_that_cannot_start(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    shutil.copytree(service.ROOT / "models", models_dir)
    asked = models_dir / "addition" / "1"
    with service.running(workers=2, models_dir=models_dir, versions='{"addition": 1}', watch_s=0) as running:
        (second,) = started(running, 1)
        asked.rename(tmp_path / "away")
        os.kill(second, signal.SIGKILL)
        for _ in range(2):
            running.await_line(r"addition.*; the next worker starts in \d s")
        assert [running.add("20+4") for _ in range(50)] == [24] * 50
        (tmp_path / "away").rename(asked)
        started(running, 1)
        assert running.add("20+4") == 24


def test_no_temporary_folder_is_needed() -> None:
    with service.running(workers=2, drain_s=0) as running:
        started(running, 1)
        descriptors = [path for pid in running.children() for path in Path(f"/proc/{pid}/fd").iterdir()]
        links = {str(path.readlink()) for path in descriptors if path.is_symlink()}  # some were closed meanwhile
        ours = str(service.ROOT)  # a clone may lie there, and a model of it be read
        assert [link for link in links if link.startswith(tempfile.gettempdir()) and not link.startswith(ours)] == []


def test_workers_do_not_outlive_their_parent() -> None:
    with service.running(workers=2, drain_s=0) as running:
        started(running, 1)
        watched = [os.pidfd_open(pid) for pid in running.children()]
        assert len(watched) == 2
        running.process.kill()
        for descriptor in watched:
            assert select.select([descriptor], [], [], 30)[0]  # readable once the process has ended
            os.close(descriptor)
