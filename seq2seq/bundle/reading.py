"""Reads a bundle and checks its every byte. Nothing is ever unpickled.

Knows what a bundle says, not how to run it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from seq2seq.bundle import consistency, schema
from seq2seq.bundle.manifest import FORMAT, MANIFEST, MOST_MANIFEST_BYTES, SEAL, BundleError, BundleUnreadable, Manifest
from seq2seq.bundle.writing import with_seal

DEEPEST = 16
"""How deep a manifest nests at most."""
ALTERED = f"was altered; its SHA-256 is not the one in {MANIFEST}"
NOT_PLAIN = "is a link, a folder or a pipe; a bundle holds plain files"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and whose every file is as it was sealed."""

    path: Path
    manifest: Manifest

    def content(self, name: str) -> bytes:
        """A file as it was sealed, though it may have been replaced since; as it is, where nothing was sealed yet."""
        path = self.path / name
        with _opened(path, "is missing") as file:
            content = file.read()
        entry = self.manifest.files.get(name)
        if entry and hashlib.sha256(content).hexdigest() != entry.sha256:
            raise BundleError(path, ALTERED)
        return content


def read(directory: Path) -> Bundle:
    """Read a bundle and check its every file. Raises `BundleError` that names the file and what is wrong."""
    return check_files(directory, read_manifest(directory))


def check_files(directory: Path, manifest: Manifest) -> Bundle:
    """Check every file that a manifest lists. Raises `BundleError` that names the file at fault."""
    for folder in sorted({folder for name in manifest.files for folder in PurePosixPath(name).parents}):
        if folder.parts and (directory / folder).is_symlink():
            raise BundleError(directory / folder, "is a link; a bundle holds plain files and folders")
    for name, entry in manifest.files.items():
        path = directory / name
        with _opened(path, f"is missing; {MANIFEST} lists it") as file:
            size = path.stat().st_size
            if size != entry.size:
                raise BundleError(path, f"has {size} bytes; {MANIFEST} says {entry.size}")
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                raise BundleError(path, ALTERED)
    return Bundle(directory, manifest)


def read_manifest(directory: Path) -> Manifest:
    """Read and check what a manifest says, without looking at the files it lists. Raises `BundleError`."""
    path = directory / MANIFEST
    with _opened(path, "is missing; this is not a bundle") as file:
        content = file.read(MOST_MANIFEST_BYTES + 1)
    if len(content) > MOST_MANIFEST_BYTES:
        raise BundleError(path, f"is too large; a manifest has at most {MOST_MANIFEST_BYTES:,} bytes")
    try:
        data = _parsed(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(path, f"cannot be read as JSON: {error}") from error
    try:
        _check_form(data, content)
        return consistency.manifest(schema.read(content))
    except ValueError as error:
        raise BundleError(path, str(error)) from error


def _check_form(data: Any, content: bytes) -> None:
    """Check that this is a manifest of this format, sealed and not too deep. Raises `ValueError`."""
    if not isinstance(data, dict):
        raise ValueError("must be a JSON object")
    if type(data.get("format")) is not int or data["format"] != FORMAT:
        raise ValueError(f"format is {data.get('format')!r:.60}; this release reads format {FORMAT}")
    if content != with_seal(content.rpartition(SEAL.encode())[0]):
        raise ValueError("was altered; the seal in its last line does not fit the rest")
    if _nests_deeper(data, DEEPEST):
        raise ValueError(f"nests deeper than {DEEPEST} levels")


def is_unchanged(directory: Path, manifest: Manifest) -> bool:
    """Whether a bundle is still, byte for byte, the one whose manifest was read. Nothing new is taken apart."""
    try:
        with _opened(directory / MANIFEST, "is missing") as file:
            content = file.read(MOST_MANIFEST_BYTES + 1)
        said = content.rpartition(SEAL.encode())[0]
        is_sealed = content == with_seal(said) and hashlib.sha256(said).hexdigest() == manifest.seal
        return is_sealed and bool(check_files(directory, manifest))
    except BundleError:
        return False


def _parsed(content: bytes) -> Any:
    """JSON in ASCII, stricter than Python's: no key twice, no number that is none. Raises `ValueError`."""
    data = json.loads(content.decode("ascii"), object_pairs_hook=_distinct, parse_float=_finite, parse_constant=_finite)
    json.dumps(data, ensure_ascii=False).encode("utf-8")  # what cannot be written again has half a character in it
    return data


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r:.60} stands twice in one object")
    return data


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text:.60} is not a number in JSON")
    return value


def _nests_deeper(data: Any, levels: int) -> bool:
    if not isinstance(data, dict | list):
        return False
    within = data.values() if isinstance(data, dict) else data
    return levels == 0 or any(_nests_deeper(each, levels - 1) for each in within)


@contextmanager
def _opened(path: Path, missing: str) -> Iterator[BufferedReader]:
    """A file of a bundle, opened. Raises `BundleError`; follows no link, and never waits as for a pipe's other end."""
    try:
        with open(path, "rb", opener=_open_plain) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BundleError(path, NOT_PLAIN)
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(path, missing) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise BundleError(path, NOT_PLAIN) from error
        raise BundleUnreadable(path, f"cannot be read: {error.strerror}") from error


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
