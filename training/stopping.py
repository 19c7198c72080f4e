"""How a run ends before its time: by Ctrl-C, or because its loss is no number any more or has risen far."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
"""The exit status after Ctrl-C, as shells have it."""


class Diverged(Exception):
    """A run that has learnt nothing. The message says so in one line."""

    def __init__(self, fault: str = "the loss is no number any more") -> None:
        super().__init__(f"{fault}, so nothing was written; try a lower --learning-rate")


def nothing_written() -> str:
    return "\ntraining: stopped; nothing was written"


@contextmanager
def told(message: Callable[[], str]) -> Iterator[None]:
    """Have Ctrl-C end the process with this message, once all that is open is closed."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"{message()}\n")
        sys.exit(STOPPED)


@contextmanager
def stopped_at_once(message: Callable[[], str] = nothing_written) -> Iterator[None]:
    """Have Ctrl-C end the process on the spot, for an exception that passes through TensorFlow can corrupt its memory.

    Only while nothing is being written, or what is written appears whole or not at all.
    """

    def stop(_: int, __: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # a pipe may be closed
            sys.stdout.flush()
            sys.stderr.write(f"{message()}\n")
            sys.stderr.flush()
        os._exit(STOPPED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
