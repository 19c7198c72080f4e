"""Runs a bundle's ONNX graphs: the network that is served by default, and that `verify` proves.

The only module of `seq2seq` that needs more than NumPy. Knows nothing of HTTP, batching or training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded: it would report its use

import onnxruntime as ort

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import Autoregressive, Decoded, Network, RepeatVector, States
from seq2seq.vocabulary import FloatArray, IdArray


def load(bundle: Bundle, *, threads: int = 1) -> Network:
    """The network as it is served, one graph that decodes greedily, computing with `threads` threads.

    Raises `BundleError` where a graph does not fit its manifest.
    """
    return _Greedy(bundle, threads)


def load_parts(bundle: Bundle, *, threads: int = 1) -> Network:
    """The same network as encoder and decoder apart, decoded by `seq2seq.decoding`. Raises `BundleError` likewise."""
    manifest = bundle.manifest
    problem, spec = manifest.problem, manifest.network
    symbols = len(problem.target_vocabulary)
    if spec.family == "repeat_vector":
        sizes = [spec.encoder_units[-1]]
    else:
        sizes = [units for units in spec.encoder_units for _ in ("h", "c")]
    states: Shapes = {f"state_{place}": (None, units) for place, units in enumerate(sizes)}
    encoder = _Graph(bundle.path / "encoder.onnx", {"source": (None, problem.source_length)}, states, threads)
    path = bundle.path / "decoder.onnx"
    if spec.family == "repeat_vector":
        decoder = _Graph(path, states, {"probabilities": (None, problem.target_length, symbols)}, threads)
        return RepeatVector(lambda sources: encoder([sources]), lambda states: decoder(states)[0])

    decoder = _Graph(
        path,
        {"symbol": (None, 1), **states},
        {"probabilities": (None, symbols), **{f"next_{name}": shape for name, shape in states.items()}},
        threads,
    )

    def step(previous: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, *following = decoder([previous[:, None], *states])
        return probabilities, following

    return Autoregressive(
        lambda sources: encoder([sources]), step, problem.target_length, problem.target_vocabulary.padding_id
    )


class _Greedy:
    """A network whose greedy decoding is part of its graph."""

    def __init__(self, bundle: Bundle, threads: int):
        problem = bundle.manifest.problem
        outputs = (None, problem.target_length)
        self._graph = _Graph(
            bundle.path / "greedy.onnx",
            {"source": (None, problem.source_length)},
            {"ids": outputs, "probabilities": outputs},
            threads,
        )

    def greedy(self, sources: IdArray) -> Decoded:
        """Source ids (B, S) → the symbols chosen, each the likeliest given those before it."""
        ids, probabilities = self._graph([sources])
        return Decoded(ids, probabilities)


Shapes = Mapping[str, tuple[int | None, ...]]
"""Names in order, each with its shape; None is the batch."""


class _Graph:
    """One ONNX file as a function from arrays to arrays, its signature checked when it is loaded."""

    def __init__(self, path: Path, inputs: Shapes, outputs: Shapes, threads: int):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds, all derived from Exception alone
            raise BundleError(path, f"cannot be run: {error}") from error
        _check_signature(path, "inputs", self._session.get_inputs(), inputs)
        _check_signature(path, "outputs", self._session.get_outputs(), outputs)
        self._inputs = list(inputs)
        self._outputs = list(outputs)

    def __call__(self, arrays: Sequence[IdArray | FloatArray]) -> list[Any]:
        results: list[Any] = self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        return results


def _check_signature(path: Path, side: str, actual: Sequence[ort.NodeArg], expected: Shapes) -> None:
    found = {node.name: tuple(None if i == 0 else size for i, size in enumerate(node.shape)) for node in actual}
    if found != expected:
        raise BundleError(path, f"has {side} {found}; the manifest's problem and network need {expected}")
