"""Writes a folder whole or not at all: it is filled out of sight beside its place, then renamed into it.

Knows nothing of what the folder holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".unfinished-"
LOCK = "lock"
OLD = "old"
"""Where in a workspace a folder waits that is being replaced."""


@contextlib.contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A hidden folder in `parent`, to fill folders and files in. It is removed at the end with all that is still in it.

    A killed process leaves its workspace behind; the next one in the same `parent` removes it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{PREFIX}*"):
        _sweep(left)
    folder, lock = _locked_folder(parent)
    try:
        yield folder
    finally:
        try:
            _clear(folder)
        finally:
            os.close(lock)


def put(filled: Path, directory: Path, *, replace: bool = False) -> None:
    """Rename a folder of a workspace to `directory`, which is in the workspace's parent.

    Raises `FileExistsError` where something is in the way; an empty folder is not. With `replace`, what is there is
    moved into the workspace first. If anything then goes wrong, it moves back when the workspace is cleared, be it by
    a later process.
    """
    if replace and os.path.lexists(directory):
        (filled.parent / OLD).mkdir(exist_ok=True)
        directory.rename(filled.parent / OLD / directory.name)
    try:
        filled.rename(directory)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise FileExistsError(error.errno, os.strerror(errno.EEXIST), str(directory)) from error
        raise


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with contextlib.suppress(FileNotFoundError):  # swept between these two lines
            (folder / LOCK).touch()
        if (lock := _lock(folder)) is not None:
            return folder, lock


def _lock(folder: Path) -> int | None:
    """Take a workspace's lock, which the system releases when the process ends; None if another process has it."""
    path = folder / LOCK
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), path.stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _sweep(folder: Path) -> None:
    """Remove a workspace whose process is gone. What cannot be removed stays; it is in nobody's way."""
    with contextlib.suppress(OSError):
        if (lock := _lock(folder)) is None:
            folder.rmdir()  # its process was killed before it took the lock; a live one's folder is not empty
            return
        try:
            _clear(folder)
        finally:
            os.close(lock)


def _clear(folder: Path) -> None:
    """Move back what was being replaced if its place is still free, then remove the rest, the lock last."""
    for old in (folder / OLD).glob("*"):
        if not os.path.lexists(folder.parent / old.name):
            old.rename(folder.parent / old.name)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    (folder / LOCK).unlink()
    folder.rmdir()
