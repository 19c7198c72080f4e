import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.problem import RuleBroken
from seq2seq.problems.reversal import Reversal

SERVED = Reversal(6, 6, 50, 3)
VARIABLE = Reversal(3, 8, 9, 2)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_the_tutorials_worked_example() -> None:
    sources = SERVED.encode([[20, 36, 40, 10, 34, 28]])
    assert SERVED.answer(sources).tolist() == [[40, 36, 20]]
    assert len(SERVED.source_vocabulary) == 51
    assert SERVED.source_vocabulary.one_hot(sources).shape == (1, 6, 51)


def test_every_leading_triple_comes_once_with_fresh_tails(rng: np.random.Generator) -> None:
    sources = np.concatenate(list(SERVED.distinct(rng, 10_000)))
    again = np.concatenate(list(SERVED.distinct(rng, 10_000)))
    assert sources.shape == (125_000, 6)
    assert [tuple(row) for row in sources[:, :3].tolist()] == list(itertools.product(range(1, 51), repeat=3))
    assert sources.min() == 1
    assert sources.max() == 50
    assert (sources[:, 3:] != again[:, 3:]).mean() > 0.9
    assert SERVED.distinct_size == 125_000
    assert SERVED.domain_size == 50**6
    assert Reversal(3, 3, 5, 3).domain_size == 125  # without tails


def test_only_the_leading_items_make_the_key() -> None:
    keys = SERVED.keys(SERVED.encode([[1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 9, 9], [2, 1, 3, 4, 5, 6]]))
    assert keys[0] == keys[1] != keys[2]


def test_lists_of_several_lengths_are_padded_on_the_right(rng: np.random.Generator) -> None:
    assert VARIABLE.encode([[4, 5, 6]]).tolist() == [[4, 5, 6, 0, 0, 0, 0, 0]]
    requests = VARIABLE.requests(VARIABLE.sample_sources(rng, 1_000))
    assert {len(request) for request in requests} == set(range(3, 9))
    sources = VARIABLE.encode([VARIABLE.parse(request) for request in requests])
    assert VARIABLE.requests(sources) == requests
    assert VARIABLE.decode(VARIABLE.answer(sources)) == [request[:2][::-1] for request in requests]


@pytest.mark.parametrize(
    ("value", "rule", "place", "words"),
    [
        ([1, 2, 3, 4, 5], "length", (), "has 5 items; exactly 6"),
        ([1, 2, 3, 4, 5, 6, 7], "length", (), "has 7 items"),
        ([], "length", (), "has 0 items"),
        ([0, 2, 3, 4, 5, 6], "range", (0,), "item 1 is 0; an item is from 1 to 50"),
        ([1, 2, 3, 4, 5, 51], "range", (5,), "item 6 is 51"),
        ([1, 10**5000, 3, 4, 5, 6], "range", (1,), "item 2 is a number of more than 18 digits"),
        ([1], "length", (), "has 1 item; exactly 6"),
        ([1, -1, 3, 4, 5, 6], "range", (1,), "item 2 is -1"),
        ([1, True, 3, 4, 5, 6], "integer", (1,), "item 2 is true"),
        ([1, 1.0, 3, 4, 5, 6], "integer", (1,), "item 2 is 1.0"),
        ([1, "7", 3, 4, 5, 6], "integer", (1,), 'item 2 is "7"'),
        ([1, None, 3, 4, 5, 6], "integer", (1,), "item 2 is null"),
        ([1, [2], 3, 4, 5, 6], "integer", (1,), "item 2 is a list"),
        ("123456", "list", (), "not text"),
        (None, "list", (), "a list of integers"),
    ],
)
def test_a_refusal_says_which_rule_and_where(value: object, rule: str, place: tuple[int, ...], words: str) -> None:
    with pytest.raises(RuleBroken, match=words) as caught:
        SERVED.parse(value)
    assert (caught.value.rule, caught.value.place) == (rule, place)


@given(st.lists(st.integers(-5, 60), max_size=9))
def test_what_is_accepted_is_in_the_domain(value: list[int]) -> None:
    acceptable = len(value) == 6 and all(1 <= item <= 50 for item in value)
    try:
        assert SERVED.parse(value) == value
        assert acceptable
    except RuleBroken:
        assert not acceptable


def test_what_the_model_wrote_is_rendered_as_it_stands() -> None:
    assert SERVED.decode(np.array([[40, 36, 20], [0, 1, 2]], dtype=np.int32)) == [[40, 36, 20], [1, 2]]
    assert SERVED.render([40, 36, 20]) == [40, 36, 20]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((6, 1_001, 50, 3), "a list may have 1,000 items at most, not 1001"),
        ((6, 6, 10_001, 3), "cardinality must be from 1 to 10,000, not 10001"),
        ((6, 6, 10**4_000, 3), "cardinality must be from 1 to 10,000"),
        ((6, 6, 0, 3), "cardinality must be from 1 to 10,000, not 0"),
        *(((*lengths, 50, take), "lengths must be ordered") for *lengths, take in ((2, 6, 3), (6, 5, 3), (6, 6, 0))),
    ],
)
def test_unusable_problems_are_refused(fields: tuple[int, int, int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Reversal(*fields)
