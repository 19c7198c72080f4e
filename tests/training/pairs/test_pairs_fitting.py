"""Fitting to pairs: what a batch is, what is kept, and that a run that was stopped goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from seq2seq.problems.pairs import Pairs
from training.pairs import export, fitting, networks, scoring
from training.pairs.files import Text
from training.pairs.fitting import Diverged, PairsFit, Ragged, WrongCheckpoint
from training.pairs.recipes import PairsRecipe

pytestmark = pytest.mark.training

SYMBOLS = "abcd"
PROBLEM = Pairs("chars", "chars", tuple(SYMBOLS), tuple(SYMBOLS.upper()), 4, 4)
RECIPE = PairsRecipe(
    "copy",
    PROBLEM,
    embedding_units=6,
    encoder_units=(8,),
    decoder_units=(12,),
    epochs=6,
    batch_size=16,
    learning_rate=0.02,
)


def pairs(*lengths: int) -> dict[Text, list[Text]]:
    """Every text of some lengths over two letters and two more; its target is the same in capitals."""
    found: dict[Text, list[Text]] = {}
    for length in lengths:
        for number in range(4**length):
            source = tuple(SYMBOLS[number // 4**place % 4] for place in range(length))
            found[source] = [tuple(each.upper() for each in source)]
    return found


TRAIN, VALIDATION = pairs(1, 3), pairs(2)


@pytest.fixture(autouse=True)
def rounds_of_two_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "ROUND_STEPS", 10)


def quiet(_: str) -> None:
    pass


def fit(recipe: PairsRecipe = RECIPE, checkpoint: Path | None = None, say: Callable[[str], None] = quiet) -> PairsFit:
    return fitting.fit(recipe, TRAIN, VALIDATION, checkpoint=checkpoint, say=say)


def weights(found: PairsFit) -> list[Any]:
    return [weight.tobytes() for weight in found.layers.training.get_weights()]


class Stopped(Exception):
    pass


def stopping_after(rounds: int) -> Callable[[str], None]:
    left = [rounds]

    def say(_: str) -> None:
        left[0] -= 1
        if not left[0]:
            raise Stopped

    return say


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights(tmp_path: Path, rounds: int) -> None:
    whole = fit()
    with pytest.raises(Stopped):
        fit(checkpoint=tmp_path / "checkpoint.npz", say=stopping_after(rounds))
    resumed = fit(checkpoint=tmp_path / "checkpoint.npz")
    assert weights(resumed) == weights(whole)
    assert resumed.history == whole.history
    assert (resumed.samples, resumed.best_round) == (whole.samples, whole.best_round)


def test_another_seed_gives_other_weights() -> None:
    assert weights(fit(replace(RECIPE, epochs=2))) != weights(fit(replace(RECIPE, epochs=2, seed=2)))


def test_a_resumed_run_that_had_no_gain_does_not_go_on(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=40, patience=1, learning_rate=1e-9, averaging=0.0)
    said: list[str] = []
    whole = fit(recipe, tmp_path / "checkpoint.npz", said.append)
    assert said[-1] == "no gain in 1 rounds, so training ends here"
    assert len(whole.history["wrong"]) < 20
    again = fit(recipe, tmp_path / "checkpoint.npz")
    assert again.history == whole.history
    assert weights(again) == weights(whole)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive", b"\x93NUMPY"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(WrongCheckpoint, match=r"is no checkpoint: .*; run without --resume"):
        fit(checkpoint=tmp_path / "checkpoint.npz")


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(checkpoint=tmp_path / "checkpoint.npz", say=stopping_after(1))
    with pytest.raises(WrongCheckpoint, match="is of other pairs or settings"):
        fit(replace(RECIPE, dropout=0.1), tmp_path / "checkpoint.npz")
    with pytest.raises(WrongCheckpoint, match="is of other pairs or settings"):
        fitting.fit(RECIPE, pairs(1), VALIDATION, checkpoint=tmp_path / "checkpoint.npz", say=quiet)


def test_progress_errors_and_the_best_round_are_kept() -> None:
    said: list[str] = []
    found = fit(replace(RECIPE, epochs=30), say=said.append)
    rounds = list(zip(found.history["wrong"], found.history["symbols_wrong"], found.history["confidence"], strict=True))
    assert len(rounds) == len(said) == 15
    keys = [(wrong, symbols, -sure) for wrong, symbols, sure in rounds]
    assert found.best_round == keys.index(min(keys)) + 1
    wrong, symbols, _ = rounds[0]
    loss = found.history["loss"][0]
    assert said[0] == f"epoch 2 of 30: loss {loss:.4f}, of 16 to validate {wrong:.2%} wrong, {symbols:.2%} of symbols"
    assert found.samples == 30 * len(TRAIN)
    kept = fitting.score(found, RECIPE, VALIDATION)
    assert (kept.wrong_rate, kept.symbol_rate) == rounds[found.best_round - 1][:2]
    assert found.history["loss"][-1] < loss
    assert kept.wrong_rate < wrong


def test_of_equal_rounds_the_surest_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    sure = iter([0.5, 0.8, 0.8])

    def score(*_: Any) -> Any:
        n = len(VALIDATION)
        nothing, source = np.zeros(n), list(VALIDATION)
        return scoring.Score(
            PROBLEM, VALIDATION, source, source, nothing > 0, nothing, nothing + 1, nothing + next(sure)
        )

    monkeypatch.setattr(scoring, "score", score)
    assert fit().best_round == 2


def test_a_run_that_diverges_says_so() -> None:
    with pytest.raises(Diverged, match="the loss is no number after"):
        fit(replace(RECIPE, learning_rate=float("inf")))


# Parts of a run


def test_ragged_rows_come_back_padded() -> None:
    rows = [[5, 6, 7], [8], [9, 10], [11]]
    ragged = Ragged(iter(rows))
    assert len(ragged) == 4
    assert ragged.lengths.tolist() == [3, 1, 2, 1]
    assert ragged.padded(np.array([2, 0, 1])).tolist() == [[9, 10, 0], [5, 6, 7], [8, 0, 0]]
    assert ragged.padded(np.array([3])).tolist() == [[11]]


@pytest.mark.parametrize("n", [1, 5, 16, 1_000])
def test_every_pair_comes_once_an_epoch(n: int) -> None:
    rng = np.random.default_rng(1)
    sources, targets = rng.integers(1, 50, n), rng.integers(1, 50, n)
    epochs = [list(fitting._bucketed(sources, targets, 8, rng)) for _ in range(2)]
    for batches in epochs:
        assert sorted(np.concatenate(batches).tolist()) == list(range(n))
        assert max(map(len, batches)) <= 8
        assert len(batches) == -(-n // 8)
    if n == 1_000:
        assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def test_a_batch_has_similar_lengths() -> None:
    rng = np.random.default_rng(1)
    sources = rng.integers(1, 50, 800)
    spread = [np.ptp(sources[batch]) for batch in fitting._bucketed(sources, sources, 8, rng)]
    assert np.mean(spread) < 2
    means = [sources[batch].mean() for batch in fitting._bucketed(sources, sources, 8, rng)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4  # in random order


def test_noise_replaces_the_share_that_was_asked_for() -> None:
    shifted = np.tile(np.array([0, 2, 3, 1, 0], dtype=np.int32), (4_000, 1))
    noisy = fitting._with_noise(shifted, replace(RECIPE, noise=0.4), np.random.default_rng(1))
    is_symbol = shifted > 1
    assert (noisy[~is_symbol] == shifted[~is_symbol]).all()  # start, end and padding stay
    assert set(noisy[is_symbol]) == {2, 3, 4, 5}
    assert (noisy != shifted)[is_symbol].mean() == pytest.approx(0.4 * 3 / 4, abs=0.02)  # one in four is itself


def gradient_step(recipe: PairsRecipe) -> tuple[float, float, networks.Layers, list[Any]]:
    """The loss before one plain step, the step's own report of it, and the weights before."""
    tf.random.set_seed(1)
    layers = networks.Layers(PROBLEM, recipe.spec)
    model = layers.training
    source = np.array([[2, 3, 1], [4, 1, 0]], dtype=np.int32)
    target = np.array([[2, 3, 1], [4, 1, 0]], dtype=np.int32)
    shifted = np.pad(target[:, :-1], ((0, 0), (1, 0)))
    logs = np.asarray(tf.nn.log_softmax(model([source, shifted])))
    true = -np.take_along_axis(logs, target[..., None], -1)[..., 0]
    before = model.get_weights()
    optimizer = fitting._optimizer(recipe, 10)
    optimizer.build(model.trainable_variables)
    reported, symbols = fitting._step(recipe, model, optimizer)(source, shifted, target).numpy()
    assert symbols == 5
    return float(true[target != 0].sum()), float(reported), layers, before


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_of_real_symbols_and_is_reported_without_smoothing(smoothing: float) -> None:
    true, reported, layers, before = gradient_step(replace(RECIPE, dropout=0.0, label_smoothing=smoothing))
    assert reported == pytest.approx(true, rel=1e-4)
    assert any((one != other).any() for one, other in zip(before, layers.training.get_weights(), strict=True))


