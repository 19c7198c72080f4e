"""Runs a bundle's ONNX graphs: the network that is served by default, and that `verify` proves.

Knows nothing of HTTP, batching or training.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seq2seq.problem import Oracle

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded: it would report its use

import numpy as np
import onnxruntime as ort

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import (
    ATTENDING,
    VARYING,
    Autoregressive,
    Decoded,
    Network,
    RepeatVector,
    Search,
    Tracer,
    wire,
)
from seq2seq.vocabulary import FloatArray, IdArray

Signature = Mapping[str, tuple[str, tuple[int | None, ...]]]
"""Names, each with its type and shape; None is the batch."""
FLOAT, INT32, INT64 = "tensor(float)", "tensor(int32)", "tensor(int64)"
EXPLAINING = ("outputs", "attention")
"""Outputs that only explain an answer. Graphs that were exported before lack them, and are served all the same."""

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""Where a graph's weights lie if not in its file: nowhere. Without this, ONNX Runtime reads any file below `.`."""

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""How much ONNX Runtime rewrites a graph before it runs it. What is served is run with all of it."""

COMPARED = 64
"""How many requests are asked of both the graph that is served and its parts, beside the golden examples."""
PARTS_TOLERANCE = 1e-4
"""How far a probability may be off between the two: they compute in another order."""


def load(bundle: Bundle) -> Network:
    """The network as it is served, one graph that decodes greedily. Raises `BundleError` where it does not fit."""
    if bundle.manifest.network.family not in VARYING:
        return _Greedy(bundle)
    any_length = (None, None)
    graph = _Graph(
        bundle,
        "greedy.onnx",
        {"source": (INT32, any_length)},
        {"ids": (INT32, any_length), "probabilities": (FLOAT, any_length)},
    )
    return Varying(graph.session)


def load_checked(bundle: Bundle) -> Network:
    """The same, ready to search. Raises `BundleError` where the bundle's graphs do not agree."""
    network = load_searching(bundle)
    check_parts(bundle, network)
    return network


def load_searching(bundle: Bundle) -> Network:
    """The same, and in families that search for other answers, its encoder and decoder apart, which do that."""
    network = load(bundle)
    if isinstance(network, Varying):
        parts = load_parts(bundle)
        assert isinstance(parts, Autoregressive)  # noqa: S101
        return replace(network, parts=parts)
    return network


def load_parts(bundle: Bundle, *, optimized: bool = True) -> RepeatVector | Autoregressive:
    """The same network as encoder and decoder apart, decoded by `seq2seq.decoding`. Raises `BundleError`.

    A network that runs only once is ready sooner if it is not `optimized`.
    """
    problem, spec = bundle.manifest.problem, bundle.manifest.network
    symbols = len(problem.target_vocabulary)
    states: Signature = {f"state_{place}": (FLOAT, (None, units)) for place, units in enumerate(spec.state_units)}
    source: Signature = {"source": (INT32, (None, problem.source_length))}
    read: Signature = {"outputs": (FLOAT, (None, problem.source_length, spec.encoder_units[-1]))}
    inputs: Signature = {"symbol": (INT32, (None, 1)), **states}
    outputs: Signature = {f"next_{name}": each for name, each in states.items()}
    if spec.family in VARYING:
        source = {"source": (INT32, (None, None))}
        read = {"memory": (FLOAT, (None, None, 2 * spec.encoder_units[-1]))}
        inputs = {"symbol": (INT32, (None, 1)), **source, **read, **states}
    if spec.family in ATTENDING:
        outputs = {"attention": (FLOAT, (None, None)), **outputs}
    outputs = {"probabilities": (FLOAT, (None, symbols)), **outputs}
    if spec.family == "repeat_vector":
        inputs, written = states, (None, problem.target_length)
        outputs = {
            "probabilities": (FLOAT, (*written, symbols)),
            "outputs": (FLOAT, (*written, spec.decoder_units[-1])),
        }
    encoder = _Graph(bundle, "encoder.onnx", source, {**read, **states}, optimized)
    return wire(problem, spec.family, encoder, _Graph(bundle, "decoder.onnx", inputs, outputs, optimized))


def load_logits(
    bundle: Bundle, content: bytes, name: str, level: ort.GraphOptimizationLevel = LEVELS["all"]
) -> Callable[[IdArray, IdArray], FloatArray]:
    """The served graph with its logits as another output of this name: source ids (B, S) → logits (B, T, V).

    The second argument, the true answers, is not used: where the graph errs, it goes on from its own choice.
    """
    session = _session(bundle.path / "greedy.onnx", content, level)

    def logits(sources: IdArray, _: IdArray) -> FloatArray:
        found: FloatArray = session.run([name], {"source": np.ascontiguousarray(sources.T)})[0].transpose(1, 0, 2)
        return found

    return logits


