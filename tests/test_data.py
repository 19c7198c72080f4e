import itertools
from dataclasses import replace

import numpy as np
import pytest

from seq2seq.holdout import in_split
from seq2seq.problems.addition import Addition
from training import data
from training.recipes import RECIPES, Recipe


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("name", RECIPES)
def test_batches_are_whole_and_right(name: str, rng: np.random.Generator) -> None:
    recipe = RECIPES[name]
    examples, _ = data.fixed_examples(replace(recipe, hold_out=False), rng)
    for sources, targets in itertools.islice(data.batches(recipe, rng, examples), 5):
        assert sources.shape == (recipe.batch_size, recipe.problem.source_length)
        assert targets.shape == (recipe.batch_size, recipe.problem.target_length)
        assert sources.dtype == targets.dtype == np.int32
        assert (recipe.problem.answer(sources) == targets).all()


def variants() -> list[Recipe]:
    return [
        RECIPES["addition"],
        RECIPES["reversal"],
        replace(RECIPES["addition-three-terms"], hold_out=True),
        replace(RECIPES["addition-two-terms"], hold_out=True),
        replace(RECIPES["reversal-six-three"], hold_out=True),
    ]


@pytest.mark.parametrize("recipe", variants(), ids=lambda recipe: recipe.name)
def test_nothing_held_out_is_ever_trained_on(recipe: Recipe, rng: np.random.Generator) -> None:
    examples = None
    if recipe.examples is not None:
        examples, _ = data.fixed_examples(recipe, rng)
    seen = itertools.islice(data.batches(recipe, rng, examples), max(20, 150_000 // recipe.batch_size))
    for sources, _ in seen:
        assert in_split(recipe.problem.keys(sources), "train").all()


def test_validation_comes_from_its_own_split(rng: np.random.Generator) -> None:
    recipe = replace(RECIPES["addition-three-terms"], hold_out=True)
    examples, validation = data.fixed_examples(recipe, rng)
    assert examples is None
    assert validation is not None
    assert in_split(recipe.problem.keys(validation[0]), "validation").all()
    assert len(np.unique(validation[0], axis=0)) == len(validation[0])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("hold_out", [False, True])
def test_no_problem_trains_and_validates(seed: int, hold_out: bool) -> None:
    recipe = replace(RECIPES["addition-two-terms"], hold_out=hold_out)
    examples, validation = data.fixed_examples(recipe, np.random.default_rng(seed))
    assert examples is not None
    assert validation is not None
    trained, validated = (set(recipe.problem.keys(sources).tolist()) for sources, _ in (examples, validation))
    assert not trained & validated
    assert len(validated) == round((len(trained) + len(validated)) * recipe.validation)
    assert len(examples[0]) + len(validation[0]) == recipe.examples


@pytest.mark.parametrize(("share", "validated"), [(0.0, None), (0.001, 1), (0.999, 2)])
def test_a_share_never_takes_all_problems_nor_rounds_to_none(
    share: float, validated: int | None, rng: np.random.Generator
) -> None:
    recipe = replace(RECIPES["addition-two-terms"], problem=Addition(1, 1, 2, "left"), validation=share)
    examples, validation = data.fixed_examples(recipe, rng)
    assert examples is not None
    assert (validation and len(np.unique(validation[0], axis=0))) == validated


def test_a_single_problem_trains(rng: np.random.Generator) -> None:
    examples, validation = data.fixed_examples(replace(RECIPES["addition-two-terms"], examples=1), rng)
    assert examples is not None
    assert (len(examples[0]), validation) == (1, None)


def test_fixed_examples_are_repeated_in_fresh_order(rng: np.random.Generator) -> None:
    recipe = RECIPES["addition-two-terms"]
    examples, _ = data.fixed_examples(recipe, rng)
    assert examples is not None
    count = len(examples[0])
    drawn = itertools.islice(data.batches(recipe, rng, examples), 2 * count // recipe.batch_size + 1)
    sources = np.concatenate([batch for batch, _ in drawn])
    one, other = sources[:count], sources[count : 2 * count]
    expected = sorted(map(tuple, examples[0].tolist()))
    assert sorted(map(tuple, one.tolist())) == sorted(map(tuple, other.tolist())) == expected
    assert (one != other).any()


def test_a_pass_goes_through_every_problem_once(rng: np.random.Generator) -> None:
    recipe = RECIPES["addition-three-terms"]
    one, other = itertools.islice(data.passes(recipe, rng), 2)
    assert len(np.unique(one, axis=0)) == len(one) == 1_000
    assert (one != other).any()


def test_the_same_seed_draws_the_same() -> None:
    def third(seed: int) -> str:
        batches = data.batches(RECIPES["addition"], np.random.default_rng(seed))
        return str([next(batches)[0] for _ in range(3)][-1])

    assert third(1) == third(1) != third(2)


def test_the_decoder_reads_its_target_shifted() -> None:
    targets = np.array([[40, 36, 20], [1, 2, 3]], dtype=np.int32)
    assert data.shifted(targets, 0).tolist() == [[0, 40, 36], [0, 1, 2]]
