"""The bundle format: what a manifest says, and what a bundle must hold.

Knows nothing of files, nor of how a network is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.decoding import VARYING, Family
from seq2seq.evidence import Evidence, Proof
from seq2seq.problem import Problem

FORMAT = 3
MANIFEST = "manifest.json"
GRAPHS = ("training.keras", "encoder.keras", "decoder.keras", "encoder.onnx", "decoder.onnx", "greedy.onnx")
"""What a bundle holds beside its manifest."""

AGREEMENTS = ("keras", "separate_graphs")
"""What the graph that is served was compared with."""

MOST_MANIFEST_BYTES = 4_000_000
MOST_FILE_BYTES = 2**31 - 1
"""ONNX allows no larger file either."""

LONGEST_MESSAGE = 500
"""What a runtime says of a damaged graph may hold pieces of it, of any length."""

SEAL = ',\n  "seal": "'
"""What stands in a manifest between all that it says and the SHA-256 of that."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
PLAIN_PATH = re.compile(rf"{PLAIN_NAME.pattern}(?:/{PLAIN_NAME.pattern}){{0,3}}")
SHA_256 = re.compile("[0-9a-f]{64}")


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

    reversed_source  whether the encoder reads the source's last place first
    embedding_units  of the symbols on both sides, in families for any length; the others read one-hot vectors
    """

    family: Family
    encoder_units: tuple[int, ...]
    decoder_units: tuple[int, ...]
    parameters: int
    reversed_source: bool = False
    embedding_units: int = 0

    @property
    def state_units(self) -> list[int]:
        """The units of each state that the encoder hands to the decoder."""
        if self.family == "repeat_vector":
            return [self.encoder_units[-1]]
        return [units for units in self.decoder_units for _ in ("h", "c")]


@dataclass(frozen=True)
class FileEntry:
    """A file as it was when the bundle was sealed."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Golden:
    """A request and what the network answered when it was sealed. It must always give the same answer."""

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
    evaluation: Evidence
    agreement: dict[str, Any]
    golden: tuple[Golden, ...]
    files: dict[str, FileEntry]
    seal: str = field(default="", compare=False)

    @property
    def proof(self) -> Proof:
        """The evaluation of a network that is proven, or was to be. Raises `TypeError` for error rates."""
        if not isinstance(self.evaluation, Proof):
            raise TypeError(f"{self.name} {self.version} has error rates, and no proof")
        return self.evaluation

    def as_data(self) -> dict[str, Any]:
        """The manifest as it stands in the file, vocabularies and lengths written out."""
        units = {side: list(getattr(self.network, side)) for side in ("encoder_units", "decoder_units")}
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "problem": self.problem.spec(),
            **derived(self.problem),
            "network": {**vars(self.network), **units},
            "training": self.training,
            "evaluation": self.evaluation.as_data(),
            "agreement": self.agreement,
            "golden": [vars(example) for example in self.golden],
            "files": {name: vars(entry) for name, entry in self.files.items()},
        }


def count_parameters(
    problem: Problem, family: Family, encoder: Sequence[int], decoder: Sequence[int], embedding: int = 0
) -> int:
    """The parameters of a network with layers of so many units, over one-hot symbols or over embeddings."""
    source, target = len(problem.source_vocabulary), len(problem.target_vocabulary)
    if family not in VARYING:
        count, inputs = _count_layers(encoder, source)
        more, inputs = _count_layers(decoder, inputs if family == "repeat_vector" else target)
        return count + more + (inputs + 1) * target
    count, memory = (source + target) * embedding, embedding
    for units in encoder:  # in both directions
        count += 2 * _count_layers([units], memory)[0]
        memory = 2 * units
    more, last = _count_layers(decoder, embedding)
    count += more + 2 * sum((memory + 1) * units for units in decoder) + (last + 1) * target
    return count + (last * memory + (last + memory + 1) * last if family != "plain" else 0)


def _count_layers(layers: Iterable[int], inputs: int) -> tuple[int, int]:
    """The parameters of LSTMs on top of each other, and the units of the last one."""
    count = 0
    for units in layers:
        count += 4 * units * (inputs + units + 1)
        inputs = units
    return count, inputs


def graphs_of(family: Family) -> tuple[str, ...]:
    """The files that a bundle of a family must hold.

    In families for any length encoder and decoder have all layers; the training model would only double the bundle.
    """
    return GRAPHS[1:] if family in VARYING else GRAPHS


def derived(problem: Problem) -> dict[str, Any]:
    """What a manifest says of its problem beside the spec: vocabularies and lengths, for readers."""
    return {
        "vocabularies": {
            "source": problem.source_vocabulary.as_data(),
            "target": problem.target_vocabulary.as_data(),
        },
        "lengths": {"source": problem.source_length, "target": problem.target_length},
    }
