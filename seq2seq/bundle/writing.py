"""Writes a bundle's manifest and seals it, once all other files are there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2seq.bundle.manifest import MANIFEST, SEAL, BundleError, FileEntry, Manifest, graphs_of


def seal(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, with the checksum and size of every file that stands in the directory."""
    files = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                files[path.relative_to(directory).as_posix()] = FileEntry(
                    hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
                )
    graphs = graphs_of(manifest.network.family)
    if missing := set(graphs) - set(files):
        raise BundleError(directory / min(missing), "is missing; a bundle holds " + ", ".join(graphs))
    write_manifest(directory, manifest.as_data() | {"files": {name: vars(entry) for name, entry in files.items()}})


def write_manifest(directory: Path, data: Mapping[str, Any]) -> None:
    """Write what a manifest says, and its seal. A seal among the data is left out."""
    said = json.dumps({key: data[key] for key in data if key != "seal"}, indent=2, ensure_ascii=True)
    (directory / MANIFEST).write_bytes(with_seal(said.removesuffix("\n}").encode("ascii")))


def with_seal(said: bytes) -> bytes:
    """A manifest's bytes: all that it says, up to the end of its last value, and the seal of that."""
    return said + f'{SEAL}{hashlib.sha256(said).hexdigest()}"\n}}\n'.encode("ascii")
