"""What lies under the models directory: the folders that are versions of models, and what is wrong with the others.

    models/<name>/<version>/        <version> is 1, 2, 3 and so on

Anything may lie there, of any name, and may change or vanish while it is looked at. Knows nothing of what is in a
bundle. Everything here waits for the disk, so nothing here belongs on the event loop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seq2seq.bundle import PLAIN_NAME, BundleUnreadable

LARGEST_VERSION = 2**63 - 1
MOST_ENTRIES = 1_000
"""How many entries of a model's folder are looked at, and how many files of a version."""

DEEPEST = 4
"""How deep a bundle's files may lie in it."""

State = tuple[tuple[str, int, int, int, int], ...]
"""Of a folder and of all in it: path, inode, size, and when content and inode last changed, in nanoseconds."""

NAMING = f"versions are folders named 1, 2, 3 and so on, up to {LARGEST_VERSION}, without leading zeros"


class Version(NamedTuple):
    """A folder that is a version of a model, and the state that it was seen in."""

    name: str
    number: int
    path: Path
    state: State

    @property
    def size(self) -> int:
        """How many bytes it takes, its folders' own included."""
        return sum(size for _, _, size, *_ in self.state)


@dataclass(frozen=True)
class Found:
    """The versions of all models, and what is wrong with each other folder."""

    versions: list[Version]
    faults: dict[Path, str]


def look(models_dir: Path) -> Found:
    """Everything under the models directory. If that cannot be listed, it is the one fault."""
    found = Found([], {})
    try:
        models = _entries(models_dir)
    except BundleUnreadable as error:
        return Found([], {models_dir: error.fault})
    for model in models:
        fault = _fault(model)
        if fault is None and not PLAIN_NAME.fullmatch(model.name):
            fault = "is no name for a model; it may hold ASCII letters, digits, '-', '_' and '.'"
        if fault is None:
            fault = _look_into(Path(model), found)
        if fault:
            found.faults[Path(model)] = fault
    return found


def is_version(name: str) -> bool:
    """Whether a name is that of a version: a positive number of 63 bits, without leading zeros."""
    is_number = name.isascii() and name.isdigit() and not name.startswith("0") and len(name) <= 19
    return is_number and int(name) <= LARGEST_VERSION


def last_change_s(state: State) -> float:
    """When something in a folder last changed, in seconds since 1970."""
    return max((changed for *_, changed in state), default=0) / 1e9


def _look_into(directory: Path, found: Found) -> str | None:
    """Add a model's versions to what was found. Returns why it has none, if so."""
    known = len(found.versions) + len(found.faults)
    try:
        entries = sorted(
            _entries(directory), key=lambda entry: is_version(entry.name) and int(entry.name), reverse=True
        )
        for entry in entries[:MOST_ENTRIES]:
            path = Path(entry)
            fault = _fault(entry) or (None if is_version(entry.name) else f"is not a version; {NAMING}")
            if fault:
                found.faults[path] = fault
            else:
                found.versions.append(Version(directory.name, int(entry.name), path, _state(path)))
    except BundleUnreadable as error:
        return error.fault
    if len(entries) > MOST_ENTRIES:
        return f"holds {len(entries)} versions and other folders; only the {MOST_ENTRIES} highest numbers are looked at"
    return None if len(found.versions) + len(found.faults) > known else f"holds no version; {NAMING}"


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """What may be a folder in a folder, hidden ones left out. Raises `BundleUnreadable`."""
    try:
        with os.scandir(directory) as entries:
            shown = [
                entry
                for entry in entries
                if not entry.name.startswith(".")
                and (is_version(entry.name) or not entry.is_file(follow_symlinks=False))
            ]
    except OSError as error:
        raise BundleUnreadable(directory, f"cannot be listed: {error.strerror}") from error
    return sorted(shown, key=lambda entry: entry.name)


def _fault(entry: os.DirEntry[str]) -> str | None:
    """Why an entry cannot be looked into; None if it can."""
    try:
        return None if entry.is_dir() else "is not a folder, or a link to one"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _state(directory: Path) -> State:
    """The state of a folder. What cannot be read is left out; once it can, the state is another one."""
    return tuple(sorted(_states(str(directory), "", DEEPEST)))


def _states(folder: str, name: str, depth: int) -> Iterator[tuple[str, int, int, int, int]]:
    try:
        stat = Path(folder).stat()
        yield name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MOST_ENTRIES), entries, strict=False):
                inside = f"{name}/{entry.name}"
                if depth and entry.is_dir(follow_symlinks=False):
                    yield from _states(entry.path, inside, depth - 1)
                else:
                    stat = entry.stat(follow_symlinks=False)
                    yield inside, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    except OSError:
        return
