"""`python -m app`: handles signals before it loads anything, then runs the command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.signals import Signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Returns the exit status."""
    signals = Signals()
    from app import command  # takes half a second

    try:
        return command.run(signals, arguments)
    finally:
        signals.ignore()


if __name__ == "__main__":
    sys.exit(main())
