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

from seq2seq import staging
from seq2seq.bundle import MANIFEST, PLAIN_NAME
from training.command_line import CallError
from training.recipes import Recipe

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
            return self.name if self.name.isdigit() else "1"
        taken = [int(path.name) for path in self.parent.glob("*") if path.name.isascii() and path.name.isdigit()]
        return str(max(taken, default=0) + 1)


def destination(out: Path | None, recipe: Recipe, *, replace: bool) -> Destination:
    """Where a run's bundle goes, tried before the run. Raises `CallError` where it could not be written."""
    if out is None:
        chosen = Destination((MODELS if recipe.ships else RUNS) / recipe.name)
    else:
        out = Path(os.path.abspath(out))  # noqa: PTH100  resolves `..`, follows no link
        chosen = Destination(out.parent, out.name, replace)
        if not PLAIN_NAME.fullmatch(out.name):
            raise CallError(f"--out {out}: its last part may hold at most 100 letters, digits, '-', '_' and '.'")
        check_free(out, replace=replace)
    _check_writable(chosen.parent)
    if chosen.parent != RUNS / recipe.name and out is None:
        _check_writable(RUNS / recipe.name)  # where the bundle goes if it is not exact
    return chosen


def check_free(directory: Path, *, replace: bool) -> None:
    """Check that nothing is lost if a bundle is put here. Raises `CallError`."""
    if not os.path.lexists(directory):
        return
    if directory.is_symlink() or not directory.is_dir():
        raise CallError(f"{directory} is a file or a link; a bundle is a folder")
    try:
        found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}
        if not found:
            return
        listed = {MANIFEST, *json.loads((directory / MANIFEST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CallError(f"{directory} holds other things than a bundle; choose another folder") from error
    if others := sorted(found - listed):
        raise CallError(f"{directory} holds {others[0]}, which is no part of its bundle; choose another folder")
    if not replace:
        raise CallError(f"{directory} holds a bundle; --replace replaces it")


Seal = Callable[[Path, str], None]
"""Seals a filled folder as a bundle of a version."""


def put(filled: Path, wanted: Destination, seal: Seal) -> Path:
    """Seal a bundle in a workspace in `wanted.parent`, and move it to its place, which is returned.

    Where another run was faster, the bundle is sealed anew, with the next version. Raises `CallError` if a fixed place
    was taken meanwhile.
    """
    version = wanted.version
    while True:
        seal(filled, version)
        directory = wanted.parent / (wanted.name or version)
        try:
            if wanted.replace:
                check_free(directory, replace=True)
            staging.put(filled, directory, replace=wanted.replace)
        except FileExistsError:
            if wanted.name is not None:
                raise CallError(f"{directory} was taken while this run trained; nothing there was changed") from None
            version = str(max(int(version) + 1, int(wanted.version)))
        else:
            return directory


def put_elsewhere(filled: Path, wanted: Destination, seal: Seal) -> Path:
    """The same from another workspace, which may be on another file system."""
    with staging.workspace(wanted.parent) as workspace:
        copied = workspace / filled.name
        shutil.copytree(filled, copied)
        return put(copied, wanted, seal)


def _check_writable(folder: Path) -> None:
    """Write and remove something in a folder, which is made if it is missing. Raises `CallError`."""
    try:
        with staging.workspace(folder):
            pass
    except OSError as error:
        raise CallError(f"cannot write to {folder}: {error.strerror}") from error
