"""Says on stderr how far long work has come, and how long it still takes."""

from __future__ import annotations

import sys
import time

PATIENCE_S = 2.0
"""Work that takes no longer says nothing."""
TERMINAL_S, FILE_S = 0.5, 15.0
"""How often a terminal's line is renewed, and how often a file gets one."""


class Progress:
    """A line such as `proving, requests: 34% of 1,010,000, 12 s left`."""

    def __init__(self, what: str):
        self._what = what
        self._kind = ""
        self._started = self._said = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, kind: str, done: int, total: int) -> None:
        """Say that `done` of `total` are done of this kind of work."""
        now = time.monotonic()
        if kind != self._kind or done < total // 1_000:
            self._kind, self._started = kind, now
        every = TERMINAL_S if self._is_terminal else FILE_S
        if now - self._said < every or now - self._started < PATIENCE_S:
            return
        self._said = now
        left = (now - self._started) * (total - done) / max(done, 1)
        line = f"{self._what}, {kind}: {done / total:.0%} of {total:,}, {left:.0f} s left"
        sys.stderr.write(f"\r{line}\033[K" if self._is_terminal else f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Clear the terminal's line."""
        if self._is_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
