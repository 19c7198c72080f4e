import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.problem import RuleBroken
from seq2seq.problems import from_spec
from seq2seq.problems.reversal import Reversal

SERVED = Reversal(6, 6, 50, 3)
VARIABLE = Reversal(3, 8, 9, 2)
ASKED = Reversal(1, 8, 50, 3, any_take=True)
FEW = Reversal(1, 4, 3, 2, any_take=True)


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


def test_what_a_request_takes_comes_first_and_padding_of_its_answer_too() -> None:
    requests = [
        [20, 36, 40, 10],
        {"sequence": [20, 36, 40, 10], "take": 3},
        {"sequence": [20, 36, 40, 10], "take": 2},
        {"sequence": [20, 36, 40, 10], "take": 1},
        [20, 36],
        {"sequence": [20], "take": 1},
    ]
    symbols = [ASKED.parse(request) for request in requests]
    sources = ASKED.encode(symbols)
    assert sources.tolist() == [
        [53, 20, 36, 40, 10, 0, 0, 0, 0],
        [53, 20, 36, 40, 10, 0, 0, 0, 0],
        [52, 20, 36, 40, 10, 0, 0, 0, 0],
        [51, 20, 36, 40, 10, 0, 0, 0, 0],
        [53, 20, 36, 0, 0, 0, 0, 0, 0],
        [51, 20, 0, 0, 0, 0, 0, 0, 0],
    ]
    answers = ASKED.answer(sources)
    assert answers.tolist() == [[40, 36, 20], [40, 36, 20], [0, 36, 20], [0, 0, 20], [0, 36, 20], [0, 0, 20]]
    assert ASKED.decode(answers) == [*map(ASKED.truth, symbols)]
    assert ASKED.source_vocabulary.symbols[50:] == (50, "take 1", "take 2", "take 3")
    assert ASKED.requests(sources) == [requests[0], *requests[:1], *requests[2:]]
    assert ASKED.request(symbols[0]) == {"sequence": [20, 36, 40, 10]}
    assert ASKED.request(symbols[2]) == requests[2]


def test_every_request_that_asks_is_counted_once(rng: np.random.Generator) -> None:
    requests = [
        {"sequence": list(items), "take": take}
        for length in range(1, 5)
        for items in itertools.product(range(1, 4), repeat=length)
        for take in range(1, min(length, 2) + 1)
    ]
    requests += [{"sequence": [item]} for item in range(1, 4)]  # a single item is taken whole
    sources = FEW.encode([FEW.parse(request) for request in requests])
    assert len(np.unique(sources, axis=0)) == len(requests) == FEW.domain_size
    distinct = np.concatenate(list(FEW.distinct(rng, 5)))
    heads, counts = np.unique(sources[:, :3], axis=0, return_counts=True)
    assert len(distinct) == FEW.distinct_size
    assert sorted(distinct[:, :3].tolist()) == heads.tolist()
    assert FEW.counts(np.pad(heads, ((0, 0), (0, 2)))).tolist() == counts.tolist()
    assert FEW.tail.contents is None
    assert FEW.tail.length == 2
    assert set(sources[:, 3:].ravel()) == set(FEW.tail.symbols.tolist())
    drawn = {tuple(row) for row in FEW.sample_sources(rng, 5_000).tolist()}
    assert drawn == {tuple(row) for row in sources.tolist()}


def test_the_key_is_that_of_the_leading_items_however_many_are_taken() -> None:
    alike = [{"sequence": [1, 2, 3, 4], "take": 1}, {"sequence": [1, 2, 3], "take": 2}, [1, 2, 3, 9]]
    others = [[1, 2], [2, 1, 3], [1]]
    keys = ASKED.keys(ASKED.encode([ASKED.parse(request) for request in [*alike, *others]])).tolist()
    assert keys[0] == keys[1] == keys[2] == SERVED.keys(SERVED.encode([[1, 2, 3, 4, 5, 6]]))
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("request_", "rule", "place", "words"),
    [
        ({"sequence": [1, 2], "take": 3}, "take", ("take",), "take is 3, but the sequence has 2 items; send a smaller"),
        ({"sequence": [1, 2], "take": 0}, "range", ("take",), "take is 0; it is from 1 to 3"),
        ({"sequence": [1, 2], "take": 4}, "range", ("take",), "take is 4; it is from 1 to 3"),
        ({"sequence": [1, 2], "take": 10**5000}, "range", ("take",), "take is a number of more than 18 digits"),
        ({"sequence": [1, 2], "take": True}, "integer", ("take",), "take is true; it is an integer, written as 2"),
        ({"sequence": [1, 2], "take": None}, "integer", ("take",), "take is null"),
        ({"sequence": [1, 2], "take": "2"}, "integer", ("take",), 'take is "2"'),
        ({"sequence": [1, 51], "take": 1}, "range", ("sequence", 1), "item 2 is 51"),
        ({"sequence": "12"}, "list", ("sequence",), "not text"),
        ({"sequence": [], "take": 1}, "length", ("sequence",), "has 0 items; 1 to 8"),
        ({"take": 1}, "missing_field", (), "the field sequence is missing"),
        ({"sequence": [1], "taken": 1}, "unknown_field", (), 'the field "taken" is unknown; send sequence and take'),
        ([], "length", (), "has 0 items; 1 to 8"),
        (None, "list", (), "not null"),
    ],
)
def test_a_refusal_of_a_take_says_why(request_: object, rule: str, place: tuple[int | str, ...], words: str) -> None:
    with pytest.raises(RuleBroken, match=words) as caught:
        ASKED.parse(request_)
    assert (caught.value.rule, caught.value.place) == (rule, place)


def test_a_problem_without_a_choice_takes_lists_only() -> None:
    with pytest.raises(RuleBroken, match="a sequence is a list of integers, not an object"):
        SERVED.parse({"sequence": [1, 2, 3, 4, 5, 6]})
    assert SERVED.options == ()
    assert "any_take" not in SERVED.spec()
    assert from_spec(SERVED.spec()) == SERVED
    assert from_spec(ASKED.spec()) == ASKED


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
        ((0, 6, 50, 3, True), "lengths must be ordered, 1 <= shortest, take <= longest"),
        ((1, 2, 50, 3, True), "lengths must be ordered, 1 <= shortest, take <= longest"),
    ],
)
def test_unusable_problems_are_refused(fields: tuple[int, int, int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Reversal(*fields)
