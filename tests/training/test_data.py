import itertools
from dataclasses import replace

import numpy as np
import pytest

from seq2seq.holdout import BUCKETS, in_split
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


def test_of_a_large_problem_a_sample_validates(rng: np.random.Generator) -> None:
    recipe = RECIPES["addition"]
    assert recipe.problem.distinct_size > data.MOST_LISTED
    _, validation = data.fixed_examples(recipe, rng)
    assert validation is not None
    assert in_split(recipe.problem.keys(validation[0]), "validation").all()
    assert len(validation[0]) == data.MOST_LISTED // BUCKETS


def test_a_fifth_of_fixed_examples_validates(rng: np.random.Generator) -> None:
    examples, validation = data.fixed_examples(RECIPES["addition-two-terms"], rng)
    assert examples is not None
    assert validation is not None
    assert (len(examples[0]), len(validation[0])) == (800, 200)
    assert data.share_seen(RECIPES["addition-two-terms"].problem, examples, validation) == 1.0


def test_what_validates_and_was_not_trained_on_is_counted() -> None:
    problem = RECIPES["addition-two-terms"].problem
    sources = problem.encode(["1+2", "3+4", "2+1", "5+5"])
    pair = sources, problem.answer(sources)
    trained, validated = (pair[0][:2], pair[1][:2]), (pair[0][2:], pair[1][2:])
    assert data.share_seen(problem, trained, validated) == 0.5  # 2+1 is the problem 1+2
    assert data.share_seen(problem, trained, None) is None


def test_fixed_examples_are_repeated_in_fresh_order(rng: np.random.Generator) -> None:
    recipe = RECIPES["addition-two-terms"]
    examples, _ = data.fixed_examples(recipe, rng)
    assert examples is not None
    batches = data.batches(recipe, rng, examples)
    one, other = (np.concatenate([next(batches)[0] for _ in range(25)]) for _ in range(2))
    assert (
        sorted(map(tuple, one.tolist()))
        == sorted(map(tuple, other.tolist()))
        == sorted(map(tuple, examples[0].tolist()))
    )
    assert (one != other).any()


def test_a_pass_goes_through_every_problem_once(rng: np.random.Generator) -> None:
    recipe = RECIPES["addition-three-terms"]
    one, other = itertools.islice(data.passes(recipe, rng), 2)
    assert len(np.unique(one, axis=0)) == len(one) == 1_000
    assert (one != other).any()


def test_every_second_sample_is_a_hard_one(rng: np.random.Generator) -> None:
    recipe = RECIPES["addition"]
    hard = recipe.problem.encode(["9+9+19+83", "8+7+90+0"])
    for sources, targets in itertools.islice(data.batches(recipe, rng, hard=hard), 3):
        assert set(map(tuple, sources[::2].tolist())) == set(map(tuple, hard.tolist()))
        assert len(np.unique(sources[1::2], axis=0)) > 100
        assert (recipe.problem.answer(sources) == targets).all()


@pytest.mark.parametrize("lengths", [[], [5], [3, 3, 1], [0, 10], [7, 0, 2, 1]])
def test_batches_lose_nothing(lengths: list[int]) -> None:
    numbers = np.arange(sum(lengths), dtype=np.int32)
    parts = np.split(numbers, np.cumsum(lengths)[:-1]) if lengths else []
    batches = list(data.batched(3, ((part, -part) for part in parts)))
    assert [len(sources) for sources, _ in batches[:-1]] == [3] * (len(batches) - 1)
    assert [number for sources, _ in batches for number in sources.tolist()] == list(range(sum(lengths)))
    assert all(0 < len(sources) <= 3 for sources, _ in batches)
    assert all((sources == -targets).all() for sources, targets in batches)


def test_the_same_seed_draws_the_same() -> None:
    def third(seed: int) -> str:
        batches = data.batches(RECIPES["addition"], np.random.default_rng(seed))
        return str([next(batches)[0] for _ in range(3)][-1])

    assert third(1) == third(1) != third(2)


def test_the_decoder_reads_its_target_shifted() -> None:
    targets = np.array([[40, 36, 20], [1, 2, 3]], dtype=np.int32)
    assert data.shifted(targets, 0).tolist() == [[0, 40, 36], [0, 1, 2]]
