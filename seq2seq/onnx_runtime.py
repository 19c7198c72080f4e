"""Runs a bundle's ONNX graphs: the network that is served by default, and that `verify` proves.

The only module of `seq2seq` that needs more than NumPy. Knows nothing of HTTP, batching or training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime as ort

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import Autoregressive, Network, RepeatVector, States
from seq2seq.vocabulary import FloatArray, IdArray


def load(bundle: Bundle, *, threads: int = 1) -> Network:
    """A network that computes with `threads` threads. Raises `BundleError` where a graph does not fit its manifest."""
    manifest = bundle.manifest
    problem, spec = manifest.problem, manifest.network
    symbols = len(problem.target_vocabulary)
    if spec.family == "repeat_vector":
        states = {"state_0": (None, spec.encoder_units[-1])}
        encoder = _Graph(bundle.path / "encoder.onnx", {"source": (None, problem.source_length)}, states, threads)
        decoder = _Graph(
            bundle.path / "decoder.onnx", states, {"probabilities": (None, problem.target_length, symbols)}, threads
        )
        return RepeatVector(lambda sources: encoder([sources]), lambda states: decoder(states)[0])

    states = {f"state_{place}": (None, spec.encoder_units[place // 2]) for place in range(2 * len(spec.encoder_units))}
    encoder = _Graph(bundle.path / "encoder.onnx", {"source": (None, problem.source_length)}, states, threads)
    decoder = _Graph(
        bundle.path / "decoder.onnx",
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

    def __call__(self, arrays: Sequence[IdArray | FloatArray]) -> list[FloatArray]:
        results: list[FloatArray] = self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        return results


def _check_signature(path: Path, side: str, actual: Sequence[ort.NodeArg], expected: Shapes) -> None:
    found = {node.name: tuple(None if i == 0 else size for i, size in enumerate(node.shape)) for node in actual}
    if found != expected:
        raise BundleError(path, f"has {side} {found}; the manifest's problem and network need {expected}")
