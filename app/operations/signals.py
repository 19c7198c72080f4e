"""Handles signals before anything else is loaded. Loads little itself: process 1 loses a signal that comes earlier."""

from __future__ import annotations

import math
import os
import select
import signal
from collections.abc import Collection

NOW = signal.SIGUSR1
"""Tells a worker to drop its requests and end. Where a worker does not handle it yet, it ends at once."""

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
HANDLED = (*STOPPING, signal.SIGCHLD)


class Signals:
    """Ends the process on a stop signal, until it is asked to note signals instead."""

    def __init__(self) -> None:
        for number in STOPPING:
            signal.signal(number, lambda *_: os._exit(0))  # nothing runs yet that would need an end

    def note(self) -> None:
        """Note signals for `wait` from now on."""
        self._noted_r, self._noted_w = os.pipe()
        os.set_blocking(self._noted_w, False)
        signal.set_wakeup_fd(self._noted_w, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float | None, descriptors: Collection[int] = ()) -> tuple[bytes, list[int]]:
        """Wait for a signal, for something to read, or for so long. Gives the signals' numbers and what to read."""
        poll = select.poll()  # which has no limit on numbers of descriptors
        for descriptor in (self._noted_r, *descriptors):
            poll.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(None if seconds is None else math.ceil(1_000 * seconds))]
        return os.read(self._noted_r, 4_096) if self._noted_r in ready else b"", ready

    def forget(self) -> None:
        """Leave signals to their default actions, in a fork."""
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._noted_r)
        os.close(self._noted_w)

    def ignore(self) -> None:
        """Let no further signal change the exit status. Python itself would go back to the default actions."""
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN)
