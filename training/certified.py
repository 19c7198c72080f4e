"""Training for a proof: a network that is right for every tail of a source, by interval bound propagation.

The proof puts one box around the states that the encoder is in after any tail, and bounds the rest of the network over
that box. An ordinary network fails it though it answers rightly. So three things are trained on at once:

- whole sequences, as ever;
- heads that are read from random states inside the box, in half of each batch;
- the worst logits over the whole box, for a few heads of each batch: a second cross-entropy, whose weight and the
  box's width grow while training goes on (Gowal et al., 2018; Mirman et al., 2018).

Knows nothing of data. B is the batch, H the units of a layer, V the vocabulary, k the places of a head.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from seq2seq.problem import Oracle
from training.loss import cross_entropy
from training.networks import Models

Box = tuple[Any, Any]
"""Lower and upper bounds."""

GROWS_FROM, GROWS_TO = 0.3, 0.7
"""The shares of a run's steps between which the box's width grows from nothing to the whole box."""


class Certified(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A training model with autoregressive layers, trained over a box as well. Takes what `models.training` takes.

    problem what a source's last places can hold, which are read first
    weight  of the second cross-entropy, once the box has its whole width
    rows    how many heads of each batch it is computed for
    margin  see `cross_entropy`
    """

    def __init__(self, models: Models, problem: Oracle, *, weight: float, rows: int, margin: float, seed: int):
        super().__init__(name="certified")
        self.network = models.training
        self.encoder = [layer for layer in models.encoder.layers if isinstance(layer, keras.layers.LSTM)]
        self.decoder = [self.network.get_layer(f"decoder_lstm_{depth}") for depth in range(len(self.encoder))]
        self.logits = self.network.get_layer("logits")
        self.tail = problem.tail
        self.rows = rows
        self.weight = weight
        self.margin = margin
        self.generator = keras.random.SeedGenerator(seed)
        shapes = [(2, layer.units) for layer in self.encoder]
        self.low = [self._variable(shape, f"low_{depth}") for depth, shape in enumerate(shapes)]  # h and c
        self.high = [self._variable(shape, f"high_{depth}") for depth, shape in enumerate(shapes)]
        self.width = self._variable((), "width")

    def _variable(self, shape: tuple[int, ...], name: str) -> Any:
        return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

    def call(self, inputs: tuple[Any, Any], training: bool = False) -> Any:
        """Source ids (B, S), shifted target ids (B, T) → logits (B, T, V); half from random states in training."""
        source, shifted = inputs
        if not training:
            return self.network([source, shifted])
        half = source.shape[0] // 2
        whole = self.network([source[:half], shifted[:half]])
        return ops.concatenate([whole, self._from_random_states(source[half:], shifted[half:])], axis=0)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The ordinary loss and, in training, the cross-entropy of the worst logits over the box."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        source, shifted = x
        rows = slice(0, self.rows)
        worst = self._worst_logits(source[rows], shifted[rows], y[rows])  # (B, T, V)
        bounded = ops.mean(cross_entropy(y[rows], worst, self.margin))
        return loss + self.weight * self.width * bounded

    def measure_box(self) -> None:
        """Put the box around the states after every tail, as the weights are now."""
        if self.tail.contents is None:
            self._reach()
            return
        x = ops.flip(ops.one_hot(self.tail.contents, self.encoder[0].cell.kernel.shape[0]), axis=1)  # (n, m, V)
        for depth, layer in enumerate(self.encoder):
            x, *states = layer(x)
            self.low[depth].assign(ops.stack([ops.min(state, axis=0) for state in states]))
            self.high[depth].assign(ops.stack([ops.max(state, axis=0) for state in states]))

    def _reach(self) -> None:
        """Put it around the states that any symbols lead to, read one by one, from one box to the next."""
        symbols = self.tail.symbols
        boxes = [[(ops.zeros((1, units)),) * 2] * 2 for units in (layer.units for layer in self.encoder)]
        for _ in range(self.tail.length):
            after = [
                [tuple(ops.repeat(bound, len(symbols), axis=0) for bound in box) for box in state] for state in boxes
            ]
            _step_boxes(self.encoder, symbols, after)
            boxes = [
                [(ops.min(low, axis=0, keepdims=True), ops.max(high, axis=0, keepdims=True)) for low, high in state]
                for state in after
            ]
        for depth, state in enumerate(boxes):
            self.low[depth].assign(ops.concatenate([low for low, _ in state]))
            self.high[depth].assign(ops.concatenate([high for _, high in state]))

    def _head(self, source: Any) -> list[Any]:
        """Source ids (B, S) → those of the head (B,), in the order in which they are read."""
        return [source[:, place] for place in range(source.shape[1] - self.tail.length - 1, -1, -1)]

    def _from_random_states(self, source: Any, shifted: Any) -> Any:
        """Logits (B, T, V) where the head is read from states that are random inside the box."""
        states = []
        for low, high in zip(self.low, self.high, strict=True):
            share = keras.random.uniform((2, source.shape[0], low.shape[1]), seed=self.generator)
            h, c = ops.unstack(low[:, None] + share * (high - low)[:, None])  # (B, H) each
            states.append([h, c])
        for symbols in self._head(source):
            _step_cells(self.encoder, symbols, states)
        steps = [_step_cells(self.decoder, shifted[:, place], states) for place in range(shifted.shape[1])]
        return self.logits(ops.stack(steps, axis=1))

    def _worst_logits(self, source: Any, shifted: Any, target: Any) -> Any:
        """By how much each logit can be above the true one at most (B, T, V), over the box in its present width."""
        states = []
        for low, high in zip(self.low, self.high, strict=True):
            middle, radius = (low + high) / 2, (high - low) / 2 * self.width
            ones = ops.ones((source.shape[0], 1))
            states.append([(ones * (middle - radius)[part], ones * (middle + radius)[part]) for part in range(2)])
        for symbols in self._head(source):
            _step_boxes(self.encoder, symbols, states)
        weight, bias = ops.transpose(self.logits.kernel), self.logits.bias  # (V, H), (V,)
        worst = []
        for place in range(shifted.shape[1]):
            low, high = _step_boxes(self.decoder, shifted[:, place], states)  # (B, H)
            true = target[:, place]
            difference = weight[None] - ops.take(weight, true, axis=0)[:, None]  # (B, V, H)
            bounded = ops.einsum("bvh,bh->bv", difference, (low + high) / 2)
            bounded += ops.einsum("bvh,bh->bv", ops.abs(difference), (high - low) / 2)
            worst.append(bounded + bias[None] - ops.take(bias, true, axis=0)[:, None])
        return ops.stack(worst, axis=1)