def check_parts(bundle: Bundle, network: Network) -> None:
    """Compare a loaded network with the encoder and the decoder apart, which hold the same weights.

    Raises `BundleError` where a graph does not run, or they do not agree.
    """
    problem = bundle.manifest.problem
    sources = problem.encode([problem.parse(example.request) for example in bundle.manifest.golden])
    if isinstance(problem, Oracle):
        more = problem.sample_sources(np.random.default_rng(COMPARED), COMPARED)
        sources = np.concatenate([sources, more])  # (n, S)
    parts = getattr(network, "parts", None) or load_parts(bundle, optimized=False)
    one = _run(bundle.path / "greedy.onnx", network, sources)
    other = _run(bundle.path / "decoder.onnx", parts, sources)
    alike = one.ids.shape == other.ids.shape and np.array_equal(one.ids, other.ids)
    if not alike or not (np.abs(one.probabilities - other.probabilities) <= PARTS_TOLERANCE).all():
        raise BundleError(bundle.path / "greedy.onnx", "does not answer as encoder.onnx with decoder.onnx does")


def _run(path: Path, network: Network, sources: IdArray) -> Decoded:
    try:
        return network.greedy(sources)
    except Exception as error:  # ONNX Runtime raises many kinds
        raise BundleError(path, f"does not run: {error}") from error


@dataclass(frozen=True)
class Varying:
    """A network for sequences of any length whose greedy decoding is its graph, in whose arrays time comes first.

    `parts` search for other answers, once they were loaded.
    """

    session: ort.InferenceSession
    parts: Autoregressive | None = None

    @property
    def beam(self) -> Search | None:
        return self.parts.beam if self.parts else None

    @property
    def tracer(self) -> Tracer | None:
        return self.parts.tracer if self.parts else None

    @classmethod
    def of(cls, content: bytes) -> Varying:
        """The network of a graph that is not in a bundle yet."""
        return cls(_session(Path("greedy.onnx"), content, LEVELS["all"]))

    def greedy(self, sources: IdArray) -> Decoded:
        """Source ids (B, S) → the symbols chosen until the last answer has ended (B, T)."""
        ids, probabilities = self.session.run(None, {"source": np.ascontiguousarray(sources.T)})
        return Decoded(ids.T, probabilities.T)


class _Greedy:
    """A network whose greedy decoding is part of its graph, in whose arrays time comes first."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        problem = bundle.manifest.problem
        shape = (problem.target_length, None)
        self._graph = _Graph(
            bundle,
            "greedy.onnx",
            {"source": (INT32, (problem.source_length, None))},
            {"ids": (INT64, shape), "probabilities": (FLOAT, shape)},
        )
        self._alone = _Alone(self._graph.session, problem.source_length, problem.target_length)

    def greedy(self, sources: IdArray) -> Decoded:
        """Source ids (B, S) → the symbols chosen, each the likeliest given those before it."""
        if len(sources) == 1 and (decoded := self._alone.greedy(sources)):
            return decoded
        ids, probabilities = self._graph([np.ascontiguousarray(sources.T)])
        return Decoded(ids.T.astype(np.int32), probabilities.T)

    @cached_property
    def tracer(self) -> Tracer | None:
        """That of the encoder and the decoder apart, which are loaded when it is first asked for."""
        return load_parts(self._bundle).tracer


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


class _Graph:
    """One ONNX file as a function from arrays to arrays, its signature checked when it is loaded.

    It may lack one of the outputs that are `EXPLAINING`; that one is None.
    """

    def __init__(self, bundle: Bundle, name: str, inputs: Signature, outputs: Signature, optimized: bool = True):
        path = bundle.path / name
        self.session = _session(path, bundle.content(name), LEVELS["all" if optimized else "none"])
        given = {node.name for node in self.session.get_outputs()}
        wanted = {each: kind for each, kind in outputs.items() if each in given or each not in EXPLAINING}
        _check_signature(path, "inputs", self.session.get_inputs(), inputs)
        _check_signature(path, "outputs", self.session.get_outputs(), wanted)
        self._inputs = list(inputs)
        self._outputs = list(wanted)
        self._lacking = [place for place, each in enumerate(outputs) if each not in wanted]

    def __call__(self, arrays: Sequence[IdArray | FloatArray]) -> list[Any]:
        results: list[Any] = self.session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        for place in self._lacking:
            results.insert(place, None)
        return results


def _session(path: Path, content: bytes, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    """An ONNX file, ready to run on one thread. Raises `BundleError`."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # 10 MB less for a large network, and as fast
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # its own log would show names of nodes as they stand; what fails raises
    options.add_session_config_entry(WEIGHTS_FOLDER, os.devnull)
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds, all derived from Exception alone
        raise BundleError(path, f"cannot be run: {error}") from error


def _check_signature(path: Path, side: str, actual: Sequence[ort.NodeArg], expected: Signature) -> None:
    found = {
        node.name: (node.type, tuple(None if isinstance(size, str) else size for size in node.shape)) for node in actual
    }
    if found != expected:
        raise BundleError(path, f"has {side} {found}; the manifest's problem and network need {expected}")
