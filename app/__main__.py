"""`python -m app`: handles signals before it loads anything, then runs the command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app import spare
from app.signals import Signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Returns the exit status."""
    signals = Signals()
    process = spare.start_early()
    try:
        from app import command  # takes half a second

        return command.run(signals, process, arguments)
    finally:
        spare.end(process)
        signals.ignore()


if __name__ == "__main__":
    sys.exit(main())
