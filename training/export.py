"""Export: trained models into a bundle, as `.keras` and as `.onnx`, proven over the domain before it is sealed.

Knows nothing of fitting; it takes what a fit gave. Every graph is read back from its file before it is judged.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf

from seq2seq import bundle
from seq2seq.bundle import Bundle, Golden, Manifest, NetworkSpec
from seq2seq.evidence import UNKNOWN
from seq2seq.problem import Problem, oracle
from seq2seq.proving import proof
from seq2seq.proving.running import Logits, Mistake
from seq2seq.runtimes import keras as keras_runtime
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import FloatArray, IdArray
from training import data, fused, networks, report, verifying
from training.environment import versions
from training.fitting import Fit
from training.progress import Progress
from training.recipes import Recipe

GOLDEN_EXAMPLES = 8


def draft(recipe: Recipe, fit: Fit, *, name: str, version: str) -> Manifest:
    """The manifest of a finished run, without evidence."""
    training = {
        "recipe": recipe.as_data(),
        "samples": fit.samples,
        "seconds": round(fit.seconds, 1),
        "validation_seen": fit.validation_seen,
        "history": {key: [round(value, 6) for value in values] for key, values in fit.history.items()},
        **versions(),
    }
    return Manifest(name, version, recipe.problem, fit.spec, training, UNKNOWN, {}, (), {})


def write(draft: Manifest, weights: list[Any], directory: Path) -> tuple[Manifest, list[Mistake]]:
    """Write and prove a bundle's graphs in a new folder: the manifest with its evidence, and mistakes that were found.

    The bundle still has to be sealed.
    """
    directory.mkdir()
    export(draft.problem, draft.network, weights, directory)
    progress = Progress(f"proving {draft.name} {draft.version}")
    proven = prove(replace(draft, golden=(), files={}), directory, progress)
    progress.close()
    return proven


def seal(manifest: Manifest, directory: Path) -> None:
    """Write report and manifest; what is written is read back before it counts."""
    report.write(manifest, directory / "report")
    bundle.seal(directory, manifest)
    loaded = bundle.read(directory)
    verifying.check_weights(loaded)
    bundle.check_golden(loaded, onnx_runtime.load(loaded))


def weights_of(loaded: Bundle) -> list[Any]:
    """The weights of a bundle's training model, from the bytes that were sealed."""
    weights: list[Any] = keras_runtime.load_model(loaded, "training.keras").get_weights()
    return weights


def export(problem: Problem, spec: NetworkSpec, weights: list[Any], directory: Path) -> None:
    """Write the graphs. The weights go into models built without unrolling, which are small and plain."""
    models = networks.build(problem, spec)
    models.training.set_weights(weights)
    for name in ("training", "encoder", "decoder"):
        getattr(models, name).save(directory / f"{name}.keras")
    states = [f"state_{place}" for place in range(len(spec.state_units))]
    more = [f"next_{name}" for name in states] if spec.family == "autoregressive" else ["outputs"]
    _export_onnx(models.encoder, directory / "encoder.onnx", ["outputs", *states])
    _export_onnx(models.decoder, directory / "decoder.onnx", ["probabilities", *more])
    onnx.save(fused.build(problem, spec, models), directory / "greedy.onnx")


def _export_onnx(model: keras.Model, path: Path, outputs: list[str]) -> None:
    """Export by Keras, which needs a model that was called before, and give the outputs their names."""
    inputs = [tf.zeros([1 if size is None else size for size in tensor.shape], tensor.dtype) for tensor in model.inputs]
    model(inputs if len(inputs) > 1 else inputs[0])
    with _quiet():
        model.export(path, format="onnx", verbose=False)
    graph = onnx.load(path)
    renamed = {output.name: name for output, name in zip(graph.graph.output, outputs, strict=True)}
    for node in graph.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for output in graph.graph.output:
        output.name = renamed[output.name]
    for value, tensor in zip((*graph.graph.input, *graph.graph.output), (*model.inputs, *model.outputs), strict=True):
        shape = value.type.tensor_type.shape
        for dimension, size in zip(shape.dim, tensor.shape, strict=True):
            if size is None:
                dimension.dim_param = "batch"
            else:
                dimension.dim_value = size
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """tf2onnx logs its progress as warnings and uses a name that NumPy has deprecated."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=r"In the future `np\.object`")
        yield


def prove(draft: Manifest, directory: Path, progress: Progress) -> tuple[Manifest, list[Mistake]]:
    """Decide every request by the graphs as they were written, and compare Keras and the separate graphs with them."""
    problem, files = draft.problem, Bundle(directory, draft)
    others = {"keras": keras_runtime.load(files), "separate_graphs": onnx_runtime.load_parts(files)}
    logits = {"training.keras": keras_logits(files)}
    outcome = proof.prove(files, networks=others, logits=logits, progress=progress)
    sources = oracle(problem).sample_sources(np.random.default_rng(proof.SEED), GOLDEN_EXAMPLES)
    decoded = onnx_runtime.load(files).greedy(sources)
    golden = tuple(
        Golden(request, written, round(confidence, 6))
        for request, written, confidence in zip(
            problem.requests(sources), problem.decode(decoded.ids), decoded.confidence, strict=True
        )
    )
    agreement = {name: vars(each) for name, each in outcome.agreements.items()}
    return replace(draft, evaluation=outcome.proof, agreement=agreement, golden=golden), outcome.mistakes


def keras_logits(files: Bundle) -> Logits:
    """The logits of the saved training model, which is told the true symbols before each place."""
    model = keras_runtime.load_model(files, "training.keras")
    problem, family = files.manifest.problem, files.manifest.network.family

    def logits(sources: IdArray, targets: IdArray) -> FloatArray:
        inputs = data.inputs(problem, family, sources, targets)
        found: FloatArray = model.predict(inputs, batch_size=1_024, verbose=0)
        return found

    return logits
