"""The logits of training by teacher forcing, computed for speed: what `networks.Layers.training` gives, sooner.

Keras steps through each LSTM alone. Here the input products of all steps are one product before the loop, both
directions of an encoder's layer share one loop, and a backward pass written out makes the gradients of all weights
one product after it. Nothing is masked step by step: the backward direction reads each source reversed, and what the
forward one makes of padding reaches nobody. `python -m benchmarks fitting` measures it.

B is the batch, S and T are lengths, K the directions (1 or 2), H the units of one.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from seq2seq.problems.pairs import PADDING_ID
from training.pairs.networks import MASKED, Layers
from training.pairs.recipes import Precision


def logits(layers: Layers, source: tf.Tensor, shifted: tf.Tensor, precision: Precision) -> tf.Tensor:
    """source (B, S), shifted target (B, T) → logits (B, T, V), with dropout of units and of recurrent weights.

    precision   of the factors of each matrix product; everything else is float32
    """
    product = _Product(tf.as_dtype(precision))
    is_real = source != PADDING_ID
    lengths = tf.reduce_sum(tf.cast(is_real, tf.int32), axis=1)  # (B,)
    batch = tf.shape(source)[0]
    last = tf.stack([lengths - 1, tf.range(batch)], axis=1)

    def drop(x: tf.Tensor) -> tf.Tensor:
        return layers.dropout(x, training=True)

    def drop_weights(recurrent: tf.Tensor) -> tf.Tensor:
        return layers.weight_dropout(recurrent, training=True)

    x = drop(layers.source_embedding(tf.transpose(source)))  # (S, B, E)
    end = last
    for layer in layers.encoder:
        forward, backward = (_weights(each.cell) for each in (layer.forward_layer, layer.backward_layer))
        read = [
            product(x, forward[0]) + forward[2],
            tf.reverse_sequence(product(x, backward[0]) + backward[2], lengths, seq_axis=0, batch_axis=1),
        ]
        recurrent = drop_weights(tf.stack([forward[1], backward[1]]))
        start = tf.zeros((2, batch, recurrent.shape[1]))
        ahead, back = tf.unstack(product.lstm(tf.stack(read, axis=1), recurrent, start, start), axis=1)
        end = tf.concat([tf.gather_nd(ahead, last), tf.gather_nd(back, last)], axis=-1)
        x = drop(tf.concat([ahead, tf.reverse_sequence(back, lengths, seq_axis=0, batch_axis=1)], axis=-1))
    memory = tf.transpose(x, (1, 0, 2))  # (B, S, 2H)
    end = drop(end)
    states = [tf.tanh(product.dense(start, end))[None] for start in layers.starts]

    x = drop(layers.target_embedding(tf.transpose(shifted)))  # (T, B, E)
    for depth, layer in enumerate(layers.decoder):
        kernel, recurrent, bias = _weights(layer.cell)
        read = (product(x, kernel) + bias)[:, None]
        x = drop(
            tf.squeeze(product.lstm(read, drop_weights(recurrent[None]), *states[2 * depth : 2 * depth + 2]), axis=1)
        )
    x = tf.transpose(x, (1, 0, 2))  # (B, T, D)
    if layers.spec.family == "attention":
        scores = product(product.dense(layers.score, x), memory, transpose_b=True)  # (B, T, S)
        scores = tf.where(is_real[:, None], scores, MASKED)
        context = product(tf.nn.softmax(scores), memory)
        x = drop(tf.tanh(product.dense(layers.combined, tf.concat([x, context], axis=-1))))
    return product.dense(layers.logits, x)


def _weights(part: keras.layers.LSTMCell) -> tuple[tf.Variable, tf.Variable, tf.Variable]:
    return part.kernel.value, part.recurrent_kernel.value, part.bias.value


class _Product:
    """Matrix products whose factors have one precision."""

    def __init__(self, dtype: tf.DType):
        self.dtype = dtype

    def __call__(self, a: tf.Tensor, b: tf.Tensor, **transposed: bool) -> tf.Tensor:
        """a (…, M, N), b (N, P) or (…, N, P) → (…, M, P)."""
        shape = tf.shape(a)
        if len(b.shape) == 2:
            a = tf.reshape(a, (-1, a.shape[-1]))
        found = tf.cast(tf.matmul(tf.cast(a, self.dtype), tf.cast(b, self.dtype), **transposed), tf.float32)
        return tf.reshape(found, tf.concat([shape[:-1], found.shape[-1:]], axis=0)) if len(b.shape) == 2 else found

    def dense(self, layer: keras.layers.Dense, x: tf.Tensor) -> tf.Tensor:
        """The layer's outputs before its activation."""
        found = self(x, layer.kernel.value)
        return found + layer.bias.value if layer.use_bias else found

    def lstm(self, read: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
        """The outputs (T, K, B, H) of LSTMs that have read their inputs: each gate's part from them (T, K, B, 4H).

        recurrent (K, H, 4H); h, c (K, B, H) at the start. Gates are in the order of Keras: input, forget, cell, output.
        """
        found: tf.Tensor = tf.custom_gradient(self._lstm)(read, recurrent, h, c)
        return found

    def _lstm(self, read: tf.Tensor, recurrent: tf.Tensor, h0: tf.Tensor, c0: tf.Tensor) -> Any:
        steps, directions, batch, _ = tf.unstack(tf.shape(read))
        units = recurrent.shape[1]
        # Gates come first, so that to take one is no copy.
        by_gate = tf.transpose(tf.reshape(read, (steps, directions, batch, 4, units)), (0, 3, 1, 2, 4))
        recurrent = tf.cast(recurrent, self.dtype)
        kernel = tf.transpose(tf.reshape(recurrent, (-1, units, 4, units)), (2, 0, 1, 3))  # (4, K, H, H)

        def step(place: tf.Tensor, h: tf.Tensor, c: tf.Tensor, *kept: tf.TensorArray) -> Any:
            i, f, g, o = (each[0] for each in tf.split(by_gate[place] + self(h[None], kernel), 4))
            i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
            c = f * c + i * g
            h = o * tf.tanh(c)
            values = (i, f, g, o, c, h)
            return place + 1, h, c, *(each.write(place, value) for each, value in zip(kept, values, strict=True))

        _, _, _, *kept = _loop(lambda place, *_: place < steps, step, (0, h0, c0, *_arrays(6, steps)), steps)
        i, f, g, o, c, h = (each.stack() for each in kept)  # (T, K, B, H)

        def gradients(dh: tf.Tensor) -> tuple[tf.Tensor, ...]:
            before = tf.concat([c0[None], c[:-1]], axis=0)
            squashed = tf.tanh(c)
            to_c = o * (1 - squashed * squashed)
            to_i, to_f, to_g = g * i * (1 - i), before * f * (1 - f), i * (1 - g * g)
            to_o = squashed * o * (1 - o)

            def step(place: tf.Tensor, later_h: tf.Tensor, later_c: tf.Tensor, kept: tf.TensorArray) -> Any:
                dh_here = dh[place] + later_h
                dc = later_c + dh_here * to_c[place]
                parts = [dc * to_i[place], dc * to_f[place], dc * to_g[place], dh_here * to_o[place]]
                gates = tf.concat(parts, axis=-1)  # (K, B, 4H)
                return place - 1, self(gates, recurrent, transpose_b=True), dc * f[place], kept.write(place, gates)

            begin = (steps - 1, tf.zeros_like(h0), tf.zeros_like(c0), *_arrays(1, steps))
            _, dh0, dc0, kept = _loop(lambda place, *_: place >= 0, step, begin, steps)
            gates = kept.stack()
            first = tf.concat([h0[None], h[:-1]], axis=0)
            rows = [
                tf.reshape(tf.transpose(each, (1, 0, 2, 3)), (directions, -1, each.shape[-1]))
                for each in (first, gates)
            ]
            return gates, self(*rows, transpose_a=True), dh0, dc0

        return h, gradients


def _arrays(number: int, steps: tf.Tensor) -> list[tf.TensorArray]:
    return [tf.TensorArray(tf.float32, steps) for _ in range(number)]


def _loop(goes_on: Any, step: Any, begin: tuple[Any, ...], steps: tf.Tensor) -> Any:
    return tf.while_loop(goes_on, step, begin, maximum_iterations=steps)
