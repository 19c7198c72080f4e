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
    """Fifty are kept, and batches are small, so that there are many of both."""
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

    found = hard_examples.hardest(recipe, network)
    place = {tuple(source): margin for source, margin in zip(sources.tolist(), margins, strict=True)}
    assert np.allclose([place[tuple(source)] for source in found.tolist()], least, atol=1e-4)
    assert len(np.unique(found, axis=0)) == 50
    if hold_out:
        assert in_split(problem.keys(found), "train").all()


def test_they_are_looked_for_before_each_of_the_last_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    batches = data.batches

    def noted(*arguments):  # type: ignore[no-untyped-def]
        given.append(0 if arguments[3] is None else len(arguments[3]))
        return batches(*arguments)

    monkeypatch.setattr(data, "batches", noted)
    fit = fitting.fit(SMALL)
    assert given[0] == 0
    assert given[1] == 50
    assert 50 < given[2] <= 100
    assert {len(values) for values in fit.history.values()} == {3}
    assert fit.samples == SMALL.steps * SMALL.batch_size


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other = (fitting.fit(SMALL).models.training.get_weights() for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
