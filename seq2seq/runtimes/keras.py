"""Runs a bundle's Keras files on TensorFlow. Keras is imported when a file is loaded, never before.

Knows nothing of HTTP, batching or training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import VARYING, Compute, Network, wire
from seq2seq.vocabulary import FloatArray, IdArray

if TYPE_CHECKING:
    import keras

Shape = tuple[int | None, ...]
"""A tensor's sizes; None is the batch."""


def load(bundle: Bundle) -> Network:
    """A network of the encoder's and the decoder's files. Raises `BundleError` where one does not fit its manifest."""
    problem, spec = bundle.manifest.problem, bundle.manifest.network
    symbols = len(problem.target_vocabulary)
    states: list[Shape] = [(None, units) for units in spec.state_units]
    inputs, outputs = states, states
    if spec.family == "repeat_vector":
        outputs = [(None, problem.target_length, symbols)]
    else:
        inputs, outputs = [(None, 1), *states], [(None, symbols), *states]
    source: Shape = (None, problem.source_length)
    if spec.family in VARYING:
        source, memory = (None, None), (None, None, 2 * spec.encoder_units[-1])
        inputs, states = [(None, 1), source, memory, *states], [memory, *states]
    encoder = _function(bundle, "encoder.keras", [source], states)
    return wire(problem, spec.family, encoder, _function(bundle, "decoder.keras", inputs, outputs))


def load_model(bundle: Bundle, name: str) -> keras.Model:
    """A model from the bytes that were sealed. Raises `BundleError`."""
    import keras

    content = bundle.content(name)
    with tempfile.TemporaryDirectory() as folder:  # Keras reads from files only
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises many kinds for a file that it cannot read
            fault = str(error).replace(str(path), name)
            raise BundleError(bundle.path / name, f"cannot be loaded: {fault}") from error


def _function(bundle: Bundle, name: str, inputs: list[Shape], outputs: list[Shape]) -> Compute:
    """A saved model as a compiled function from arrays to arrays, its shapes checked."""
    import tensorflow as tf

    model = load_model(bundle, name)
    for side, tensors, expected in (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs)):
        found = [tuple(tensor.shape) for tensor in tensors]
        if found != expected:
            raise BundleError(
                bundle.path / name,
                f"has {side} of shapes {found}; the manifest's problem and network need {expected}",
            )
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]

    def call(tensors: list[Any]) -> Any:
        return tf.nest.flatten(model(tensors if len(tensors) > 1 else tensors[0], training=False))

    compiled = tf.function(call, input_signature=[signature])

    def compute(arrays: Sequence[IdArray | FloatArray]) -> list[FloatArray]:
        tensors = [tf.constant(array, spec.dtype) for array, spec in zip(arrays, signature, strict=True)]
        return [result.numpy() for result in compiled(tensors)]

    return compute
