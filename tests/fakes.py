"""Models for tests of the service, written by hand: their networks know the truth, so no file is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.registry import Model
from seq2seq import bundle as bundles
from seq2seq.bundle import Bundle, Golden, Manifest, NetworkSpec
from seq2seq.decoding import RepeatVector, States
from seq2seq.problem import Problem
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from seq2seq.vocabulary import FloatArray, IdArray

ADDITION = Addition(2, 3, 99, "term")
REVERSAL = Reversal(6, 6, 50, 3)
CERTAINTY = 0.999
SEQUENCE = [20, 36, 40, 10, 34, 28]


def truthful(problem: Problem, answer: Callable[[IdArray], IdArray] | None = None) -> RepeatVector:
    """A network that gives `answer`, or the truth, each symbol with the probability `CERTAINTY`."""

    def encode(sources: IdArray) -> States:
        return [sources.astype(np.float32)]

    def decode(states: States) -> FloatArray:
        targets = (answer or problem.answer)(states[0].astype(np.int32))  # (B, T)
        return np.float32(CERTAINTY) * problem.target_vocabulary.one_hot(targets)  # (B, T, V)

    return RepeatVector(encode, decode)


def manifest(problem: Problem, name: str, *, version: str = "1", golden: tuple[Golden, ...] = ()) -> Manifest:
    """The manifest of a network that was never fitted."""
    return Manifest(
        name=name,
        version=version,
        problem=problem,
        network=NetworkSpec("repeat_vector", (problem.source_length,), (8,), 1234),
        training={},
        evaluation={"right": 10, "of": 10},
        agreement={"differing": 0},
        golden=golden,
        files={},
    )


def addition_manifest(version: str = "1") -> Manifest:
    return manifest(ADDITION, "addition", version=version, golden=(Golden("10+6", "16", CERTAINTY**3),))


def reversal_manifest(version: str = "1") -> Manifest:
    return manifest(REVERSAL, "reversal", version=version, golden=(Golden(SEQUENCE, [40, 36, 20], CERTAINTY**3),))


def models() -> dict[str, Model]:
    """Both models that the routes need."""
    return {
        "addition": Model(addition_manifest(), truthful(ADDITION)),
        "reversal": Model(reversal_manifest(), truthful(REVERSAL)),
    }


def load(bundle: Bundle) -> RepeatVector:
    """What stands for a runtime: a truthful network for whatever bundle."""
    return truthful(bundle.manifest.problem)


def write_bundle(models_dir: Path, manifest: Manifest) -> Path:
    """A bundle whose files are whole but hold no network."""
    directory = models_dir / manifest.name / manifest.version
    directory.mkdir(parents=True)
    for name in bundles.GRAPHS:
        (directory / name).write_bytes(name.encode("ascii"))
    bundles.seal(directory, manifest)
    return directory
