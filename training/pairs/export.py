"""Export of networks for pairs, in half precision: proven over a whole domain, or calibrated and with error rates.

Every graph is read back from its file before it is judged.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Container, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from seq2seq.bundle import Bundle, BundleError, Golden, Manifest
from seq2seq.evidence import UNKNOWN, ErrorRates
from seq2seq.problems.pairs import PADDING_ID, Pairs
from seq2seq.proving import listed
from seq2seq.proving.running import Logits, Mistake
from seq2seq.runtimes import keras as keras_runtime
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import FloatArray, IdArray
from training import data
from training.environment import versions
from training.pairs import graphs, networks, scoring
from training.pairs.files import Reading, Text, sha256_of
from training.pairs.fitting import PairsFit, Ragged, Targets, served
from training.pairs.recipes import PairsRecipe
from training.pairs.scoring import Score
from training.progress import Progress

GOLDEN_EXAMPLES = 64
CALIBRATED = 5_000
"""So many sources are enough to fit the temperature."""
BATCH_SIZES = (1, 7, 64)
"""Each source is asked in batches of these sizes; an answer must not depend on it."""
WEIGHTS = "model.weights.h5"
"""Where Keras keeps weights in its archive."""


def draft(recipe: PairsRecipe, fit: PairsFit, reading: Reading, *, version: str) -> Manifest:
    """The manifest of a finished run, without evidence."""
    training = {
        "recipe": recipe.as_data(),
        "reading": reading.as_data(),
        "samples": fit.samples,
        "seconds": round(fit.seconds, 1),
        "best_round": fit.best_round,
        "history": {key: [round(value, 6) for value in values] for key, values in fit.history.items()},
        **versions(),
    }
    return Manifest(recipe.name, version, recipe.problem, fit.spec, training, UNKNOWN, {}, (), {})


def calibrate(problem: Pairs, fit: PairsFit, validation: Targets) -> float:
    """Divide the logits by the temperature at which validation's confidence fits best; it is returned.

    The last layer's weights take it in, so no graph has to do anything for it. In hard attention these are the logits
    that each source token gives, so a few answers change.
    """
    few = dict(islice(validation.items(), 0, None, -(-len(validation) // CALIBRATED)))
    score = scoring.score(problem, served(problem, fit.spec, fit.layers), few)
    sources = Ragged(problem.source_ids(source) for source in score.sources)
    answers = Ragged(problem.target_ids(answer)[: problem.target_length] for answer in score.answers)

    def batches() -> Iterator[tuple[npt.NDArray[np.float32], IdArray]]:
        for start in range(0, len(score.sources), BATCH_SIZES[-1]):
            places = np.arange(start, min(start + BATCH_SIZES[-1], len(score.sources)))
            ids = answers.padded(places)
            told = [sources.padded(places), data.shifted(ids, PADDING_ID)]
            yield fit.layers.training.predict_on_batch(told), ids

    temperature = round(scoring.temperature(batches(), score.wrong), 3)
    layer = fit.layers.logits
    layer.set_weights(graphs.rounded([weight / temperature for weight in layer.get_weights()]))
    return temperature


def write(draft: Manifest, layers: networks.Layers, directory: Path) -> None:
    """Write a bundle's graphs into a new folder."""
    directory.mkdir()
    for model in layers.inference:
        model.save(directory / f"{model.name}.keras")
        _halve(directory / f"{model.name}.keras")
    assert isinstance(draft.problem, Pairs)  # noqa: S101
    for name, graph in graphs.build(draft.problem, draft.network, layers).items():
        onnx.save(graph, directory / name)


