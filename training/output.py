"""Where bundles go: tried before training, claimed after it, and nothing that stands there is lost.

Knows nothing of Keras.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seq2seq import bundle, staging
from seq2seq.bundle import GRAPHS, MANIFEST, PLAIN_NAME, Bundle, BundleError, Manifest
from training.command_line import CallError

MODELS, RUNS = Path("models"), Path("runs")
"""Where the service looks for bundles, and where all others go."""


@dataclass(frozen=True)
class Destination:
    """A folder for a bundle. Without a `name` it is the next free version under `parent`."""

    parent: Path
    name: str | None = None
    replace: bool = False

    @property
    def version(self) -> str:
        """The version that the bundle gets if nobody else is faster."""
        if self.name is not None:
            return self.name
        taken = [int(path.name) for path in self.parent.glob("*") if path.name.isascii() and path.name.isdigit()]
        return str(max(taken, default=0) + 1)


class Shipped(Protocol):
    """What a recipe says of its bundle: the model's name, and whether it goes under models/."""

    @property
    def name(self) -> str: ...
    @property
    def ships(self) -> bool: ...


def destination(out: Path | None, recipe: Shipped, *, replace: bool) -> Destination:
    """Where a run's bundle goes, tried before the run. Raises `CallError` where it could not be written."""
    if out is None:
        if replace:
            raise CallError("--replace needs --out; without it a run gets the next version")
        check_writable(RUNS / recipe.name)  # where the bundle is filled, and stays if it is not exact
        chosen = Destination((MODELS if recipe.ships else RUNS) / recipe.name)
    else:
        out = Path(os.path.abspath(out))  # noqa: PTH100  resolves `..`, follows no link
        chosen = Destination(out.parent, out.name, replace)
        if not PLAIN_NAME.fullmatch(out.name):
            raise CallError(f"--out {out}: its last part may hold at most 100 letters, digits, '-', '_' and '.'")
        check_free(out, replace=replace)
    check_writable(chosen.parent)
    return chosen


def is_exact(manifest: Manifest) -> bool:
    """Whether the service takes a network: proven right on all requests, and all its graphs agree."""
    try:
        bundle.check_evidence(Bundle(Path(), manifest))
    except BundleError:
        return False
    return True


def check_free(directory: Path, *, replace: bool) -> None:
    """Check that nothing is lost if a bundle is put here. Raises `CallError`."""
    if not os.path.lexists(directory):
        return
    if directory.is_symlink() or not directory.is_dir():
        raise CallError(f"{directory} is a file or a link; a bundle is a folder")
    try:
        if not any(directory.iterdir()):
            return
        files = json.loads((directory / MANIFEST).read_bytes())["files"]  # bundles of earlier releases count, too
        if not set(GRAPHS[1:]) <= files.keys():
            raise KeyError(GRAPHS)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CallError(f"{directory} holds other things than a bundle; choose another folder") from error
    found = [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]
    if others := sorted({path.relative_to(directory).as_posix() for path in found} - {MANIFEST, *files}):
        raise CallError(f"{directory} holds {others[0]}, which is no part of its bundle; choose another folder")
    if not replace:
        raise CallError(f"{directory} holds a bundle; --replace replaces it")


Seal = Callable[[Path, str], None]
"""Seals a filled folder as a bundle of a version."""


def put(filled: Path, wanted: Destination, seal: Seal) -> Path:
    """Seal a bundle in a workspace in `wanted.parent`, and move it to its place, which is returned.

    Where the place was taken meanwhile, the bundle is sealed anew, with the next version beside it.
    """
    while True:
        version = wanted.version
        directory = wanted.parent / version
        seal(filled, version)
        try:
            if wanted.replace:
                check_free(directory, replace=True)
            staging.put(filled, directory, replace=wanted.replace)
        except (FileExistsError, CallError):
            wanted = Destination(wanted.parent)
        else:
            return directory


def put_elsewhere(filled: Path, wanted: Destination, seal: Seal) -> Path:
    """The same from another workspace, which may be on another file system."""
    with staging.workspace(wanted.parent) as workspace:
        copied = workspace / filled.name
        shutil.copytree(filled, copied)
        return put(copied, wanted, seal)


def check_writable(folder: Path) -> None:
    """Try to write into a folder, and to make it if it is missing. Raises `CallError`.

    Nothing stays: the service does not start with an empty folder under models/.
    """
    folder = folder.absolute()
    try:
        there = _nearest(folder)
        with staging.workspace(there) as workspace:
            (workspace / folder.relative_to(there)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallError(f"cannot write to {folder}: {error.strerror}") from error


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    try:
        folder.lstat()
    except FileNotFoundError:
        return _nearest(folder.parent)
    return folder
