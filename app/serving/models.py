"""Models: reads their bundles, trusts none unchecked, and runs them.

Knows nothing of HTTP or batching. A bundle that is missing, altered or not what it says raises `BundleError`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from math import inf
from pathlib import Path
from time import thread_time
from typing import Any, NamedTuple

import numpy as np

from app.serving import runtime
from app.serving.runtime import Loader
from seq2seq import bundle as bundles
from seq2seq.bundle import BundleError, Manifest
from seq2seq.decoding import Decoded, Network, Search, Trace, Tracer
from seq2seq.problem import Oracle, Problem
from seq2seq.vocabulary import FloatArray, IdArray, Symbols

logger = logging.getLogger("app")

CONFIDENCE_DECIMALS = 6

MOST_ALTERNATIVES = 10
"""How many answers a search keeps, however few of them are asked for, so that they do not depend on that."""

GROUP = 16
"""How many sources a large network reads at once.

Past 8 its time grows with their number, and a group takes as long as its longest source: of 64 words of 3 to 12 letters
those sorted by length and in groups of 16 took 16 ms, and all at once 19 ms.
"""

TIMED = 3
"""How many runs must take too long. The first may find cold caches."""


class Prediction(NamedTuple):
    """What a model wrote, the values of the problem's outputs, in their order, and how sure the model was.

    `alternatives` are the likeliest answers that a search found, best first, where one was asked for.
    """

    written: Symbols
    values: tuple[Any, ...]
    confidence: float
    alternatives: tuple[Prediction, ...] = ()


class Explanation(NamedTuple):
    """A prediction, the source's ids in the order in which the network reads them (S,), and what it computed."""

    prediction: Prediction
    source: IdArray
    trace: Trace


@dataclass(frozen=True)
class ModelReference:
    """The model that answered."""

    name: str
    version: str


Answer = tuple[Symbols, Prediction]
"""A request in its canonical form, and the model's prediction."""


@dataclass(frozen=True)
class Model:
    """A bundle's network, loaded.

    search    finds the likeliest answers, in families that can
    is_large  whether a batch takes so long that it must not run on the event loop
    """

    manifest: Manifest
    network: Network
    search: Search | None = None
    is_large: bool = False

    @property
    def problem(self) -> Problem:
        return self.manifest.problem

    @property
    def reference(self) -> ModelReference:
        return ModelReference(self.manifest.name, self.manifest.version)

    def predict(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """What `problem.parse` gave, n of them → n predictions."""
        return self.predictions(self.network.greedy(self.problem.encode(sources)))

    def predictions(self, decoded: Decoded) -> list[Prediction]:
        """What a network gave for n sources → n predictions."""
        return self._predictions(self.problem.decode(decoded.ids), decoded.confidence)

    def alternatives(self, ids: IdArray, probabilities: FloatArray) -> list[tuple[Prediction, ...]]:
        """What a search gave for n sources → the answers that it found for each, best first."""
        batch, width, length = ids.shape
        written = self.problem.decode(ids.reshape(batch * width, length))
        found = self._predictions(written, probabilities.reshape(-1).tolist())
        rows = (found[place * width : (place + 1) * width] for place in range(batch))
        return [tuple(each for each in row if each.confidence > 0) for row in rows]

    @property
    def tracer(self) -> Tracer | None:
        """What shows how the network comes to its answers. It may have to be loaded, so ask on a thread."""
        return getattr(self.network, "tracer", None)

    def explain(self, source: Symbols, prefix: Sequence[int] = (), *, is_searched: bool = False) -> Explanation | None:
        """What `problem.parse` gave, and the ids with which the answer begins → the prediction and what led to it.

        Without a prefix it is what `predict` gives. Given symbols count as certain. None if the bundle's graphs do not
        show all that. A prefix may have `problem.target_length` ids. Alternatives come with it if they are searched.
        """
        ids = self.problem.encode([source])  # (1, S)
        decoded = self.network.greedy(ids)
        trace = self.tracer.trace(ids, prefix or decoded.ids[0].tolist()) if self.tracer else None
        if trace is None:
            return None
        if prefix:
            written = [each.symbol for each in trace.steps]
            likely = [1.0] * len(prefix) + [each.probability for each in trace.steps[len(prefix) :]]
            decoded = Decoded(np.array([written], dtype=np.int32), np.array([likely], dtype=np.float32))
        (prediction,) = self.predictions(decoded)
        if is_searched and self.search is not None:
            (others,) = self.alternatives(*self.search(ids, MOST_ALTERNATIVES, prefix))
            prediction = prediction._replace(alternatives=others)
        return Explanation(prediction, ids[0, ::-1] if self.manifest.network.reversed_source else ids[0], trace)

    @property
    def examples(self) -> list[Answer]:
        """The golden examples: requests, and what the model is known to answer."""
        golden = self.manifest.golden
        predictions = self._predictions([each.decoded for each in golden], [each.confidence for each in golden])
        return [(self.problem.parse(each.request), found) for each, found in zip(golden, predictions, strict=True)]

    def _predictions(self, written: Sequence[Symbols], confidences: Sequence[float]) -> list[Prediction]:
        columns = [map(output.value, written) for output in self.problem.outputs]
        rounded = [min(round(each, CONFIDENCE_DECIMALS), 1.0) for each in confidences]
        return [*starmap(Prediction, zip(written, zip(*columns, strict=True), rounded, strict=True))]

    def warm_up(self, size: int, most_seconds: float = inf) -> Model:
        """Predict alone and in batches, so that no client waits for what is made on first use.

        Returns the same model, large if that takes longer. Sources are as long as any that the model reads.
        """
        ids = self.problem.encode([self.problem.parse(self.manifest.golden[0].request)])  # (1, S)
        if self.search is not None:
            self.search(ids, MOST_ALTERNATIVES)
        for n in sorted({1, min(GROUP, size), size}):
            longest = np.resize(ids, (n, self.problem.source_length))
            if all(_seconds(self.network, longest) > most_seconds for _ in range(TIMED)):
                return replace(self, is_large=True)
        return self


def _seconds(network: Network, ids: IdArray) -> float:
    """How much processor time of this thread an answer takes; a trial may run beside it, on the same processor."""
    began = thread_time()
    network.greedy(ids)
    return thread_time() - began


def load_model(
    directory: Path,
    loader: Loader,
    *,
    batch_size: int,
    loop_s: float = inf,
    is_tried: bool = False,
    prove: bool = False,
) -> Model:
    """Read a bundle, check it in full, load its network and warm it up. It is large if a batch takes over `loop_s`.

    A network that `is_tried` has given its answers already, and is not asked for them again: a quarter of the time that
    `pronunciation` takes. `prove` has the whole proof made anew, where the truth can be computed. Raises `BundleError`.
    """
    manifest = bundles.read_manifest(directory)
    bundles.check_identity(directory, manifest)
    bundle = bundles.check_files(directory, manifest)
    bundles.check_evidence(bundle)
    try:
        model = Model(bundle.manifest, loader(bundle))
        if not is_tried:
            bundles.check_golden(bundle, model.network)
            bundles.check_answers(bundle, model.network)
        if prove and isinstance(manifest.problem, Oracle):
            _prove(bundle)
        model = replace(model, search=runtime.search(bundle, model.network)).warm_up(batch_size, loop_s)
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
