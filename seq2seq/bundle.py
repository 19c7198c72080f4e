"""The bundle format: a directory that holds a trained network and says all there is to know about it.

    models/<name>/<version>/manifest.json          what this module writes last and reads first
                            training.keras         the model that was fitted
                            encoder.keras|.onnx    source ids → states
                            decoder.keras|.onnx    states → probabilities, or one step of it
                            greedy.onnx            source ids → symbols chosen and their probabilities, all in one
                            report/                a model card and plots, for people

Writing and reading are both here. Knows what a bundle says, not how to run it; nothing is ever unpickled.

The manifest holds every file's SHA-256, and ends with the SHA-256 of all that it says itself, so that nothing in a
bundle can change unnoticed. That is no signature: who changes a file and seals the bundle anew is found out only where
the bundle then contradicts itself, or its network errs. A file that the manifest does not list is never read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import numpy as np

from seq2seq.decoding import Network
from seq2seq.evidence import Proof
from seq2seq.problem import Problem, RuleBroken, SpecError, oracle
from seq2seq.problems import from_spec

FORMAT = 3
MANIFEST = "manifest.json"
GRAPHS = ("training.keras", "encoder.keras", "decoder.keras", "encoder.onnx", "decoder.onnx", "greedy.onnx")
"""What every bundle must hold beside its manifest."""

AGREEMENTS = ("keras", "separate_graphs")
"""What the graph that is served was compared with."""

CONFIDENCE_TOLERANCE = 1e-3
"""How far a golden example's confidence may be off between runtimes and machines."""

QUESTIONS = 256
"""How many requests a network that was proven exact is asked once it is loaded, always the same ones."""

MOST_MANIFEST_BYTES = 4_000_000
MOST_FILE_BYTES = 2**31 - 1
"""ONNX allows no larger file either."""
DEEPEST = 16
"""How deep a manifest may nest."""

LONGEST_MESSAGE = 500
"""What a runtime says of a damaged graph may hold pieces of it, of any length."""

SEAL = ',\n  "seal": "'
"""What stands in a manifest between all that it says and the SHA-256 of that."""

ALTERED = f"was altered; its SHA-256 is not the one in {MANIFEST}"
NOT_PLAIN = "is a link, a folder or a pipe; a bundle holds plain files"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
PLAIN_PATH = re.compile(rf"{PLAIN_NAME.pattern}(?:/{PLAIN_NAME.pattern}){{0,3}}")
SHA_256 = re.compile("[0-9a-f]{64}")

Family = Literal["repeat_vector", "autoregressive"]
T = TypeVar("T")


class BundleError(Exception):
    """A bundle that cannot be trusted. The message, one line, names the file and says what is wrong with it."""

    def __init__(self, path: Path, message: str):
        printable = "".join(character if character.isprintable() else " " for character in message)
        self.path = path
        self.fault = " ".join(printable.split())[:LONGEST_MESSAGE]
        super().__init__(f"{path}: {self.fault}")


class BundleUnreadable(BundleError):
    """A bundle that the system does not let us read. That says nothing of its content, so it is worth another try."""


@dataclass(frozen=True)
class NetworkSpec:
    """What the network is: its family, the units of each layer a side, and how many parameters it has.

    `reversed_source` says whether the encoder reads the source's last place first.
    """

    family: Family
    encoder_units: tuple[int, ...]
    decoder_units: tuple[int, ...]
    parameters: int
    reversed_source: bool = False


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
    """All that serving needs and all that a reader wants to know.

    `files` is filled in when the bundle is sealed. `seal` is the SHA-256 of all the rest, once it has been read.
    """

    name: str
    version: str
    problem: Problem
    network: NetworkSpec
    training: dict[str, Any]
    evaluation: Proof
    agreement: dict[str, Any]
    golden: tuple[Golden, ...]
    files: dict[str, FileEntry]
    seal: str = field(default="", compare=False)

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
                "reversed_source": network.reversed_source,
            },
            "training": self.training,
            "evaluation": self.evaluation.as_data(),
            "agreement": self.agreement,
            "golden": [vars(example) for example in self.golden],
            "files": {name: vars(entry) for name, entry in self.files.items()},
        }


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


