"""Models for tests of the service, written by hand: their networks know the truth, so no file is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.serving import models as registry
from app.serving.counters import ModelMeasures
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.serving.repository import Repository
from app.serving.trial import Outcome, attempt
from seq2seq import bundle as bundles
from seq2seq.bundle import Bundle, Golden, Manifest, NetworkSpec
from seq2seq.decoding import RepeatVector, wire
from seq2seq.evidence import UNKNOWN, Proof
from seq2seq.problem import Oracle, oracle
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from seq2seq.vocabulary import FloatArray, IdArray

ADDITION = Addition(2, 3, 99, "term")
REVERSAL = Reversal(6, 6, 50, 3)
CERTAINTY = 0.999
SEQUENCE = [20, 36, 40, 10, 34, 28]


def truthful(problem: Oracle, answer: Callable[[IdArray], IdArray] | None = None) -> RepeatVector:
    """A network that gives `answer`, or the truth, each symbol with the probability `CERTAINTY`."""

    def encoder(arrays: Sequence[Any]) -> list[FloatArray]:
        state = arrays[0].astype(np.float32)  # (B, S)
        return [state[..., None], state]

    def decoder(states: Sequence[Any]) -> list[Any]:
        targets = (answer or problem.answer)(states[0].astype(np.int32))  # (B, T)
        return [np.float32(CERTAINTY) * problem.target_vocabulary.one_hot(targets), targets[..., None]]  # (B, T, V)

    network = wire(problem, "repeat_vector", encoder, decoder)
    assert isinstance(network, RepeatVector)
    return network


def manifest(problem: Oracle, name: str, *, version: str = "1", golden: tuple[Golden, ...] = ()) -> Manifest:
    """The manifest of a network that was never fitted, with what a proof of a truthful one would say."""
    encoder, decoder = units = (problem.source_length,), (8,)
    recipe = {"family": "repeat_vector", "encoder_units": list(encoder), "decoder_units": list(decoder)}
    agreement = {"compared": 5, "agreed": 5, "largest_difference": 0.0}
    return Manifest(
        name=name,
        version=version,
        problem=problem,
        network=NetworkSpec("repeat_vector", *units, bundles.count_parameters(problem, "repeat_vector", *units)),
        training={"recipe": {**recipe, "problem": problem.spec()}},
        evaluation=proof(problem),
        agreement=dict.fromkeys(bundles.AGREEMENTS, agreement),
        golden=golden or (_example(problem),),
        files={},
    )


def proof(problem: Oracle) -> Proof:
    """What is known of a truthful network."""
    weakest = problem.requests(problem.sample_sources(np.random.default_rng(0), 1))[0]
    return replace(
        UNKNOWN, domain=problem.domain_size, by_enumeration=problem.domain_size, least_margin=3.0, weakest=weakest,
        weakest_margin=4.0, runtime="by hand", graph=hashlib.sha256(b"greedy.onnx").hexdigest(),
    )  # fmt: skip


def _example(problem: Oracle) -> Golden:
    sources = problem.sample_sources(np.random.default_rng(0), 1)
    answer = problem.decode(problem.answer(sources))[0]
    return Golden(problem.requests(sources)[0], answer, CERTAINTY**problem.target_length)


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


def predictor(model: Model, measures: ModelMeasures | None = None) -> Predictor:
    return Predictor(model, 8, measures=measures)


def repository(
    *models: Model,
    models_dir: Path = Path("models"),
    serve: Callable[[Model, ModelMeasures], Predictor] = predictor,
    still_s: float = 0,
    **options: Any,
) -> Repository:
    """A repository that serves these models, and loads others as truthful networks."""

    def load_model(directory: Path) -> Model:
        return registry.load_model(directory, load, batch_size=4)

    made = Repository(models_dir, Trial(load_model), load_model, serve, still_s=still_s, **options)
    for model in models:
        made.put(model)
    return made


class Trial:
    """A trial in this process."""

    def __init__(self, load_model: Callable[[Path], Model]):
        self._load_model = load_model

    def __call__(self, paths: Sequence[Path], seconds: float | None = None) -> list[Outcome]:  # noqa: ARG002
        return [attempt(partial(self._load_model, path)) for path in paths]

    def end(self) -> None:
        pass


def load(bundle: Bundle) -> RepeatVector:
    """What stands for a runtime: a truthful network for whatever bundle."""
    return truthful(oracle(bundle.manifest.problem))


def write_bundle(models_dir: Path, manifest: Manifest) -> Path:
    """A bundle whose files are whole but hold no network."""
    directory = models_dir / manifest.name / manifest.version
    directory.mkdir(parents=True)
    for name in bundles.GRAPHS:
        (directory / name).write_bytes(name.encode("ascii"))
    bundles.seal(directory, manifest)
    return directory
