"""The forward pass of training for networks of fixed lengths, computed for speed: see `lstm`.

A model of the same weights takes the place of the training model while it is fitted. `python -m benchmarks training`
measures it.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seq2seq.bundle import NetworkSpec
from training import lstm
from training.lstm import Product, weights
from training.networks import Models


class Forward(keras.Model):  # type: ignore[misc]  # Keras has no types
    """source (B, S), and a shifted target (B, T) where the decoder is told one → logits (B, T, V)."""

    def __init__(self, models: Models, spec: NetworkSpec, batch_size: int):
        super().__init__(name="forward")
        self.batch_size = batch_size
        self.spec = spec
        self.encoder = [models.encoder.get_layer(f"encoder_lstm_{depth}") for depth in range(len(spec.encoder_units))]
        self.decoder = [models.decoder.get_layer(f"decoder_lstm_{depth}") for depth in range(len(spec.decoder_units))]
        self.logits = models.decoder.get_layer("logits")
        self.length = models.training.output_shape[1]
        self.product = Product(tf.float32)

    def call(self, inputs: Any) -> Any:
        ids = inputs if isinstance(inputs, list | tuple) else [inputs]
        parts = lstm.parts(tf.shape(ids[0])[0], self.batch_size)
        return tf.concat([self._part([each[start:end] for each in ids]) for start, end in parts], axis=0)

    def _part(self, ids: list[Any]) -> Any:
        source = tf.transpose(ids[0])  # (S, B)
        x, states = self._encoded(source[::-1] if self.spec.reversed_source else source)
        if self.spec.family == "repeat_vector":
            x, repeats = x[-1:], self.length
        else:
            x, repeats = self._one_hot(tf.transpose(ids[1]), self.decoder[0]), 1
        for depth, layer in enumerate(self.decoder):
            x, _ = self._run(layer, x, states[depth] if states else None, repeats=repeats if depth == 0 else 1)
        return tf.transpose(self.product.dense(self.logits, x), (1, 0, 2))

    def _encoded(self, source: Any) -> tuple[Any, list[Any]]:
        """The last layer's outputs (S, B, H), and each layer's last h and c, where the decoder starts with them."""
        x, states = self._one_hot(source, self.encoder[0]), []
        for layer in self.encoder:
            x, last = self._run(layer, x)
            states.append((x[-1], last))
        return x, states if self.spec.family == "autoregressive" else []

    def _run(self, layer: Any, x: Any, state: Any = None, *, repeats: int = 1) -> tuple[Any, Any]:
        """x (T, B, E) → outputs (T, B, H), and the last cells (B, H). An x of one step may be read again and again."""
        kernel, recurrent, bias = weights(layer.cell)
        read = tf.repeat((self.product(x, kernel) + bias)[:, None], repeats, axis=0)
        zeros = tf.zeros((1, tf.shape(x)[1], layer.units))
        h, c = (zeros, zeros) if state is None else (each[None] for each in state)
        outputs, last = self.product.lstm(read, recurrent[None], h, c)
        return tf.squeeze(outputs, axis=1), last[0]

    def _one_hot(self, ids: Any, layer: Any) -> Any:
        return tf.one_hot(ids, layer.cell.kernel.shape[0])
