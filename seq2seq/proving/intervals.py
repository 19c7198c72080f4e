"""Interval arithmetic for LSTMs: sound bounds on what a layer computes for every input in a box.

Bounds are computed in float64 and rounded outward, so the exact result always lies inside. Knows nothing of graphs,
problems or requests.

    h in [-0.5, 0.5], weight -2, bias 1  →  gate in [0, 2]  →  sigmoid in [0.5, 0.881], a little wider for rounding

B is the number of boxes, H the units of a layer. The method is interval bound propagation (Gowal et al., 2018); the
equations are those of ONNX's LSTM operator.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

ROUNDING = 2.0**-52
"""Twice the largest relative error of one operation in float64."""
ACTIVATION = 1e-14
"""Covers the error of sigmoid and tanh. NumPy's tanh is within 4 units in the last place, below 1e-15."""


class Interval(NamedTuple):
    """Lower and upper bounds, two arrays of one shape."""

    low: Array
    high: Array

    def take(self, rows: Integers) -> Interval:
        """Some of the boxes, in the order given."""
        return Interval(self.low[rows], self.high[rows])


class Affine(NamedTuple):
    """`x @ weight + bias`, not yet computed: x (B, H), weight (H, V), bias (V,)."""

    x: Interval
    weight: Array
    bias: Array

    def bounds(self) -> Interval:
        """Bounds on the result (B, V)."""
        center, radius = (self.x.low + self.x.high) / 2, (self.x.high - self.x.low) / 2  # (B, H)
        middle = center @ self.weight + self.bias
        spread = radius @ np.abs(self.weight) + self._rounding()
        return Interval(middle - spread, middle + spread)

    def margins(self, ids: Integers) -> Array:
        """A lower bound (B,) on how far column `ids` (B,) lies above every other column.

        Bounds differences of columns. That is tighter than the difference of their bounds: what they share cancels out.
        """
        least = np.empty(len(ids))
        for column in np.unique(ids):
            rows = np.flatnonzero(ids == column)
            weight, bias = self.weight[:, [column]] - self.weight, self.bias[column] - self.bias
            lower = Affine(self.x.take(rows), weight, bias).bounds().low  # (rows, V)
            lower[:, column] = np.inf
            least[rows] = lower.min(axis=1)
        return least

    def _rounding(self) -> Array:
        """The most that rounding can change in the result (V,).

        A sum of n products is off by at most n roundings of the sum of their absolute values (Higham, 2002, 3.1).
        Eight more cover center, radius, bias and the difference of two columns.
        """
        largest = max(np.abs(self.x.low).max(initial=0.0), np.abs(self.x.high).max(initial=0.0))
        total = largest * np.abs(self.weight).sum(axis=0) + np.abs(self.bias)  # (V,)
        rounding: Array = (len(self.weight) + 8) * ROUNDING * total
        return rounding


def lstm_step(inputs: Interval, recurrent: Array, h: Interval, c: Interval) -> tuple[Interval, Interval]:
    """One time step of an LSTM layer: the next h and c (B, H).

    inputs     what the step's input and the biases add to the gates (B, 4H), in ONNX's order: input, output, forget,
               cell
    recurrent  weights (H, 4H)
    """
    units = len(recurrent)
    fed_back = Affine(h, recurrent, np.zeros(4 * units)).bounds()
    gates = _outward(inputs.low + fed_back.low, inputs.high + fed_back.high)  # (B, 4H)
    i, o, f, candidate = (
        Interval(low, high)
        for low, high in zip(np.split(gates.low, 4, axis=1), np.split(gates.high, 4, axis=1), strict=True)
    )
    kept, added = _gated(_sigmoid(f), c), _gated(_sigmoid(i), _tanh(candidate))
    c = _outward(kept.low + added.low, kept.high + added.high)
    return _outward(*_gated(_sigmoid(o), _tanh(c))), c


def hull(points: Interval, starts: Integers) -> Interval:
    """The smallest box around each run of rows; `starts` (G,) is the first row of each run."""
    return Interval(np.minimum.reduceat(points.low, starts), np.maximum.reduceat(points.high, starts))


def _tanh(x: Interval) -> Interval:
    return Interval(
        np.maximum(np.tanh(x.low) - ACTIVATION, -1.0),
        np.minimum(np.tanh(x.high) + ACTIVATION, 1.0),
    )


def _sigmoid(x: Interval) -> Interval:
    """By tanh, which cannot overflow: sigmoid(x) = (1 + tanh(x / 2)) / 2."""
    return Interval(
        np.maximum(0.5 + 0.5 * np.tanh(0.5 * x.low) - ACTIVATION, 0.0),
        np.minimum(0.5 + 0.5 * np.tanh(0.5 * x.high) + ACTIVATION, 1.0),
    )


def _gated(gate: Interval, x: Interval) -> Interval:
    """The product of a gate, which is from 0 to 1, and x, not yet rounded outward."""
    return Interval(
        np.minimum(gate.low * x.low, gate.high * x.low),
        np.maximum(gate.low * x.high, gate.high * x.high),
    )


def _outward(low: Array, high: Array) -> Interval:
    """Round outward what `_gated` gave, or the sum of two bounds.

    The products are off by one rounding each, and at most one of two terms is larger than 1 more than their sum.
    """
    error = 4 * ROUNDING * (np.maximum(np.abs(low), np.abs(high)) + 1.0)
    return Interval(low - error, high + error)
