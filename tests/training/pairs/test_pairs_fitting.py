"""Fitting to pairs: what a batch is, what is kept, and that a run that was stopped goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from seq2seq.decoding import VARYING, Family
from seq2seq.problems.pairs import Pairs
from training import environment
from training.__main__ import main
from training.pairs import export, files, fitting, graphs, scoring
from training.pairs.files import Reading, Text
from training.pairs.fitting import PairsFit, Ragged, WrongCheckpoint
from training.pairs.recipes import PairsRecipe
from training.stopping import Diverged

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
    """Every text of some lengths; its target is the same in capitals."""
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


def run(recipe: PairsRecipe = RECIPE, checkpoint: Path | None = None) -> Any:
    """A run that has not begun."""
    return fitting._Run(recipe, TRAIN, VALIDATION, checkpoint)


def fit(checkpoint: Path | None = None, say: Callable[[str], None] = lambda _: None) -> PairsFit:
    return fitting.fit(RECIPE, TRAIN, VALIDATION, checkpoint=checkpoint, say=say)


SAID: list[str] = []


@cache
def whole() -> PairsFit:
    """A run that nobody stopped."""
    return fit(say=SAID.append)


def weights(found: PairsFit) -> list[Any]:
    return [weight.tobytes() for weight in found.layers.training.get_weights()]


class Stopped(Exception):
    pass


def stop(_: str) -> None:
    raise Stopped


def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path / "checkpoint.npz", stop)
    said: list[str] = []
    resumed = fit(tmp_path / "checkpoint.npz", said.append)
    assert [line.partition(":")[0] for line in said] == ["epoch 4 of 6", "epoch 6 of 6"]
    assert weights(resumed) == weights(whole())
    assert resumed.history == whole().history
    assert (resumed.samples, resumed.best_round) == (whole().samples, whole().best_round)


def test_progress_errors_and_the_best_round_are_kept() -> None:
    found = whole()
    history = found.history
    rounds = list(zip(history["wrong"], history["symbols_wrong"], history["confidence"], strict=True))
    assert len(rounds) == len(SAID) == 3
    keys = [(wrong, symbols, -sure) for wrong, symbols, sure in rounds]
    assert found.best_round == keys.index(min(keys)) + 1
    (wrong, symbols, _), loss = rounds[0], history["loss"][0]
    assert SAID[0] == f"epoch 2 of 6: loss {loss:.4f}, of 16 to validate {wrong:.2%} wrong, {symbols:.2%} of symbols"
    assert found.samples == 6 * len(TRAIN)
    kept = fitting.score(found, RECIPE, VALIDATION)
    assert (kept.wrong_rate, kept.symbol_rate, kept.confidence.mean()) == rounds[found.best_round - 1]
    assert history["loss"][-1] < 0.9 * loss


def test_a_resumed_run_that_had_no_gain_does_not_go_on(tmp_path: Path) -> None:
    stopped = run(checkpoint=tmp_path / "checkpoint.npz")
    rounds = RECIPE.patience + 1
    stopped.history = {name: [0.5] * rounds for name in stopped.history}
    stopped.best_round, stopped.epochs_done = 1, 4
    stopped._save()
    said: list[str] = []
    found = fit(tmp_path / "checkpoint.npz", said.append)
    assert said == ["no gain in 15 rounds, so training ends here"]
    assert len(found.history["wrong"]) == rounds


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive", b"\x93NUMPY"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(WrongCheckpoint, match=r"is no checkpoint: .*; run without --resume"):
        run(checkpoint=tmp_path / "checkpoint.npz").resume()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    run(checkpoint=path)._save()
    run(checkpoint=path).resume()
    for other in (run(replace(RECIPE, dropout=0.1), path), fitting._Run(RECIPE, pairs(1), VALIDATION, path)):
        with pytest.raises(WrongCheckpoint, match="is of other pairs or settings"):
            other.resume()
    with pytest.raises(WrongCheckpoint, match="is of other pairs or settings"):
        fitting._Run(RECIPE, TRAIN, pairs(2, 4), path).resume()  # the same, validated otherwise


@pytest.mark.parametrize("rows", [1, 2, 7, 96])
def test_the_cores_parts_of_a_batch_are_one_batch(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses and the same step, however many cores share it, and where some of them have no row."""
    recipe = replace(RECIPE, dropout=0.0, batch_size=96)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(environment, "CORES", cores)
        keras.utils.set_random_seed(1)
        started = run(recipe)
        places = np.arange(rows) % len(started.sources)
        targets = started.targets.padded(places)
        shifted = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
        losses = [started.step(started.sources.padded(places), shifted, targets).numpy() for _ in range(3)]
        found.append((np.array(losses), started.model.get_weights()))
    (one, weights), (other, others) = found
    assert other == pytest.approx(one, rel=1e-4)
    assert one[2, 0] != one[0, 0]  # the rate begins at 0
    for each, same in zip(weights, others, strict=True):
        assert same == pytest.approx(each, abs=1e-4)


