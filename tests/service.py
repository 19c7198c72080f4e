"""The service as users run it: `python -m app` with the models that ship, in a process of its own, on a free port.

Its host and port are settings like any other.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ROOT = Path(__file__).parent.parent
START_S = 60
SERVING = re.compile(r"serving on http://127\.\d+\.\d+\.\d+:(\d+)")


@dataclass
class Service:
    """A process that serves, its port, and the lines that it has logged."""

    process: subprocess.Popen[str]
    lines: Queue[str] = field(default_factory=Queue)
    port: int = 0
    reader: threading.Thread | None = None

    def await_line(self, pattern: str | re.Pattern[str], seconds: float = START_S) -> re.Match[str]:
        """The next logged line in which the pattern is found; those before it are passed over."""
        passed: list[str] = []
        with contextlib.suppress(Empty):
            while not (found := re.search(pattern, line := self.lines.get(timeout=seconds))):
                passed.append(line)
            return found
        raise AssertionError(f"no line has {pattern!r}; logged were {passed}")

    def await_workers(self, workers: int) -> None:
        """Until every worker serves; the first one did before the port was known."""
        for _ in range(workers - 1):
            self.await_line(r"worker \d+ started")

    def request(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, seconds: float = 30
    ) -> tuple[int, str]:
        """Status and text of an answer, over a connection of its own."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)) as connection:
            content = None if body is None else json.dumps(body)
            declared = {"Content-Type": "application/json"} if content else {}
            connection.request(method, path, content, declared | dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        status, text = self.request(method, path, body)
        return status, json.loads(text)

    def text(self, path: str) -> str:
        """The text of an answer to a GET."""
        return self.request("GET", path)[1]

    def is_ready(self, seconds: float = 30) -> bool:
        return self.request("GET", "/health/ready", seconds=seconds)[0] == 200

    def add(self, expression: str) -> Any:
        status, answer = self.ask("POST", "/add", {"expression": expression})
        assert status == 200, answer
        return answer["sum"]

    def children(self) -> set[int]:
        """Its worker processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}

    def memory_mb(self) -> float:
        """What it and its workers hold; a process that tries a version is none of them."""
        return sum(map(resident_mb, (self.process.pid, *self.children())))

    def rest(self) -> str:
        """What is logged and was not awaited, once the process has ended."""
        assert self.reader is not None
        self.reader.join(START_S)
        return "".join(self.lines.queue)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Send a signal and give the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def start(*, preexec: Any = None, root: Any = ROOT, **settings: object) -> Service:
    """Start a service with settings by their names; it is known to listen once `port` is there."""
    service = launch(preexec=preexec, root=root, **settings)
    service.port = int(service.await_line(SERVING)[1])
    return service


def launch(*before: str, preexec: Any = None, root: Any = ROOT, **settings: object) -> Service:
    """Begin to start a service, by a command that comes before its own; `preexec` runs in the new process first.

    The code is that of `root`.
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-W", "error", "-m", "app"],
        cwd=root,
        env=environment() | {"APP_PORT": "0"} | {f"APP_{name.upper()}": str(value) for name, value in settings.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        preexec_fn=preexec,
    )
    service = Service(process)
    service.reader = threading.Thread(target=_keep_lines, args=(service,), daemon=True)
    service.reader.start()
    return service


def environment() -> dict[str, str]:
    """This process's environment without settings of the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("APP_")}


def _keep_lines(service: Service) -> None:
    assert service.process.stdout is not None
    with service.process.stdout as stdout:
        for line in stdout:
            service.lines.put(line)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    raise AssertionError("the process is gone")


def free_port() -> int:
    """A port that is free on every address of this machine."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


@contextmanager
def ending(process: subprocess.Popen[Any], seconds: float = 10) -> Iterator[None]:
    """Ends a process with the context, by force if SIGTERM does not within some seconds."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running(*, preexec: Any = None, root: Any = ROOT, **settings: object) -> Iterator[Service]:
    """A service that is gone at the end."""
    service = start(preexec=preexec, root=root, **settings)
    with ending(service.process):
        yield service
