"""The bundle format: a directory that holds a trained network and says all there is to know about it.

    models/<name>/<version>/manifest.json          what this module writes last and reads first
                            training.keras         the model that was fitted
                            encoder.keras|.onnx    source ids → states
                            decoder.keras|.onnx    states → probabilities, or one step of it
                            greedy.onnx            source ids → symbols chosen and their probabilities, all in one
                            report/                a model card and plots, for people

Writing and reading are both here. Knows what a bundle says, not how to run it; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, get_args

from seq2seq.decoding import Network
from seq2seq.problem import Problem, RuleBroken, SpecError
from seq2seq.problems import from_spec

FORMAT = 1
MANIFEST = "manifest.json"
GRAPHS = ("training.keras", "encoder.keras", "decoder.keras", "encoder.onnx", "decoder.onnx", "greedy.onnx")
"""What every bundle must hold beside its manifest."""

CONFIDENCE_TOLERANCE = 1e-3
"""How far a golden example's confidence may be off between runtimes and machines."""

Family = Literal["repeat_vector", "autoregressive"]
T = TypeVar("T")


class BundleError(Exception):
    """A bundle that cannot be trusted. The message names the file and says what is wrong with it."""

    def __init__(self, path: Path, message: str):
        super().__init__(f"{path}: {message}")
        self.path = path


@dataclass(frozen=True)
class NetworkSpec:
    """What the network is: its family, the units of each layer a side, and how many parameters it has."""

    family: Family
    encoder_units: tuple[int, ...]
    decoder_units: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class FileEntry:
    """A file as it was when the bundle was sealed."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Golden:
    """An example that the network answered when it was sealed, to be answered alike ever after."""

    request: Any
    decoded: Any
    confidence: float


@dataclass(frozen=True)
class Manifest:
    """All that serving needs and all that a reader wants to know; `files` is filled in when the bundle is sealed."""

    name: str
    version: str
    problem: Problem
    network: NetworkSpec
    training: dict[str, Any]
    evaluation: dict[str, Any]
    agreement: dict[str, Any]
    golden: tuple[Golden, ...]
    files: dict[str, FileEntry]

    def as_data(self) -> dict[str, Any]:
        """The manifest as it stands in the file, vocabularies and lengths written out."""
        network = self.network
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "problem": self.problem.spec(),
            **_derived(self.problem),
            "network": {
                "family": network.family,
                "encoder_units": list(network.encoder_units),
                "decoder_units": list(network.decoder_units),
                "parameters": network.parameters,
            },
            "training": self.training,
            "evaluation": self.evaluation,
            "agreement": self.agreement,
            "golden": [vars(example) for example in self.golden],
            "files": {name: vars(entry) for name, entry in self.files.items()},
        }


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and whose every file is as it was sealed."""

    path: Path
    manifest: Manifest


def _derived(problem: Problem) -> dict[str, Any]:
    return {
        "vocabularies": {
            "source": problem.source_vocabulary.as_data(),
            "target": problem.target_vocabulary.as_data(),
        },
        "lengths": {"source": problem.source_length, "target": problem.target_length},
    }


# Writing --------------------------------------------------------------------------------------------------


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A folder to fill; it becomes `directory` at the end, or vanishes if anything, Ctrl-C included, comes between."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as holder:
        staging = Path(holder) / directory.name
        staging.mkdir()
        yield staging
        if directory.exists():
            directory.rename(Path(holder) / "replaced")
        staging.rename(directory)


