from dataclasses import replace

import pytest

from seq2seq.problems import from_spec
from training.recipes import RECIPES


def test_the_tutorials_budgets_are_kept() -> None:
    budgets = {"addition-three-terms": 75_000, "addition-two-terms": 50 * 800, "reversal-six-three": 100_000}
    assert {name for name, recipe in RECIPES.items() if not recipe.ships} == set(budgets)
    for name, budget in budgets.items():
        assert 0.5 * budget < RECIPES[name].samples <= budget
    for recipe in RECIPES.values():
        assert recipe.steps * recipe.batch_size <= recipe.samples
        assert recipe.steps * recipe.batch_size > 0.99 * recipe.samples


def test_what_ships_holds_out_half() -> None:
    assert {name for name, recipe in RECIPES.items() if recipe.ships} == {"addition", "reversal"}
    assert all(recipe.hold_out == recipe.ships for recipe in RECIPES.values())


@pytest.mark.parametrize("name", RECIPES)
def test_plain_data_rebuilds_the_problem(name: str) -> None:
    data = RECIPES[name].as_data()
    assert from_spec(data["problem"]) == RECIPES[name].problem
    assert data["seed"] == RECIPES[name].seed


def test_unusable_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="less than one batch"):
        replace(RECIPES["addition"], samples=100)
    with pytest.raises(ValueError, match="fixed number of examples"):
        replace(RECIPES["addition"], validation=0.2)