def test_smoothing_spreads_the_target() -> None:
    """With 90% on each target, a network that is surer than that is pulled back."""
    sure = fit(replace(RECIPE, epochs=40, dropout=0.0, noise=0.0, weight_decay=0.0, label_smoothing=0.0))
    smooth = fit(replace(RECIPE, epochs=40, dropout=0.0, noise=0.0, weight_decay=0.0, label_smoothing=0.3))
    one, other = (fitting.score(each, RECIPE, TRAIN).confidence.mean() for each in (sure, smooth))
    assert other < 0.75 < 0.9 < one


def test_averaged_weights_are_those_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The average over the run, as it is defined, in half precision; training itself goes on with its own weights."""
    seen: list[list[Any]] = []
    momentum = 0.5
    recipe = replace(RECIPE, epochs=2, averaging=momentum)
    real = fitting._step

    def step(*arguments: Any) -> Any:
        run, model = real(*arguments), arguments[1]

        def watched(*batch: Any) -> Any:
            found = run(*batch)
            seen.append(model.get_weights())
            return found

        return watched

    monkeypatch.setattr(fitting, "_step", step)
    found = fit(recipe)
    assert len(seen) == 10
    average = seen[0]
    for weights_then in seen[1:]:
        average = [momentum * old + (1 - momentum) * new for old, new in zip(average, weights_then, strict=True)]
    for kept, expected, last in zip(found.layers.training.get_weights(), average, seen[-1], strict=True):
        assert kept == pytest.approx(expected, abs=1e-3)
        assert (kept == kept.astype(np.float16)).all()
        assert not np.array_equal(kept, last)


def test_calibration_changes_no_answer_and_takes_the_temperature_in() -> None:
    found = fit(replace(RECIPE, epochs=20))
    before = fitting.score(found, RECIPE, VALIDATION)
    logits = found.layers.logits.get_weights()
    temperature = export.calibrate(PROBLEM, found, VALIDATION)
    after = fitting.score(found, RECIPE, VALIDATION)
    assert temperature != 1
    for one, other in zip(logits, found.layers.logits.get_weights(), strict=True):
        assert other == pytest.approx(one / temperature, rel=1e-3, abs=1e-4)
    assert sum(one != other for one, other in zip(before.answers, after.answers, strict=True)) <= 1  # rounding