def count_parameters(problem: Problem, family: Family, encoder: Iterable[int], decoder: Iterable[int]) -> int:
    """The parameters of a network with layers of so many units: LSTMs over one-hot symbols, and a dense layer."""
    count = 0
    source, target = len(problem.source_vocabulary), len(problem.target_vocabulary)
    inputs = source
    for units in encoder:
        count += 4 * units * (inputs + units + 1)
        inputs = units
    inputs = inputs if family == "repeat_vector" else target
    for units in decoder:
        count += 4 * units * (inputs + units + 1)
        inputs = units
    return count + (inputs + 1) * target


def _derived(problem: Problem) -> dict[str, Any]:
    return {
        "vocabularies": {
            "source": problem.source_vocabulary.as_data(),
            "target": problem.target_vocabulary.as_data(),
        },
        "lengths": {"source": problem.source_length, "target": problem.target_length},
    }


# Writing --------------------------------------------------------------------------------------------------


def seal(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, with the checksum and size of every file that stands in the directory."""
    files = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                files[path.relative_to(directory).as_posix()] = FileEntry(_digest(file), path.stat().st_size)
    if missing := set(GRAPHS) - set(files):
        raise BundleError(directory / min(missing), "is missing; a bundle holds " + ", ".join(GRAPHS))
    write_manifest(directory, manifest.as_data() | {"files": {name: vars(entry) for name, entry in files.items()}})


def write_manifest(directory: Path, data: Mapping[str, Any]) -> None:
    """Write what a manifest says, and its seal. A seal among the data is left out."""
    said = json.dumps({key: data[key] for key in data if key != "seal"}, indent=2, ensure_ascii=True)
    (directory / MANIFEST).write_bytes(with_seal(said.removesuffix("\n}").encode("ascii")))


def with_seal(said: bytes) -> bytes:
    """A manifest's bytes: all that it says, up to the end of its last value, and the seal of that."""
    return said + f'{SEAL}{hashlib.sha256(said).hexdigest()}"\n}}\n'.encode("ascii")


# Reading --------------------------------------------------------------------------------------------------


def read(directory: Path) -> Bundle:
    """Read a bundle and check its every file. Raises `BundleError` that names the file and what is wrong."""
    return check_files(directory, read_manifest(directory))


def check_files(directory: Path, manifest: Manifest) -> Bundle:
    """Check every file that a manifest lists. Raises `BundleError` likewise."""
    for folder in sorted({folder for name in manifest.files for folder in PurePosixPath(name).parents}):
        if folder.parts and (directory / folder).is_symlink():
            raise BundleError(directory / folder, "is a link; a bundle holds plain files and folders")
    for name, entry in manifest.files.items():
        path = directory / name
        with _opened(path, f"is missing; {MANIFEST} lists it") as file:
            size = path.stat().st_size
            if size != entry.size:
                raise BundleError(path, f"has {size} bytes; {MANIFEST} says {entry.size}")
            if _digest(file) != entry.sha256:
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
    return _Reader(path, content).manifest(data)


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


def check_identity(directory: Path, manifest: Manifest) -> None:
    """Check that a bundle is the one that its folder's name says, <name>/<version>. Raises `BundleError`."""
    folder = directory.absolute()
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise BundleError(
            directory / MANIFEST,
            f"is that of {manifest.name} {manifest.version}, but stands in the folder"
            f" {folder.parent.name}/{folder.name}",
        )


def check_golden(bundle: Bundle, network: Network) -> None:
    """Replay the golden examples on a loaded network. Raises `BundleError` at the first that comes out otherwise."""
    problem = bundle.manifest.problem
    for example in bundle.manifest.golden:
        decoded = network.greedy(problem.encode([problem.parse(example.request)]))
        written = problem.decode(decoded.ids)[0]
        confidence = decoded.confidence[0]
        if written != example.decoded or not abs(confidence - example.confidence) <= CONFIDENCE_TOLERANCE:
            raise BundleError(
                bundle.path / MANIFEST,
                f"golden example {example.request!r} should give {example.decoded!r} at {example.confidence:.4f},"
                f" but the loaded network gives {written!r} at {confidence:.4f}",
            )


def check_proven(bundle: Bundle) -> None:
    """Check that the manifest tells of a proof, and one without a fault. Raises `BundleError`."""
    proof = bundle.manifest.evaluation
    decided = proof.by_enumeration + proof.by_bounds
    if proof.wrong:
        fault = f"evaluation has {proof.wrong:,} answers wrong; a network must be exact to be served"
    elif decided != proof.domain:
        fault = f"evaluation decides {decided:,} of {proof.domain:,} requests; a network must be proven to be served"
    elif not proof.is_exact:
        fault = (
            f"evaluation has a least margin of {proof.least_margin} logits, too near to the {proof.largest_difference}"
            " that rounding changes"
        )
    elif differing := [name for name, each in bundle.manifest.agreement.items() if each["agreed"] != each["compared"]]:
        fault = f"agreement says that {', '.join(differing)} gave other answers"
    else:
        return
    raise BundleError(bundle.path / MANIFEST, fault)


def check_answers(bundle: Bundle, network: Network) -> None:
    """Ask a loaded network that was proven exact for answers that are known. Raises `BundleError` if any is wrong."""
    problem = bundle.manifest.problem
    sources = oracle(problem).sample_sources(np.random.default_rng(QUESTIONS), QUESTIONS)  # (n, S)
    right = oracle(problem).answer(sources)  # (n, T)
    ids, probabilities = network.greedy(sources)
    if ids.shape != right.shape or probabilities.shape != right.shape:
        raise BundleError(bundle.path, f"its network gives arrays of {ids.shape} for answers of {right.shape}")
    wrong = (ids != right).any(axis=1) | ~((probabilities > 0) & (probabilities <= 1.001)).all(axis=1)  # (n,)
    if wrong.any():
        first = wrong.argmax()
        raise BundleError(
            bundle.path / MANIFEST,
            f"says that no answer is wrong, but the loaded network errs on {wrong.sum()} of {QUESTIONS} requests; the"
            f" first is {problem.requests(sources[first : first + 1])[0]!r}",
        )


@dataclass(frozen=True)
class _Reader:
    """Takes a manifest apart, complaining by the path of the field at fault."""

    path: Path
    content: bytes

    def manifest(self, data: Any) -> Manifest:
        if not isinstance(data, dict):
            raise self.error("must be a JSON object")
        if type(data.get("format")) is not int or data["format"] != FORMAT:
            raise self.error(f"format is {data.get('format')!r:.60}; this release reads format {FORMAT}")
        if self.content != with_seal(self.content.rpartition(SEAL.encode())[0]):
            raise self.error("was altered; its last line is not the seal of what it says")
        if _nests_deeper(data, DEEPEST):
            raise self.error(f"nests deeper than {DEEPEST} levels")
        problem = self.problem(self.field(data, "problem", dict))
        network = self.network(problem, self.field(data, "network", dict))
        for name, expected in _derived(problem).items():
            if not _same(data.get(name), expected):
                raise self.error(f"{name} are not those of its problem, which are {expected!s:.200}")
        files = self.files(self.field(data, "files", dict))
        manifest = Manifest(
            name=self.name(data, "name"),
            version=self.name(data, "version"),
            problem=problem,
            network=network,
            training=self.training(problem, network, self.field(data, "training", dict)),
            evaluation=self.evaluation(problem, self.field(data, "evaluation", dict), files["greedy.onnx"].sha256),
            agreement=self.agreement(self.field(data, "agreement", dict)),
            golden=self.golden(problem, self.field(data, "golden", list)),
            files=files,
            seal=data["seal"],
        )
        self.keys("the manifest", data, {*manifest.as_data(), "seal"})
        return manifest

    def problem(self, spec: dict[str, Any]) -> Problem:
        try:
            return from_spec(spec)
        except SpecError as error:
            raise self.error(f"problem: {error!s:.300}") from error

    def network(self, problem: Problem, data: dict[str, Any]) -> NetworkSpec:
        family = next((known for known in get_args(Family) if known == data.get("family")), None)
        if family is None:
            raise self.error(f"network family is {data.get('family')!r:.60}; there are {', '.join(get_args(Family))}")
        spec = NetworkSpec(
            family=family,
            encoder_units=self.units(data, "encoder_units"),
            decoder_units=self.units(data, "decoder_units"),
            parameters=self.field(data, "parameters", int),
            reversed_source=self.field(data, "reversed_source", bool),
        )
        self.keys("network", data, vars(spec))
        if family == "autoregressive" and spec.encoder_units != spec.decoder_units:
            raise self.error("decoder_units must be the encoder_units where a decoder takes over their states")
        if spec.parameters != count_parameters(problem, family, spec.encoder_units, spec.decoder_units):
            raise self.error(f"parameters are {spec.parameters!r:.60}, which layers of those units do not have")
        return spec

    def training(self, problem: Problem, network: NetworkSpec, data: dict[str, Any]) -> dict[str, Any]:
        """A record that is read by people; its recipe must be one for this problem and network."""
        recipe = self.field(data, "recipe", dict)
        made = {
            "problem": problem.spec(),
            "family": network.family,
            "encoder_units": list(network.encoder_units),
            "decoder_units": list(network.decoder_units),
        }
        for key, expected in made.items():
            if not _same(recipe.get(key), expected):
                raise self.error(f"{key} is {expected!s:.200}, but the recipe in training has {recipe.get(key)!s:.200}")
        return data

    def units(self, data: dict[str, Any], key: str) -> tuple[int, ...]:
        units = self.field(data, key, list)
        if not units or not all(type(unit) is int and unit > 0 for unit in units):
            raise self.error(f"{key} must be a list of positive integers, not {units!r:.60}")
        return tuple(units)

    def evaluation(self, problem: Problem, data: dict[str, Any], graph: str) -> Proof:
        """Figures that can all be true at once."""
        kinds = get_type_hints(Proof) | {"batch_sizes": list}
        kinds.pop("weakest")
        found = {key: self.field(data, key, kind) for key, kind in kinds.items()}
        sizes = found["batch_sizes"]
        if not sizes or not all(type(size) is int and size > 0 for size in sizes):
            raise self.error(f"batch_sizes must be a list of positive integers, not {sizes!r:.60}")
        proof = Proof(**found | {"batch_sizes": tuple(sizes), "weakest": data.get("weakest")})
        self.keys("evaluation", data, proof.as_data())
        self.request(problem, "evaluation's weakest request", proof.weakest)
        decided = proof.by_enumeration + proof.by_bounds
        seen = decided + proof.tried
        fits = (
            min(proof.by_enumeration, proof.by_bounds, proof.tried, proof.held_out_wrong) >= 0
            and proof.domain == oracle(problem).domain_size >= decided
            and 0 in (decided, proof.tried)
            and proof.held_out_wrong <= proof.wrong <= seen
            and proof.held_out_wrong <= proof.held_out <= seen
            and proof.wrong - proof.held_out_wrong <= seen - proof.held_out
            and proof.least_margin <= proof.weakest_margin
            and (not proof.wrong or proof.least_margin <= 0)
            and proof.largest_difference >= 0
            and proof.graph == graph
        )
        if not fits or data.get("sentence") != proof.sentence:
            raise self.error(f"evaluation contradicts itself, its problem or its graph: {data!s:.600}")
        return proof

    def agreement(self, data: dict[str, Any]) -> dict[str, Any]:
        self.keys("agreement", data, AGREEMENTS)
        for name in AGREEMENTS:
            each = self.field(data, name, dict)
            self.keys(name, each, ("compared", "agreed", "largest_difference"))
            compared, agreed = self.field(each, "compared", int), self.field(each, "agreed", int)
            if not (0 <= agreed <= compared and 0 <= self.field(each, "largest_difference", float) <= 1):
                raise self.error(f"agreement contradicts itself: {name} is {each!s:.200}")
        return data

    def golden(self, problem: Problem, data: list[Any]) -> tuple[Golden, ...]:
        if not data:
            raise self.error("golden is empty; a bundle without golden examples shows nothing of its network")
        return tuple(self.example(problem, item) for item in data)

    def example(self, problem: Problem, data: Any) -> Golden:
        if not isinstance(data, dict) or set(data) != {"request", "decoded", "confidence"}:
            raise self.error("a golden example has request, decoded and confidence")
        request, decoded = data["request"], data["decoded"]
        self.request(problem, "golden example", request)
        text = problem.target_vocabulary.is_text
        if type(decoded) is not (str if text else list) or not (text or all(type(item) is int for item in decoded)):
            raise self.error(f"golden example {request!r:.60} gives {decoded!r:.60}, which no network would write")
        confidence = self.field(data, "confidence", float)
        if not 0 <= confidence <= 1:
            raise self.error(f"golden example {request!r:.60} has a confidence of {confidence}; it is from 0 to 1")
        return Golden(request, decoded, confidence)

    def request(self, problem: Problem, what: str, value: Any) -> None:
        try:
            problem.parse(value)
        except RuleBroken as error:
            raise self.error(f"{what} {value!r:.60} is no request: {error}") from error

    def files(self, data: dict[str, Any]) -> dict[str, FileEntry]:
        if missing := set(GRAPHS) - set(data):
            raise self.error(f"files lacks {min(missing)}; a bundle holds {', '.join(GRAPHS)}")
        for name in data:
            if not PLAIN_PATH.fullmatch(name) or name == MANIFEST:
                raise self.error(f"files names {name!r:.60}, which is not a plain path inside the bundle")
        return {name: self.entry(name, entry) for name, entry in data.items()}

    def entry(self, name: str, data: Any) -> FileEntry:
        entry = FileEntry(self.field(data, "sha256", str), self.field(data, "size", int))
        self.keys(name, data, vars(entry))
        if not SHA_256.fullmatch(entry.sha256):
            raise self.error(f"sha256 of {name} is {entry.sha256!r:.80}; it is 64 hexadecimal digits")
        if not 0 <= entry.size <= MOST_FILE_BYTES:
            raise self.error(f"size of {name} is {entry.size!r:.60}; it is from 0 to {MOST_FILE_BYTES:,} bytes")
        return entry

    def name(self, data: dict[str, Any], key: str) -> str:
        name = self.field(data, key, str)
        if not PLAIN_NAME.fullmatch(name):
            raise self.error(f"{key} is {name!r:.60}; it may hold letters, digits, '-', '_' and '.' only")
        return name

    def keys(self, what: str, data: Mapping[str, Any], expected: Iterable[str]) -> None:
        if unknown := set(data) - set(expected):
            raise self.error(f"{what} has {min(unknown)!r:.60}, which format {FORMAT} does not know")

    def field(self, data: Any, key: str, kind: type[T]) -> T:
        value = data.get(key) if isinstance(data, dict) else None
        if type(value) is not kind:
            raise self.error(f"{key} must be {kind.__name__}, not {value!r:.60}")
        return value

    def error(self, message: str) -> BundleError:
        return BundleError(self.path, message)


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
        raise ValueError(f"{text:.60} is no number that JSON has")
    return value


def _nests_deeper(data: Any, levels: int) -> bool:
    if not isinstance(data, dict | list):
        return False
    within = data.values() if isinstance(data, dict) else data
    return levels == 0 or any(_nests_deeper(each, levels - 1) for each in within)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same in JSON, where 1 is neither 1.0 nor true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


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


def _digest(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
