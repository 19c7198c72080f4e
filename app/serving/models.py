"""Models: reads their bundles, trusts none unchecked, and runs them.

Knows nothing of HTTP or batching. A bundle that is missing, altered or not what it says raises `BundleError`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from app.serving.runtime import Loader
from seq2seq import bundle as bundles
from seq2seq.bundle import BundleError, Manifest
from seq2seq.decoding import Network
from seq2seq.problem import Oracle, Problem
from seq2seq.vocabulary import Symbols

logger = logging.getLogger("app")

CONFIDENCE_DECIMALS = 6


class Prediction(NamedTuple):
    """What a model wrote, the values of the problem's outputs, in their order, and how sure the model was."""

    written: Symbols
    values: list[Any]
    confidence: float


@dataclass(frozen=True)
class ModelReference:
    """The model that answered."""

    name: str
    version: str


Answer = tuple[Symbols, Prediction]
"""A request in its canonical form, and the model's prediction."""


@dataclass(frozen=True)
class Model:
    """A bundle's network, loaded."""

    manifest: Manifest
    network: Network

    @property
    def problem(self) -> Problem:
        return self.manifest.problem

    @property
    def reference(self) -> ModelReference:
        return ModelReference(self.manifest.name, self.manifest.version)

    def predict(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """What `problem.parse` gave, n of them → n predictions."""
        decoded = self.network.greedy(self.problem.encode(sources))
        return self._predictions(self.problem.decode(decoded.ids), decoded.confidence)

    @property
    def examples(self) -> list[Answer]:
        """The golden examples: requests, and what the model is known to answer."""
        golden = self.manifest.golden
        predictions = self._predictions([each.decoded for each in golden], [each.confidence for each in golden])
        return [(self.problem.parse(each.request), found) for each, found in zip(golden, predictions, strict=True)]

    def _predictions(self, written: Sequence[Symbols], confidences: Sequence[float]) -> list[Prediction]:
        values = [output.value for output in self.problem.outputs]
        return [
            Prediction(symbols, [value(symbols) for value in values], min(round(confidence, CONFIDENCE_DECIMALS), 1.0))
            for symbols, confidence in zip(written, confidences, strict=True)
        ]

    def warm_up(self, size: int) -> None:
        """Predict once alone and once in a batch, so that no client waits for what is made on first use."""
        example = self.problem.parse(self.manifest.golden[0].request)
        for n in (1, size):
            self.network.greedy(self.problem.encode([example] * n))


def load_model(directory: Path, loader: Loader, *, batch_size: int, prove: bool = False) -> Model:
    """Read a bundle, check it in full, load its network and warm it up.

    `prove` has the whole proof made anew, where the truth can be computed. Raises `BundleError`.
    """
    manifest = bundles.read_manifest(directory)
    bundles.check_identity(directory, manifest)
    bundle = bundles.check_files(directory, manifest)
    bundles.check_evidence(bundle)
    try:
        model = Model(bundle.manifest, loader(bundle))
        bundles.check_golden(bundle, model.network)
        bundles.check_answers(bundle, model.network)
        if prove and isinstance(manifest.problem, Oracle):
            _prove(bundle)
        model.warm_up(batch_size)
    except BundleError:
        raise
    except Exception as error:  # whatever a runtime raises for a network that loads but does not run
        raise BundleError(directory, f"its network does not run: {error}") from error
    return model


def _prove(bundle: bundles.Bundle) -> None:
    """Decide every request anew. Raises `BundleError` if one is wrong or stays undecided."""
    from seq2seq.proving import proof  # reads graphs by the onnx package, which takes a fifth of a second to load

    found = proof.prove(bundle).proof
    logger.info("proved %s %s: %s", bundle.manifest.name, bundle.manifest.version, found.sentence)
    bundles.check_evidence(replace(bundle, manifest=replace(bundle.manifest, evaluation=found)))
