"""A run of the training benchmark: it trains our networks, and tries them on every problem."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import trial
from training import recipes

pytestmark = pytest.mark.training


@pytest.mark.parametrize(("problem", "of"), [("sums", 1_000), ("lists", 125_000)])
def test_our_recipe_is_trained_and_tried(monkeypatch: pytest.MonkeyPatch, problem: str, of: int) -> None:
    name = trial.RECIPES[problem]
    short = replace(recipes.RECIPES[name], samples=2_000, epochs=1)
    monkeypatch.setattr(recipes, "RECIPES", {name: short})
    found = trial.ours(problem, seed=1)
    assert found["of"] == of
    assert 0 < found["wrong"] <= of
    assert 1_000 < found["samples"] <= 2_000


def test_the_sustained_rate_is_that_of_whole_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SUSTAINED_STEPS", 2)
    monkeypatch.setattr(trial, "SUSTAINED_EPOCHS", 3)
    assert trial.sustained("sums", seed=1)["examples_per_second"] > 0
