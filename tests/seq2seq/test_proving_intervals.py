"""Bounds hold what they bound: for random weights, boxes and points in them, and to the last bit of rounding."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.proving.intervals import Affine, Interval, hull, lstm_step

SEEDS = st.integers(0, 2**32 - 1)


def box(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> tuple[Interval, list[np.ndarray]]:
    """A box, and points in it: its corners, its middle and random ones."""
    low = rng.normal(size=shape)
    high = low + width * rng.random(shape)
    points = [low, high, (low + high) / 2, *(rng.uniform(low, high) for _ in range(4))]
    return Interval(low, high), [np.clip(point, low, high) for point in points]


def inside(points: np.ndarray, bounds: Interval) -> bool:
    return bool(((bounds.low <= points) & (points <= bounds.high)).all())


@given(SEEDS, st.sampled_from([0.0, 1e-9, 0.1, 3.0]))
def test_a_dense_layers_bounds_hold_every_point(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    x, points = box(rng, (5, 7), width)
    layer = Affine(x, rng.normal(size=(7, 4)), rng.normal(size=4))
    ids = rng.integers(0, 4, 5)
    least = layer.margins(ids)
    for point in points:
        logits = point @ layer.weight + layer.bias
        assert inside(logits, layer.bounds())
        others = np.where(np.arange(4) == ids[:, None], -np.inf, logits).max(axis=1)
        assert (least <= logits[np.arange(5), ids] - others).all()


@given(SEEDS)
def test_a_points_bounds_hold_the_exact_result(seed: int) -> None:
    """Exact in rational numbers, with terms that nearly cancel."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=6) * 10.0 ** rng.integers(-8, 8, 6)
    x = np.concatenate([half, -half * (1 + 1e-15)])
    weight = np.repeat(rng.normal(size=(6, 1)), 2, axis=0)[[0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]]
    bounds = Affine(Interval(x[None], x[None]), weight, np.zeros(1)).bounds()
    exact = sum(Fraction(a) * Fraction(float(b)) for a, b in zip(x.tolist(), weight[:, 0], strict=True))
    assert Fraction(float(bounds.low[0, 0])) <= exact <= Fraction(float(bounds.high[0, 0]))


@given(SEEDS, st.sampled_from([0.0, 0.1, 2.0]), st.sampled_from([0.1, 1.0, 30.0]))
def test_an_lstm_steps_bounds_hold_every_point(seed: int, width: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    units = 3
    recurrent = scale * rng.normal(size=(units, 4 * units))
    inputs, some_inputs = box(rng, (5, 4 * units), width)
    (h, some_h), (c, some_c) = box(rng, (5, units), width), box(rng, (5, units), width)
    bounds = lstm_step(inputs, recurrent, h, c)
    for x, before, cell in zip(some_inputs, some_h, some_c, strict=True):
        gates = x + before @ recurrent
        i, o, f, candidate = np.split(gates, 4, axis=1)
        after = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(candidate)
        assert inside(after, bounds[1])
        assert inside(_sigmoid(o) * np.tanh(after), bounds[0])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """Another formula than the one that is tested."""
    with np.errstate(over="ignore"):
        result: np.ndarray = 1 / (1 + np.exp(-x))
    return result


def test_a_wide_box_is_not_called_certain() -> None:
    """Bounds that hold nothing but points would pass the tests above."""
    x = Interval(np.full((1, 2), -1.0), np.full((1, 2), 1.0))
    layer = Affine(x, np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.5, 0.0]))
    assert layer.margins(np.array([0]))[0] == pytest.approx(-0.5)
    assert layer.bounds().low[0] == pytest.approx([0.5, -1.0])
    shared = Affine(x, np.array([[3.0, 3.0], [0.0, 0.0]]), np.array([1.0, 0.0]))
    assert shared.margins(np.array([0]))[0] == pytest.approx(1.0)  # what both columns share cancels out


def test_a_hull_is_the_smallest_box_around_each_run() -> None:
    rows = np.array([[1.0, 5.0], [2.0, -1.0], [7.0, 7.0]])
    found = hull(Interval(rows, rows), np.array([0, 2]))
    assert found.low.tolist() == [[1.0, -1.0], [7.0, 7.0]]
    assert found.high.tolist() == [[2.0, 5.0], [7.0, 7.0]]


def test_tanh_is_as_accurate_as_the_bounds_assume() -> None:
    x = np.concatenate(
        [np.linspace(-25, 25, 400_001), np.geomspace(1e-300, 1, 50_001), -np.geomspace(1e-300, 1, 50_001)]
    )
    assert np.abs(np.tanh(x) - np.tanh(x.astype(np.longdouble))).max() < 1e-15
