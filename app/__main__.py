"""`python -m app`: handles signals before it loads anything, then runs the command."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any

from app.operations.signals import Signals
from app.serving import trial_process


def main(arguments: Sequence[str] | None = None, **parts: Any) -> int:
    """Serve until stopped. `parts` take the place of the usual ones of `command.run`. Returns the exit status."""
    gc.disable()  # until a worker is ready: a start makes much that stays, and looking at it takes 0.05 s
    signals = Signals()
    process = trial_process.start_early()
    try:
        from app import command  # takes half a second

        return command.run(signals, process, arguments, **parts)
    finally:
        trial_process.end(process)
        signals.ignore()


if __name__ == "__main__":
    sys.exit(main())
