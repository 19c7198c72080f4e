"""Runs a bundle's ONNX graphs: the network that is served by default, and that `verify` proves.

The only module of `seq2seq` that needs more than NumPy. Knows nothing of HTTP, batching or training.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded: it would report its use

import numpy as np
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
    """A network whose greedy decoding is part of its graph, in whose arrays time comes first."""

    def __init__(self, bundle: Bundle, threads: int):
        problem = bundle.manifest.problem
        outputs = (problem.target_length, None)
        graph = _Graph(
            bundle.path / "greedy.onnx",
            {"source": (problem.source_length, None)},
            {"ids": outputs, "probabilities": outputs},
            threads,
        )
        self._graph = graph
        self._alone = _Alone(graph.session, problem.source_length, problem.target_length)

    def greedy(self, sources: IdArray) -> Decoded:
        """Source ids (B, S) → the symbols chosen, each the likeliest given those before it."""
        if len(sources) == 1 and (decoded := self._alone.greedy(sources)):
            return decoded
        ids, probabilities = self._graph([np.ascontiguousarray(sources.T)])
        return Decoded(ids.T.astype(np.int32), probabilities.T)


class _Alone:
    """The same graph for one source at a time, between arrays that are bound once.

    Handing arrays over takes as long as computing when there is but one source. The arrays can serve one caller at a
    time, so a second one, on another thread, is turned away.
    """

    def __init__(self, session: ort.InferenceSession, source_length: int, target_length: int):
        self._session = session
        self._free = threading.Lock()
        self._source = np.zeros((source_length, 1), dtype=np.int32)
        self._ids = np.zeros((target_length, 1), dtype=np.int64)
        self._probabilities = np.zeros((target_length, 1), dtype=np.float32)
        self._binding = session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, "source", self._source),
            (self._binding.bind_output, "ids", self._ids),
            (self._binding.bind_output, "probabilities", self._probabilities),
        ):
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def greedy(self, source: IdArray) -> Decoded | None:
        """Source ids (1, S) → the symbols chosen; None while another thread is being answered."""
        if not self._free.acquire(blocking=False):
            return None
        try:
            self._source[:] = source.T
            self._session.run_with_iobinding(self._binding)
            return Decoded(self._ids.T.astype(np.int32), self._probabilities.T.copy())
        finally:
            self._free.release()


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
            self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds, all derived from Exception alone
            raise BundleError(path, f"cannot be run: {error}") from error
        _check_signature(path, "inputs", self.session.get_inputs(), inputs)
        _check_signature(path, "outputs", self.session.get_outputs(), outputs)
        self._inputs = list(inputs)
        self._outputs = list(outputs)

    def __call__(self, arrays: Sequence[IdArray | FloatArray]) -> list[Any]:
        results: list[Any] = self.session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        return results


def _check_signature(path: Path, side: str, actual: Sequence[ort.NodeArg], expected: Shapes) -> None:
    found = {node.name: tuple(None if isinstance(size, str) else size for size in node.shape) for node in actual}
    if found != expected:
        raise BundleError(path, f"has {side} {found}; the manifest's problem and network need {expected}")
