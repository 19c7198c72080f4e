"""Makes some folders slow in the process that finds this on its path, as a network file system does that hangs.

Once the file `<SLOW_DISK>/slow` exists, each call of the file system for something below SLOW_DISK takes SECONDS.
"""

from __future__ import annotations

import os
import sys
import time

SECONDS = 2.0
FOLDER = os.environ.get("SLOW_DISK", "")
EVENTS = {"open", "os.scandir", "os.listdir"}


def delay(path: object) -> None:
    if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(FOLDER) and os.access(SWITCH, os.F_OK):
        time.sleep(SECONDS)


def audit(event: str, arguments: tuple[object, ...]) -> None:
    if event in EVENTS:
        delay(arguments[0])


if FOLDER:
    SWITCH = f"{FOLDER}/slow"
    sys.addaudithook(audit)
    for name in ("stat", "lstat"):

        def slow(path: object, *arguments: object, _real: object = getattr(os, name), **options: object) -> object:
            delay(path)
            return _real(path, *arguments, **options)  # type: ignore[operator]

        setattr(os, name, slow)