def test_of_equal_rounds_the_surest_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run()
    found._loss = 1.0
    best = []
    for wrong, sure in ((1, 0.9), (0, 0.5), (0, 0.8), (0, 0.8), (1, 1.0)):
        nothing, source = np.zeros(len(VALIDATION)), list(VALIDATION)
        score = scoring.Score(
            PROBLEM, VALIDATION, source, source, nothing + wrong > 0, nothing + wrong, nothing + 1, nothing + sure
        )
        monkeypatch.setattr(scoring, "score", lambda *_, score=score: score)
        found.validate()
        best.append(found.best_round)
    assert best == [1, 2, 3, 3, 3]
    assert found.rounds_without_gain == 2


@pytest.mark.parametrize("complete", [[], ["--complete"]], ids=["a tenth", "half"])
def test_a_run_never_sees_what_it_is_tested_with(
    complete: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So neither training nor the choice of the best round can have used it."""
    seen: list[set[Text]] = []

    def see(_: PairsRecipe, train: dict[Text, Any], validation: dict[Text, Any], **__: Any) -> PairsFit:
        seen.extend([set(train), set(validation)])
        raise Diverged

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "fit", see)
    lines = [f"{''.join(source)}\t{''.join(target)}\n" for source, (target,) in pairs(2, 3).items()]
    Path("pairs.tsv").write_text("".join(lines))
    assert main(["fit-pairs", "pairs.tsv", "--name", "capitals", *complete]) == 1
    train, validation = seen
    tested_with = set(files.split(files.read("pairs.tsv", Reading()), complete=bool(complete))["test"])
    assert tested_with
    assert not tested_with & (train | validation)
    assert not train & validation


def test_a_run_that_diverges_says_so() -> None:
    found = run()
    found.step = lambda *_: tf.constant([float("nan"), 1.0])
    with pytest.raises(
        Diverged, match="the loss is no number any more, so nothing was written; try a lower --learning-rate"
    ):
        found.train_epoch(0, lambda *_: None, 0)


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


SOURCE = np.array([[2, 3, 1], [4, 1, 0]], dtype=np.int32)
SHIFTED = np.pad(SOURCE[:, :-1], ((0, 0), (1, 0)))


def logs(model: Any) -> Any:
    """The logarithms of all probabilities, where a symbol is real (m, V)."""
    return np.asarray(tf.nn.log_softmax(model([SOURCE, SHIFTED])))[SOURCE != 0]


def test_the_loss_is_of_real_symbols_and_is_reported_without_smoothing() -> None:
    found = run(replace(RECIPE, dropout=0.0, label_smoothing=0.3))
    before = logs(found.model)
    loss, symbols = found.step.python_function(SOURCE, SHIFTED, SOURCE).numpy()
    assert symbols == 5
    assert loss == pytest.approx(-before[np.arange(5), SOURCE[SOURCE != 0]].sum(), rel=1e-4)
    found.step.python_function(SOURCE, SHIFTED, SOURCE)  # the first one was at the rate 0
    assert not np.allclose(logs(found.model), before)


def test_smoothing_spreads_the_target() -> None:
    spread = []
    for smoothing in (0.0, 0.9):
        keras.utils.set_random_seed(1)
        found = run(replace(RECIPE, dropout=0.0, label_smoothing=smoothing, learning_rate=0.1))
        for _ in range(7):
            found.step.python_function(SOURCE, SHIFTED, SOURCE)
        spread.append(float(np.exp(logs(found.model)).max(-1).mean()))
    assert spread[0] > spread[1] + 0.2


def test_averaged_weights_are_those_that_are_kept() -> None:
    """The average over the steps, as it is defined, in half precision; training goes on with weights of its own."""
    found = run(replace(RECIPE, averaging=0.5))
    found._loss = 1.0
    seen = []
    for _ in range(5):
        found.step.python_function(SOURCE, SHIFTED, SOURCE)
        seen.append(found.model.get_weights())
    found.validate()
    average = seen[0]
    for then in seen[1:]:
        average = [0.5 * old + 0.5 * new for old, new in zip(average, then, strict=True)]
    for kept, expected, last, now in zip(found.best, average, seen[-1], found.model.get_weights(), strict=True):
        assert kept == pytest.approx(expected, abs=1e-3)
        assert (kept == kept.astype(np.float16)).all()
        assert not np.array_equal(kept, last)
        assert np.array_equal(last, now)


@pytest.mark.parametrize("family", VARYING)
def test_calibration_makes_answers_less_sure(family: Family) -> None:
    recipe = replace(RECIPE, family=family)
    found = run(recipe).finish()
    model = found.layers.training
    rng = np.random.default_rng(1)
    model.set_weights(graphs.rounded([rng.normal(0, 2, weight.shape) for weight in model.get_weights()]))
    before, was = fitting.score(found, recipe, VALIDATION), model.get_weights()
    temperature = export.calibrate(PROBLEM, found, VALIDATION)
    after = fitting.score(found, recipe, VALIDATION)
    assert temperature > 1.1  # it was sure, and wrong
    for weight, one, other in zip(model.weights, was, model.get_weights(), strict=True):
        divisor = temperature if weight.path.startswith("logits/") else 1
        assert other == pytest.approx(one / divisor, rel=1e-3, abs=1e-4)
    if family != "hard_attention":  # where a mean of less sure parts may have another first
        assert after.answers == before.answers
    assert after.confidence.mean() < before.confidence.mean()
