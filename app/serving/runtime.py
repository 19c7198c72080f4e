"""Loads a bundle's network with the runtime that the settings name: ONNX Runtime, or TensorFlow.

Knows nothing of HTTP or batching. Either way the network is one of `seq2seq.decoding`'s, so both decode alike.
Keras is imported when it is asked for, never before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import Autoregressive, Network, RepeatVector, States
from seq2seq.vocabulary import FloatArray, IdArray

if TYPE_CHECKING:
    import keras

Runtime = Literal["onnx", "tensorflow"]
Loader = Callable[[Bundle], Network]
Shape = tuple[int | None, ...]


class RuntimeMissing(Exception):
    """The runtime that was asked for is not installed."""


def loader(runtime: Runtime) -> Loader:
    """What loads a bundle's network. Raises `RuntimeMissing` where the runtime is not installed."""
    return {"onnx": _onnx, "tensorflow": _tensorflow}[runtime]()


def _onnx() -> Loader:
    from seq2seq import onnx_runtime  # noqa: F401  so that what is missing is missed now

    return load_onnx


def load_onnx(bundle: Bundle) -> Network:
    """A network of the bundle's ONNX files, which must agree. Raises `BundleError` where one does not fit."""
    from seq2seq import onnx_runtime

    network = onnx_runtime.load(bundle)
    onnx_runtime.check_parts(bundle, network)
    return network


def _tensorflow() -> Loader:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise RuntimeMissing(f"the runtime tensorflow is not installed: {error}") from error
    return load_keras


def load_keras(bundle: Bundle) -> Network:
    """A network of the bundle's `.keras` files. Raises `BundleError` where one does not fit its manifest."""
    problem, spec = bundle.manifest.problem, bundle.manifest.network
    symbols = len(problem.target_vocabulary)
    source: list[Shape] = [(None, problem.source_length)]
    if spec.family == "repeat_vector":
        context: list[Shape] = [(None, spec.encoder_units[-1])]
        encoder = _function(bundle.path / "encoder.keras", source, context)
        decoder = _function(bundle.path / "decoder.keras", context, [(None, problem.target_length, symbols)])
        return RepeatVector(lambda sources: encoder([sources]), lambda states: decoder(states)[0])

    states: list[Shape] = [(None, units) for units in spec.encoder_units for _ in ("h", "c")]
    encoder = _function(bundle.path / "encoder.keras", source, states)
    decoder = _function(bundle.path / "decoder.keras", [(None, 1), *states], [(None, symbols), *states])

    def step(previous: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, *following = decoder([previous[:, None], *states])
        return probabilities, following

    return Autoregressive(
        lambda sources: encoder([sources]), step, problem.target_length, problem.target_vocabulary.padding_id
    )


def _function(
    path: Path, inputs: list[Shape], outputs: list[Shape]
) -> Callable[[Sequence[IdArray | FloatArray]], list[FloatArray]]:
    """A saved model as a compiled function from arrays to arrays, its shapes checked."""
    import keras
    import tensorflow as tf

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that it cannot read
        raise BundleError(path, f"cannot be loaded: {error}") from error
    _check_shapes(path, "inputs", model.inputs, inputs)
    _check_shapes(path, "outputs", model.outputs, outputs)
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]

    def call(tensors: list[Any]) -> Any:
        results = model(tensors if len(tensors) > 1 else tensors[0], training=False)
        return results if isinstance(results, list | tuple) else [results]

    compiled = tf.function(call, input_signature=[signature])
    return lambda arrays: [
        result.numpy()
        for result in compiled([tf.constant(array, spec.dtype) for array, spec in zip(arrays, signature, strict=True)])
    ]


def _check_shapes(path: Path, side: str, tensors: Sequence[keras.KerasTensor], expected: list[Shape]) -> None:
    found = [tuple(tensor.shape) for tensor in tensors]
    if found != expected:
        raise BundleError(path, f"has {side} of shapes {found}; the manifest's problem and network need {expected}")