class GrowingBox(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Measures the box anew after each run of compiled steps, and widens it as training goes on."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self.model.measure_box()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        done = int(self.model.optimizer.iterations) / self.steps
        self.model.width.assign(np.clip((done - GROWS_FROM) / (GROWS_TO - GROWS_FROM), 0, 1))
        self.model.measure_box()


def _step_cells(layers: list[keras.layers.LSTM], symbols: Any, states: list[Any]) -> Any:
    """One time step through every layer; changes the states (h and c, each (B, H)) and gives the last layer's h."""
    x = ops.one_hot(symbols, layers[0].cell.kernel.shape[0])
    for depth, layer in enumerate(layers):
        x, states[depth] = layer.cell(x, states[depth])
    return x


def _step_boxes(layers: list[keras.layers.LSTM], symbols: Any, states: list[Any]) -> Box:
    """The same for boxes: h and c are a lower and an upper bound each, each (B, H)."""
    kernel = layers[0].cell.kernel
    row = ops.matmul(ops.one_hot(symbols, kernel.shape[0]), kernel)  # (B, 4H)
    inputs = row, row
    for depth, layer in enumerate(layers):
        if depth:
            inputs = _product(states[depth - 1][0], layer.cell.kernel)
        states[depth] = _step_box(layer.cell, inputs, *states[depth])
    h: Box = states[-1][0]
    return h


def _step_box(cell: keras.layers.LSTMCell, inputs: Box, h: Box, c: Box) -> list[Box]:
    """One step of one layer over boxes; `inputs` are those of the gates (B, 4H), in Keras' order."""
    fed_back = _product(h, cell.recurrent_kernel)
    i_low, f_low, g_low, o_low = ops.split(inputs[0] + fed_back[0] + cell.bias, 4, axis=-1)
    i_high, f_high, g_high, o_high = ops.split(inputs[1] + fed_back[1] + cell.bias, 4, axis=-1)
    kept = _gated(f_low, f_high, c)
    added = _gated(i_low, i_high, (ops.tanh(g_low), ops.tanh(g_high)))
    c = kept[0] + added[0], kept[1] + added[1]
    return [_gated(o_low, o_high, (ops.tanh(c[0]), ops.tanh(c[1]))), c]


def _product(x: Box, weight: Any) -> Box:
    """x (B, H) times a matrix (H, D): its bounds (B, D)."""
    middle = ops.matmul((x[0] + x[1]) / 2, weight)
    spread = ops.matmul((x[1] - x[0]) / 2, ops.abs(weight))
    return middle - spread, middle + spread


def _gated(low: Any, high: Any, x: Box) -> Box:
    """x times the sigmoid of a gate whose input is from low to high."""
    low, high = ops.sigmoid(low), ops.sigmoid(high)
    return ops.minimum(low * x[0], high * x[0]), ops.maximum(low * x[1], high * x[1])
