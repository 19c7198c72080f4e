"""The bundle format: what a manifest says, and what a bundle must hold.

Knows nothing of files, nor of how a network is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.decoding import Family
from seq2seq.evidence import Proof
from seq2seq.problem import Problem

FORMAT = 3
MANIFEST = "manifest.json"
GRAPHS = ("training.keras", "encoder.keras", "decoder.keras", "encoder.onnx", "decoder.onnx", "greedy.onnx")
"""What every bundle must hold beside its manifest."""

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

    `reversed_source` says whether the encoder reads the source's last place first.
    """

    family: Family
    encoder_units: tuple[int, ...]
    decoder_units: tuple[int, ...]
    parameters: int
    reversed_source: bool = False

    @property
    def state_units(self) -> list[int]:
        """The units of each state that the encoder hands to the decoder."""
        if self.family == "repeat_vector":
            return [self.encoder_units[-1]]
        return [units for units in self.encoder_units for _ in ("h", "c")]


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
    evaluation: Proof
    agreement: dict[str, Any]
    golden: tuple[Golden, ...]
    files: dict[str, FileEntry]
    seal: str = field(default="", compare=False)

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


def derived(problem: Problem) -> dict[str, Any]:
    """What a manifest says of its problem beside the spec: vocabularies and lengths, for readers."""
    return {
        "vocabularies": {
            "source": problem.source_vocabulary.as_data(),
            "target": problem.target_vocabulary.as_data(),
        },
        "lengths": {"source": problem.source_length, "target": problem.target_length},
    }
