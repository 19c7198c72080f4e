"""What a network gets wrong, or right by the least, is found among what it may be trained on, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from seq2seq.decoding import Family
from seq2seq.holdout import in_split
from seq2seq.problem import Oracle
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from training import data, fitting, hard_examples
from training.recipes import RECIPES

pytestmark = pytest.mark.training

SMALL = replace(
    RECIPES["addition"],
    problem=Addition(2, 3, 9, "column"),
    encoder_units=(16,),
    decoder_units=(16,),
    samples=60_000,
    epochs=3,
    xla=False,
)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep fifty, and look at 64 at a time. Even a small problem then has many batches, and more than are kept."""
    monkeypatch.setattr(hard_examples, "KEPT", 50)
    monkeypatch.setattr(hard_examples, "BATCH", 64)


@pytest.mark.parametrize("hold_out", [True, False])
@pytest.mark.parametrize("problem", [SMALL.problem, Reversal(3, 3, 30, 2)], ids=["repeat vector", "autoregressive"])
def test_the_least_margins_are_found(problem: Oracle, hold_out: bool) -> None:
    family: Family = "autoregressive" if isinstance(problem, Reversal) else "repeat_vector"
    recipe = replace(SMALL, problem=problem, family=family, hold_out=hold_out, samples=3_000, epochs=2, hard_epochs=0)
    network = fitting.fit(recipe).models.training

    sources = np.concatenate(list(problem.distinct(np.random.default_rng(recipe.seed), 1_000)))
    targets = problem.answer(sources)
    logits = network.predict(data.inputs(problem, family, sources, targets), verbose=0)  # (N, T, V)
    true = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    np.put_along_axis(logits, targets[..., None], -np.inf, axis=-1)
    margins = (true - logits.max(axis=-1)).min(axis=-1)
    allowed = in_split(problem.keys(sources), "train") if hold_out else np.full(len(sources), True)
    least = np.sort(margins[allowed])[:50]

    found = hard_examples.hardest(recipe, network, lambda *_: None)
    place = {tuple(source): margin for source, margin in zip(sources.tolist(), margins, strict=True)}
    assert np.allclose([place[tuple(source)] for source in found.tolist()], least, atol=1e-4)
    assert len(np.unique(found, axis=0)) == 50
    if hold_out:
        assert in_split(problem.keys(found), "train").all()


def test_they_are_looked_for_before_each_of_the_last_epochs_and_the_same_seed_gives_the_same_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[int] = []
    batches = data.batches

    def noted(*arguments):  # type: ignore[no-untyped-def]
        given.append(0 if arguments[3] is None else len(arguments[3]))
        return batches(*arguments)

    monkeypatch.setattr(data, "batches", noted)
    fit, again = fitting.fit(SMALL), fitting.fit(SMALL)
    assert given[:2] == [0, 50]
    assert 50 < given[2] <= 100
    assert given[3:] == given[:3]
    assert {len(values) for values in fit.history.values()} == {3}
    assert fit.samples == SMALL.steps * SMALL.batch_size
    weights = (each.models.training.get_weights() for each in (fit, again))
    assert all((one == other).all() for one, other in zip(*weights, strict=True))