def prove(
    draft: Manifest, directory: Path, targets: Targets, trained_on: Container[Text]
) -> tuple[Manifest, list[Mistake]]:
    """The manifest with what is known of a whole domain, and the agreement of all networks. Raises `BundleError`."""
    files, problem = Bundle(directory, draft), draft.problem
    assert isinstance(problem, Pairs)  # noqa: S101
    progress = Progress(f"proving {draft.name} {draft.version}")
    outcome = listed.prove(
        files,
        targets,
        trained_on,
        networks={"keras": keras_runtime.load(files), "separate_graphs": onnx_runtime.load_parts(files)},
        logits={"the training model": training_logits(networks.load(files))},
        progress=progress,
    )
    progress.close()
    spread = sorted(targets)[:: -(-len(targets) // GOLDEN_EXAMPLES)]
    score = scoring.score(problem, onnx_runtime.load(files), {source: targets[source] for source in spread})
    agreement = {name: vars(each) for name, each in outcome.agreements.items()}
    proven = replace(draft, evaluation=outcome.proof, agreement=agreement, golden=_golden(problem, score))
    return proven, outcome.mistakes


def training_logits(layers: networks.Layers) -> Logits:
    """The logits of the training model, which is told the true symbols before each place."""

    def logits(sources: IdArray, targets: IdArray) -> FloatArray:
        told = [sources, data.shifted(targets, PADDING_ID)]
        found: FloatArray = layers.training.predict(told, batch_size=1_024, verbose=0)
        return found

    return logits


def evaluate(
    draft: Manifest, directory: Path, test: Targets, *, temperature: float, uncalibrated: float
) -> tuple[Manifest, Score]:
    """The manifest with error rates on the test split, and the agreement of all networks.

    Raises `BundleError` if an answer depends on the size of its batch.
    """
    files = Bundle(directory, draft)
    problem = draft.problem
    assert isinstance(problem, Pairs)  # noqa: S101
    network = onnx_runtime.load(files)
    *others, score = (scoring.score(problem, network, test, batch) for batch in BATCH_SIZES)
    for size, other in zip(BATCH_SIZES, others, strict=False):
        for source, one, two in zip(score.sources, score.answers, other.answers, strict=True):
            if one != two:
                shown = problem.input.value(source)
                raise BundleError(
                    directory,
                    f"{shown!r} is answered with {problem.render(one)!r} in batches of 64, and with"
                    f" {problem.render(two)!r} in those of {size}; try another --seed",
                )
    agreement = {
        "keras": vars(scoring.agreement(problem, network, keras_runtime.load(files), test)),
        "separate_graphs": vars(scoring.agreement(problem, network, onnx_runtime.load_parts(files), test)),
    }
    rates = ErrorRates(
        **score.rates(),
        temperature=float(temperature),
        uncalibrated_error=round(uncalibrated, 6),
        batch_sizes=BATCH_SIZES,
        pairs=sha256_of(test),
        graph=hashlib.sha256((directory / "greedy.onnx").read_bytes()).hexdigest(),
        runtime=f"ONNX Runtime {ort.__version__}",
    )
    return replace(draft, evaluation=rates, agreement=agreement, golden=_golden(problem, score)), score


def _golden(problem: Pairs, score: Score) -> tuple[Golden, ...]:
    """Sources spread over the test split, with what was written for them."""
    places = np.unique(np.linspace(0, len(score.sources) - 1, GOLDEN_EXAMPLES).astype(int))
    return tuple(
        Golden(
            problem.input.value(score.sources[place]),
            list(score.answers[place]),
            min(round(float(score.confidence[place]), 6), 1.0),
        )
        for place in places
    )


def _halve(path: Path) -> None:
    """Hold the weights of a Keras file in half precision; whoever reads it gets them as they were rounded before."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    written = io.BytesIO()
    with h5py.File(io.BytesIO(files[WEIGHTS]), "r") as held, h5py.File(written, "w") as smaller:
        _copy(held, smaller)
    files[WEIGHTS] = written.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in files.items():
            archive.writestr(zipfile.ZipInfo(name), each)


def _copy(held: Any, smaller: Any) -> None:
    """Groups and their attributes as they are, floating-point arrays in half precision."""
    for name, value in held.attrs.items():
        smaller.attrs[name] = value
    for name, item in held.items():
        if isinstance(item, h5py.Dataset):
            array = item[()]
            smaller.create_dataset(name, data=array.astype(np.float16) if array.dtype.kind == "f" else array)
        else:
            _copy(item, smaller.create_group(name))
