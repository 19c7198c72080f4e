"""Runs a bundle's Keras files on TensorFlow. Keras is imported when a file is loaded, never before.

Knows nothing of HTTP, batching or training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import ATTENDING, VARYING, Autoregressive, Compute, RepeatVector, wire
from seq2seq.vocabulary import FloatArray, IdArray

if TYPE_CHECKING:
    import keras

Shape = tuple[int | None, ...]
"""A tensor's sizes; None is the batch."""


def load(bundle: Bundle) -> RepeatVector | Autoregressive:
    """A network of the encoder's and the decoder's files. Raises `BundleError` where one does not fit its manifest."""
    problem, spec = bundle.manifest.problem, bundle.manifest.network
    symbols = len(problem.target_vocabulary)
    states: list[Shape] = [(None, units) for units in spec.state_units]
    source: Shape = (None, problem.source_length)
    read: Shape = (*source, spec.encoder_units[-1])
    inputs, outputs = [(None, 1), *states], [(None, symbols), *states]
    explaining: list[int | None] = [0, None]  # the place of an output that only explains an answer, a side
    if spec.family in VARYING:
        source, read = (None, None), (None, None, 2 * spec.encoder_units[-1])
        inputs, explaining[0] = [(None, 1), source, read, *states], None
    if spec.family in ATTENDING:
        outputs.insert(1, (None, None))
        explaining[1] = 1
    if spec.family == "repeat_vector":
        written = (None, problem.target_length)
        inputs, outputs = states, [(*written, symbols), (*written, spec.decoder_units[-1])]
        explaining[1] = 1
    encoder = _function(bundle, "encoder.keras", [source], [read, *states], explaining[0])
    return wire(problem, spec.family, encoder, _function(bundle, "decoder.keras", inputs, outputs, explaining[1]))


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


def _function(bundle: Bundle, name: str, inputs: list[Shape], outputs: list[Shape], explaining: int | None) -> Compute:
    """A saved model as a compiled function from arrays to arrays, its shapes checked.

    It may lack the output whose place is `explaining`, if it was saved before there was one; that one is None.
    """
    import tensorflow as tf

    model = load_model(bundle, name)
    lacks = explaining is not None and len(model.outputs) < len(outputs)
    if lacks:
        outputs = [shape for place, shape in enumerate(outputs) if place != explaining]
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

    def compute(arrays: Sequence[IdArray | FloatArray]) -> list[Any]:
        tensors = [tf.constant(array, spec.dtype) for array, spec in zip(arrays, signature, strict=True)]
        results = [result.numpy() for result in compiled(tensors)]
        return [*results[:explaining], None, *results[explaining:]] if lacks else results

    return compute
