"""Starts the processes that try versions. Loads little, so that the first one loads its code beside the service's own.

With two processors that takes 0.15 s off a start. Knows nothing of what a trial is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""NumPy would start a thread for each processor, which costs 40 MB of address space each."""

ROOT = str(Path(__file__).parents[2])
"""Where a process finds this code."""

Process = subprocess.Popen[bytes]


def start() -> Process:
    """A process that waits for a line that says what to try. Raises `OSError`."""
    environ = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join([ROOT, *filter(None, sys.path)])}
    return subprocess.Popen(
        [sys.executable, "-m", "app.serving.trial"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def start_early() -> Process | None:
    """The same; None if the system starts no process now."""
    with contextlib.suppress(OSError):
        return start()
    return None


def kill(process: Process) -> None:
    """Kill a process, though it may be another's child: `Popen` would take it for one that has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def end(process: Process | None) -> None:
    """End a process, whatever it does, and let go of it."""
    if process is not None:
        kill(process)
        with process:
            pass
