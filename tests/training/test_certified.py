"""Training over boxes: what it bounds is what the network computes, with one layer and with several."""

import keras
import numpy as np
import pytest

from seq2seq.bundle import NetworkSpec
from seq2seq.problems.reversal import Reversal
from seq2seq.vocabulary import IdArray
from training import networks
from training.certified import Certified
from training.data import shifted
from training.loss import cross_entropy

pytestmark = pytest.mark.training

PROBLEM = Reversal(4, 4, 5, 2)
ASKED = Reversal(1, 5, 4, 2, any_take=True)


@pytest.fixture(params=[(6,), (6, 4)], ids=["one layer", "two layers"])
def certified(request: pytest.FixtureRequest) -> Certified:
    return made(PROBLEM, request.param)


def made(problem: Reversal, units: tuple[int, ...]) -> Certified:
    keras.utils.set_random_seed(1)
    models = networks.build(problem, NetworkSpec("autoregressive", units, units, 0, True), unroll=True)
    return Certified(models, problem, weight=0.5, rows=4, margin=0.0, seed=1)


def pairs(n: int, problem: Reversal = PROBLEM) -> tuple[IdArray, IdArray, IdArray]:
    """Sources (n, S), shifted targets (n, T) and targets (n, T)."""
    sources = problem.sample_sources(np.random.default_rng(2), n)
    targets = problem.answer(sources)
    return sources, shifted(targets, 0), targets


def above_true(logits: np.ndarray, targets: IdArray) -> np.ndarray:
    """Logits (B, T, V) less the true one of their place."""
    above: np.ndarray = logits - np.take_along_axis(logits, targets[..., None].astype(int), axis=-1)
    return above


def test_the_worst_logits_are_no_better_than_any_tails(certified: Certified) -> None:
    certified.measure_box()
    certified.width.assign(1.0)
    sources, before, targets = pairs(30)
    worst = np.asarray(certified._worst_logits(sources, before, targets))
    assert PROBLEM.tail.contents is not None
    for tail in PROBLEM.tail.contents:
        sources[:, 2:] = tail
        found = above_true(np.asarray(certified.network([sources, before])), targets)
        assert (found <= worst + 1e-5).all()


@pytest.mark.parametrize("units", [(6,), (6, 4)])
def test_tails_that_are_not_listed_are_read_by_boxes(units: tuple[int, ...]) -> None:
    certified = made(ASKED, units)
    certified.measure_box()
    certified.width.assign(1.0)
    sources, before, targets = pairs(2_000, ASKED)
    worst = np.asarray(certified._worst_logits(sources, before, targets))
    found = above_true(np.asarray(certified.network([sources, before])), targets)
    assert (found <= worst + 1e-5).all()
    tails = np.indices([5] * 3).reshape(3, -1).T  # (125, 3)
    x = np.eye(len(ASKED.source_vocabulary), dtype=np.float32)[tails]
    for depth, layer in enumerate(certified.encoder):
        x, *states = layer(x)
        for state, low, high in zip(
            states, *map(np.asarray, (certified.low[depth], certified.high[depth])), strict=True
        ):
            assert (low <= np.asarray(state) + 1e-6).all()
            assert (np.asarray(state) <= high + 1e-6).all()


def test_a_box_around_one_tail_gives_what_the_network_gives(certified: Certified) -> None:
    tail = np.array([[4, 1]], dtype=np.int32)
    certified.tail = certified.tail._replace(contents=tail)
    certified.measure_box()
    certified.width.assign(1.0)
    sources, before, targets = pairs(30)
    sources[:, 2:] = tail
    logits = np.asarray(certified.network([sources, before]))
    worst = np.asarray(certified._worst_logits(sources, before, targets))
    assert worst == pytest.approx(above_true(logits, targets), abs=1e-5)
    assert np.asarray(certified._from_random_states(sources, before)) == pytest.approx(logits, abs=1e-5)


def test_half_of_a_batch_starts_from_random_states_in_training_only(certified: Certified) -> None:
    certified.measure_box()
    certified.width.assign(1.0)
    sources, before, _ = pairs(8)
    plain = np.asarray(certified.network([sources, before]))
    trained = np.asarray(certified((sources, before), training=True))
    assert np.asarray(certified((sources, before))) == pytest.approx(plain)
    assert trained[:4] == pytest.approx(plain[:4])
    assert (np.abs(trained[4:] - plain[4:]).max(axis=(1, 2)) > 1e-4).all()


def test_a_margin_lowers_the_true_logit_only() -> None:
    logits = np.log(np.array([[[1.0, 2.0, 1.0]]], dtype=np.float32))
    targets = np.array([[1]])
    assert np.asarray(cross_entropy(targets, logits))[0, 0] == pytest.approx(np.log(2))
    lowered = float(np.asarray(cross_entropy(targets, logits, np.log(2)))[0, 0])
    assert lowered == pytest.approx(np.log(3))