def seal(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, with the checksum and size of every file that stands in the directory."""
    files = {
        path.relative_to(directory).as_posix(): FileEntry(_sha256(path), path.stat().st_size)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    if missing := set(GRAPHS) - set(files):
        raise BundleError(directory / min(missing), "is missing; a bundle holds " + ", ".join(GRAPHS))
    data = manifest.as_data() | {"files": {name: vars(entry) for name, entry in files.items()}}
    (directory / MANIFEST).write_text(json.dumps(data, indent=2, ensure_ascii=True) + "\n", encoding="ascii")


# Reading --------------------------------------------------------------------------------------------------


def read(directory: Path) -> Bundle:
    """Read a bundle and check its every file. Raises `BundleError` that names the file and what is wrong."""
    manifest = read_manifest(directory)
    for name, entry in manifest.files.items():
        path = directory / name
        if not path.is_file() or path.is_symlink():
            raise BundleError(path, "is missing; the manifest lists it")
        if path.stat().st_size != entry.size:
            raise BundleError(path, f"has {path.stat().st_size} bytes; the manifest says {entry.size}")
        if _sha256(path) != entry.sha256:
            raise BundleError(path, "was altered; its SHA-256 is not the one in the manifest")
    return Bundle(directory, manifest)


def read_manifest(directory: Path) -> Manifest:
    """Read and check what a manifest says, without looking at the files it lists. Raises `BundleError`."""
    path = directory / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise BundleError(path, "is missing; this is not a bundle") from None
    except (ValueError, RecursionError, OSError) as error:
        raise BundleError(path, f"cannot be read as JSON: {error}") from error
    return _Reader(path).manifest(data)


def check_golden(bundle: Bundle, network: Network) -> None:
    """Replay the golden examples on a loaded network. Raises `BundleError` at the first that comes out otherwise."""
    problem = bundle.manifest.problem
    for example in bundle.manifest.golden:
        decoded = network.greedy(problem.encode([problem.parse(example.request)]))
        written = problem.decode(decoded.ids)[0]
        confidence = decoded.confidence[0]
        if written != example.decoded or abs(confidence - example.confidence) > CONFIDENCE_TOLERANCE:
            raise BundleError(
                bundle.path / MANIFEST,
                f"golden example {example.request!r} should give {example.decoded!r} at {example.confidence:.4f},"
                f" but the loaded network gives {written!r} at {confidence:.4f}",
            )


@dataclass(frozen=True)
class _Reader:
    """Takes a manifest apart, complaining by the path of the field at fault."""

    path: Path

    def manifest(self, data: Any) -> Manifest:
        if not isinstance(data, dict):
            raise self.error("must be a JSON object")
        if data.get("format") != FORMAT:
            raise self.error(f"format is {data.get('format')!r}; this release reads format {FORMAT}")
        problem = self.problem(self.field(data, "problem", dict))
        for name, expected in _derived(problem).items():
            if data.get(name) != expected:
                raise self.error(f"{name} are not those of its problem, which are {expected}")
        return Manifest(
            name=self.name(data, "name"),
            version=self.name(data, "version"),
            problem=problem,
            network=self.network(self.field(data, "network", dict)),
            training=self.field(data, "training", dict),
            evaluation=self.field(data, "evaluation", dict),
            agreement=self.field(data, "agreement", dict),
            golden=tuple(self.golden(problem, item) for item in self.field(data, "golden", list)),
            files=self.files(self.field(data, "files", dict)),
        )

    def problem(self, spec: dict[str, Any]) -> Problem:
        try:
            return from_spec(spec)
        except SpecError as error:
            raise self.error(f"problem: {error}") from error

    def network(self, data: dict[str, Any]) -> NetworkSpec:
        family = next((known for known in get_args(Family) if known == data.get("family")), None)
        if family is None:
            raise self.error(f"network family is {data.get('family')!r}; there are {', '.join(get_args(Family))}")
        return NetworkSpec(
            family=family,
            encoder_units=self.units(data, "encoder_units"),
            decoder_units=self.units(data, "decoder_units"),
            parameters=self.field(data, "parameters", int),
        )

    def units(self, data: dict[str, Any], key: str) -> tuple[int, ...]:
        units = self.field(data, key, list)
        if not units or not all(type(unit) is int and unit > 0 for unit in units):
            raise self.error(f"{key} must be a list of positive integers, not {units!r}")
        return tuple(units)

    def golden(self, problem: Problem, data: Any) -> Golden:
        if not isinstance(data, dict) or set(data) != {"request", "decoded", "confidence"}:
            raise self.error("a golden example has request, decoded and confidence")
        try:
            problem.parse(data["request"])
        except RuleBroken as error:
            raise self.error(f"golden example {data['request']!r:.60} is no request: {error}") from error
        return Golden(data["request"], data["decoded"], self.field(data, "confidence", float))

    def files(self, data: dict[str, Any]) -> dict[str, FileEntry]:
        if missing := set(GRAPHS) - set(data):
            raise self.error(f"files lacks {min(missing)}; a bundle holds {', '.join(GRAPHS)}")
        for name in data:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
                raise self.error(f"files names {name!r}, which is not a plain path inside the bundle")
        return {
            name: FileEntry(self.field(entry, "sha256", str), self.field(entry, "size", int))
            for name, entry in data.items()
        }

    def name(self, data: dict[str, Any], key: str) -> str:
        name = self.field(data, key, str)
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name) or name.startswith("."):
            raise self.error(f"{key} is {name!r}; it may hold letters, digits, '-', '_' and '.' only")
        return name

    def field(self, data: Any, key: str, kind: type[T]) -> T:
        value = data.get(key) if isinstance(data, dict) else None
        if type(value) is not kind:
            raise self.error(f"{key} must be {kind.__name__}, not {value!r:.60}")
        return value

    def error(self, message: str) -> BundleError:
        return BundleError(self.path, message)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
