"""LSTMs for training, computed for speed: what Keras computes, sooner.

Keras steps through each LSTM alone. Here the input products of all steps are one product before the loop, and a
backward pass written out makes the gradients of all weights one product after it. Both directions of a layer share one
loop.

T is the number of steps, B the batch, K the number of LSTMs that run side by side, H the units of one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from training import environment


def weights(cell: keras.layers.LSTMCell) -> tuple[tf.Variable, tf.Variable, tf.Variable]:
    """Kernel (E, 4H), recurrent kernel (H, 4H) and bias (4H,)."""
    return cell.kernel.value, cell.recurrent_kernel.value, cell.bias.value


FEWEST_A_PART = 32
"""A core computes so many rows of a full batch at least."""


def parts(rows: tf.Tensor, batch_size: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Where each core's part of a batch begins and ends. Each core computes its part alone: small products gain less
    from being shared.
    """
    count = min(environment.CORES, max(1, batch_size // FEWEST_A_PART))
    return [*pairwise([rows * place // count for place in range(count + 1)])]


class Product:
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
        """The outputs (T, K, B, H) of K LSTMs.

        read (T, K, B, 4H) is each gate's part from the inputs; recurrent (K, H, 4H); h, c (K, B, H) at the start. Gates
        are in the order of Keras: input, forget, cell, output.
        """
        outputs: tf.Tensor = tf.custom_gradient(self._lstm)(read, recurrent, h, c)
        return outputs

    def _lstm(self, read: tf.Tensor, recurrent: tf.Tensor, h0: tf.Tensor, c0: tf.Tensor) -> Any:
        steps, directions, batch, _ = tf.unstack(tf.shape(read))
        units = recurrent.shape[1]
        # Gates come first, so taking one copies nothing.
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
                dc_here = later_c + dh_here * to_c[place]
                parts = [dc_here * to_i[place], dc_here * to_f[place], dc_here * to_g[place], dh_here * to_o[place]]
                gates = tf.concat(parts, axis=-1)  # (K, B, 4H)
                return place - 1, self(gates, recurrent, transpose_b=True), dc_here * f[place], kept.write(place, gates)

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
