"""How processes stop, and how one that dies is replaced: the real command, with the models that ship."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import service

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


def await_all(running: service.Service, workers: int) -> None:
    """Until every worker serves; the first one did before the port was known."""
    for _ in range(workers - 1):
        running.await_line("Application startup complete")


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_is_announced_and_then_obeyed(workers: int) -> None:
    with service.running(workers=workers, drain_s=2) as running, connected(running) as kept:
        await_all(running, workers)
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


@pytest.mark.parametrize("workers", [1, 2])
def test_second_sigterm_ends_it_at_once(workers: int) -> None:
    with service.running(workers=workers, drain_s=1000) as running:
        await_all(running, workers)
        running.process.send_signal(signal.SIGTERM)
        for _ in range(workers):
            running.await_line("stopping")
        assert running.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupt_waits_for_nothing_but_requests_in_flight(workers: int) -> None:
    with service.running(workers=workers, drain_s=1000) as running:
        assert running.stop(signal.SIGINT) == 0


def test_connection_on_which_nothing_comes_does_not_keep_it_alive() -> None:
    with service.running(drain_s=0) as running, connected(running) as kept:
        ask(kept)
        assert running.stop() == 0


def test_request_that_never_comes_whole_ends_with_the_deadline() -> None:
    settings = {"drain_s": 0, "stop_timeout_s": 1, "read_timeout_s": 1000}
    with service.running(**settings) as running, connected(running) as slow:
        slow.putrequest("POST", "/add")
        slow.putheader("Content-Length", "10")
        slow.putheader("Content-Type", "application/json")
        slow.endheaders()
        assert running.add("1+1") == 2
        assert running.stop() == 0


def workers_of(running: service.Service, count: int) -> list[int]:
    """The next workers that are started, by their process ids."""
    return [int(running.await_line(r"worker (\d+) started")[1]) for _ in range(count)]


def test_worker_that_dies_is_replaced() -> None:
    with service.running(workers=2) as running:
        (second,) = workers_of(running, 1)  # the first one started before the port was known
        os.kill(second, signal.SIGKILL)
        assert running.await_line(r"worker (\d+) ended with status -9")[1] == str(second)
        assert running.add("20+3") == 23
        (third,) = workers_of(running, 1)
        assert {second, third} & running.children() == {third}
        assert running.add("20+4") == 24
        assert running.stop() == 0


def test_workers_do_not_outlive_their_parent() -> None:
    with service.running(workers=2, drain_s=0) as running:
        workers_of(running, 1)
        watched = [os.pidfd_open(pid) for pid in running.children()]
        assert len(watched) == 2
        running.process.kill()
        for descriptor in watched:
            assert select.select([descriptor], [], [], 30)[0]  # readable once the process has ended
            os.close(descriptor)
