"""The logits of training by teacher forcing, computed for speed: what `networks.Layers.training` gives, sooner.

Nothing is masked step by step: the backward direction reads each source reversed, and what the forward one makes of
padding reaches nobody. `python -m benchmarks fitting` measures it.

B is the batch, S and T are lengths, K the directions (1 or 2), H the units of one.
"""

from __future__ import annotations

import tensorflow as tf

from seq2seq.problems.pairs import PADDING_ID
from training.lstm import Product, weights
from training.pairs.networks import MASKED, Layers
from training.pairs.recipes import Precision


def logits(layers: Layers, source: tf.Tensor, shifted: tf.Tensor, precision: Precision) -> tf.Tensor:
    """source (B, S), shifted target (B, T) → logits (B, T, V), with dropout.

    precision   of the factors of each matrix product; everything else is float32
    """
    product = Product(tf.as_dtype(precision))
    is_real = source != PADDING_ID
    lengths = tf.reduce_sum(tf.cast(is_real, tf.int32), axis=1)  # (B,)
    batch = tf.shape(source)[0]
    last = tf.stack([lengths - 1, tf.range(batch)], axis=1)

    def drop(x: tf.Tensor) -> tf.Tensor:
        return layers.dropout(x, training=True)

    x = drop(layers.source_embedding(tf.transpose(source)))  # (S, B, E)
    end = last
    for layer in layers.encoder:
        forward, backward = (weights(each.cell) for each in (layer.forward_layer, layer.backward_layer))
        read = [
            product(x, forward[0]) + forward[2],
            tf.reverse_sequence(product(x, backward[0]) + backward[2], lengths, seq_axis=0, batch_axis=1),
        ]
        recurrent = tf.stack([forward[1], backward[1]])
        start = tf.zeros((2, batch, recurrent.shape[1]))
        ahead, back = tf.unstack(product.lstm(tf.stack(read, axis=1), recurrent, start, start), axis=1)
        end = tf.concat([tf.gather_nd(ahead, last), tf.gather_nd(back, last)], axis=-1)
        x = drop(tf.concat([ahead, tf.reverse_sequence(back, lengths, seq_axis=0, batch_axis=1)], axis=-1))
    memory = tf.transpose(x, (1, 0, 2))  # (B, S, 2H)
    end = drop(end)
    states = [tf.tanh(product.dense(start, end))[None] for start in layers.starts]

    x = drop(layers.target_embedding(tf.transpose(shifted)))  # (T, B, E)
    for depth, layer in enumerate(layers.decoder):
        kernel, recurrent, bias = weights(layer.cell)
        read = (product(x, kernel) + bias)[:, None]
        outputs = product.lstm(read, recurrent[None], *states[2 * depth : 2 * depth + 2])
        x = drop(tf.squeeze(outputs, axis=1))
    x = tf.transpose(x, (1, 0, 2))  # (B, T, D)
    if layers.spec.family == "plain":
        return product.dense(layers.logits, x)
    scores = product(product.dense(layers.score, x), memory, transpose_b=True)  # (B, T, S)
    scores = tf.where(is_real[:, None], scores, MASKED)
    if layers.spec.family == "attention":
        context = product(tf.nn.softmax(scores), memory)
        x = product.dense(layers.combined, tf.concat([x, context], axis=-1))
        return product.dense(layers.logits, drop(tf.tanh(x)))
    query = product.dense(layers.combined, x)[:, :, None]
    kept = drop(tf.ones_like(query))  # what is dropped is dropped for all source tokens
    each = tf.tanh(query + product.dense(layers.combined_memory, memory)[:, None]) * kept  # (B, T, S, D)
    logs = tf.nn.log_softmax(product.dense(layers.logits, each))  # (B, T, S, V)
    return tf.reduce_logsumexp(tf.nn.log_softmax(scores)[..., None] + logs, axis=2)
