"""The closed-loop load generator: wrk, from the system's packages. Knows nothing of the server.

Each connection sends its next request as soon as it has the last answer. load.lua checks every answer. wrk 4 adds the
latencies of requests that a stall kept it from sending. This makes tail latencies worse, for all contenders alike.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.environments import CannotPrepare

SCRIPT = Path(__file__).parent / "load.lua"
Check = Literal["truth", "form"]


@dataclass(frozen=True)
class Requests:
    """The requests for one path, and their right answers."""

    path: str
    bodies: Sequence[str]
    truths: Sequence[tuple[str, str]]
    pattern: str
    items: int = 1
    check: Check = "truth"


@dataclass(frozen=True)
class Measured:
    """One window of load: the answers, how fast they came, and how much of a core the generator took."""

    requests: int
    seconds: float
    answers: int
    wrong: int
    bad_status: int
    failed: int
    timed_out: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    mean_us: float
    generator_cpu: float
    example: str = ""

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def answers_per_second(self) -> float:
        return self.answers / self.seconds

    @property
    def errors(self) -> int:
        return self.bad_status + self.failed + self.timed_out


def ensure() -> None:
    """Install wrk if it is missing. Raises `CannotPrepare` if that fails."""
    if shutil.which("wrk"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "wrk"]):
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if not shutil.which("wrk"):
        raise CannotPrepare("the load generator wrk is missing; install it, on Debian by `apt-get install wrk`")


class Sender:
    """Requests on disk, ready for wrk to send again and again."""

    def __init__(self, directory: Path, requests: Requests):
        holder = Path(tempfile.mkdtemp(dir=directory))
        self._requests = requests
        self._bodies, self._truths = holder / "bodies", holder / "truths"
        self._bodies.write_text("".join(f"{body}\n" for body in requests.bodies), encoding="ascii")
        self._truths.write_text(
            "".join(f"{question}\t{answer}\n" for question, answer in requests.truths), encoding="ascii"
        )

    def send(self, port: int, connections: int, seconds: int, cores: Iterable[int], *, timeout: int = 10) -> Measured:
        """Load a server for `seconds`, with the generator on `cores`."""
        requests, cores = self._requests, frozenset(cores)
        command = [
            "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
            "--timeout", f"{timeout}s", "--script", str(SCRIPT), f"http://127.0.0.1:{port}{requests.path}",
            "--", requests.path, str(self._bodies), str(self._truths), requests.pattern, str(requests.items),
            requests.check,
        ]  # fmt: skip
        started = time.perf_counter()
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read()
        if process.returncode:
            raise RuntimeError(f"wrk failed: {text.strip()[-300:]}")
        return parse(text, (usage.ru_utime + usage.ru_stime) / (time.perf_counter() - started))


def parse(output: str, generator_cpu: float) -> Measured:
    """What load.lua printed last, after wrk's own words."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"wrk printed no figures: {output.strip()[-300:]!r}")
    counted: dict[str, Any] = json.loads(lines[-1])
    return Measured(**counted, generator_cpu=round(generator_cpu, 3))
