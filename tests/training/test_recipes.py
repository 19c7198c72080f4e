import json
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from seq2seq.problems.addition import Addition
from training.recipes import RECIPES, Recipe, RecipeError, Recipes


def test_the_tutorials_budgets_are_kept() -> None:
    budgets = {"addition-three-terms": 75_000, "addition-two-terms": 50 * 800, "reversal-six-three": 100_000}
    assert {name for name, recipe in RECIPES.items() if not recipe.ships} == set(budgets)
    for name, budget in budgets.items():
        assert 0.5 * budget < RECIPES[name].samples <= budget
    for recipe in RECIPES.values():
        assert recipe.steps * recipe.batch_size <= recipe.samples
        assert recipe.steps * recipe.batch_size > 0.99 * recipe.samples


WHOLE = {"arithmetic"}
"""What ships though nothing was held out, and says so."""


def test_what_ships_holds_out_half_or_says_that_it_does_not() -> None:
    ships = {name for name, recipe in RECIPES.items() if recipe.ships}
    assert ships == {"addition", "arithmetic", "reversal"}
    assert {name for name, recipe in RECIPES.items() if recipe.hold_out} == ships - WHOLE
    assert all("trained on the whole domain" in RECIPES[name].about for name in WHOLE)


@pytest.mark.parametrize("name", RECIPES)
def test_plain_data_rebuilds_the_recipe(name: str) -> None:
    data = json.loads(json.dumps(RECIPES[name].as_data()))
    assert Recipe.from_data(data) == RECIPES[name]
    del data["xla"]  # as if an older release had not had it
    assert Recipe.from_data(data) == replace(RECIPES[name], xla=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[({"samples": value}, "samples is from 1 to") for value in (-1, 0, 10**13)],
        *[({"batch_size": value}, "batch_size is from 1 to 65,536") for value in (-1, 0, 10**6)],
        *[({"epochs": value}, "epochs is from 1 to") for value in (-1, 0, 10**13)],
        *[({"seed": value}, "seed is from 0 to") for value in (-1, 2**32)],
        *[({"learning_rate": value}, "learning_rate is a positive number") for value in (-1.0, 0.0, inf, nan)],
        *[({"clip_norm": value}, "clip_norm is") for value in (0.0, nan)],
        *[({"weight_decay": value}, "weight_decay is") for value in (-0.1, nan)],
        *[({"warm_up": value}, "warm_up is from 0 to 1") for value in (-0.1, 1.1, nan)],
        *[({"rare": value}, "rare is from 0 to 1") for value in (-0.1, 1.1, nan)],
        *[({"beta_2": value}, "beta_2 is from 0") for value in (-0.1, 1.0)],
        *[({"encoder_units": value}, "encoder_units is 1 to 16 numbers") for value in ((), (0,), (8, -1), (8,) * 17)],
        *[({"decoder_units": value}, "decoder_units is 1 to 16 numbers") for value in ((), (10**4_000,))],
        *[({"name": value}, "name is at most") for value in ("", "a/b", "../a", "a b")],
        ({"samples": 100}, "100 samples are less than one batch of 256 in each of 10 epochs"),
        ({"hard_epochs": -1}, "hard_epochs is 0 or more"),
        ({"hard_epochs": 10}, "hard_epochs must be fewer than the 10 epochs, not 10"),
        ({"examples": 5_000}, "hard_epochs needs samples that are drawn at random"),
        ({"problem": Addition(2, 3, 99, "term"), "passes": True}, "not fixed examples or passes"),
        ({"validation": 0.2}, "fixed number of examples"),
        ({"validation": 1.0, "examples": 5, "hard_epochs": 0}, "validation is from 0"),
        ({"examples": 0}, "examples is from 1"),
        ({"family": "autoregressive", "encoder_units": (8,)}, "must be the same"),
        ({"encoder_units": (2**16,)}, "parameters do not fit into a file"),
        ({"problem": Addition(1, 1, 0, "left")}, "too few to hold out"),
        ({"problem": Addition(2, 3, 9_999, "left")}, "too large"),
        ({"problem": Addition(2, 3, 999, "left"), "passes": True, "hard_epochs": 0}, "too large"),
        ({"problem": Addition(2, 2, 10**12, "left"), "hold_out": False}, "too large"),
    ],
)
def test_unusable_recipes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        replace(RECIPES["addition"], **changes)
    assert len(str(caught.value)) < 150


def test_a_recipe_that_cannot_be_built_breaks_only_itself() -> None:
    recipes = Recipes({"broken": lambda name: replace(RECIPES["addition"], name=name, epochs=0), **RECIPES.builders})
    with pytest.raises(RecipeError, match=r"^broken: the recipe cannot be built: epochs is from 1"):
        recipes["broken"]
    assert "broken" in recipes
    assert list(recipes) == ["broken", *RECIPES]
    assert recipes["addition"] == RECIPES["addition"]
    with pytest.raises(KeyError):
        recipes["division"]
