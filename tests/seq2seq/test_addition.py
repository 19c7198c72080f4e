import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.problem import RuleBroken
from seq2seq.problems.addition import ABSENT, VOCABULARY, Addition, Padding

SERVED = Addition(2, 3, 99, "term")
THREE_TERMS = Addition(3, 3, 10, "left", smallest=1)
TWO_TERMS = Addition(2, 2, 10, "left", smallest=1)
FOUR_TERMS = Addition(2, 4, 99, "column")
ALL = [
    SERVED,
    FOUR_TERMS,
    THREE_TERMS,
    TWO_TERMS,
    Addition(1, 4, 7, "left"),
    Addition(2, 3, 150, "term", smallest=5),
    Addition(1, 3, 150, "column", smallest=5),
]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_the_tutorials_worked_example_step_by_step() -> None:
    terms = np.array([[3, 10]])
    assert TWO_TERMS.pad("3+10") == " 3+10"
    assert TWO_TERMS.source_ids(terms).tolist() == [[11, 3, 10, 1, 0]]
    assert VOCABULARY.one_hot(TWO_TERMS.source_ids(terms)).shape == (1, 5, 12)
    assert TWO_TERMS.decode(np.array([[1, 3]])) == ["13"]
    assert TWO_TERMS.target_ids(np.array([13])).tolist() == [[1, 3]]


def test_the_tutorials_lengths() -> None:
    assert (THREE_TERMS.source_length, THREE_TERMS.target_length) == (8, 2)
    assert (TWO_TERMS.source_length, TWO_TERMS.target_length) == (5, 2)


def test_right_justified_examples_of_the_two_term_tutorial() -> None:
    texts = [TWO_TERMS.pad(text) for text in ("2+10", "9+7", "10+10")]
    assert texts == [" 2+10", "  9+7", "10+10"]
    sums = TWO_TERMS.decode(TWO_TERMS.answer(VOCABULARY.encode(texts)))
    assert sums == ["12", "16", "20"]


@pytest.mark.parametrize(("padding", "expected"), [("left", "    10+6"), ("term", "   10+ 6"), ("column", "  10 6")])
def test_all_ways_of_padding(padding: Padding, expected: str) -> None:
    assert Addition(2, 3, 99, padding).pad("10+6") == expected


@pytest.mark.parametrize(
    ("terms", "largest", "words"),
    [
        (101, 9, "there may be 100 terms at most, not 101"),
        (10**12, 0, "there may be 100 terms at most"),
        (2, 2**62, "largest is too large: a sum of 2 terms must fit into 64 bits"),
        (2, 10**4_000, "must fit into 64 bits"),
    ],
)
def test_what_cannot_be_computed_is_no_problem(terms: int, largest: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Addition(2, terms, largest, "left")


def test_the_largest_sums_are_exact(rng: np.random.Generator) -> None:
    problem = Addition(2, 2, 2**62 - 1, "left")
    sources = problem.sample_sources(rng, 100)
    for request, sum_ in zip(problem.requests(sources), problem.decode(problem.answer(sources)), strict=True):
        assert int(str(sum_)) == sum(map(int, request.split("+")))


@given(terms=st.integers(1, 12), largest=st.integers(0, 20_000))
def test_lengths_are_exact(terms: int, largest: int) -> None:
    problem = Addition(terms, terms, largest, "left")
    assert problem.target_length == len(str(terms * largest))
    assert problem.source_length == len("+".join([str(largest)] * terms))


@pytest.mark.parametrize("problem", ALL, ids=str)
def test_sources_and_answers_invert(problem: Addition, rng: np.random.Generator) -> None:
    terms = problem.sample_terms(rng, 2_000)
    sources = problem.source_ids(terms)
    assert sources.shape == (2_000, problem.source_length)
    assert (problem.terms(sources) == terms).all()
    written = problem.decode(problem.answer(sources))
    sums = np.where(terms == ABSENT, 0, terms).sum(axis=1)
    assert [problem.render(text) for text in written] == sums.tolist()


@pytest.mark.parametrize("problem", ALL, ids=str)
def test_samples_keep_to_the_domain(problem: Addition, rng: np.random.Generator) -> None:
    for rare in (0.0, 0.5, 1.0):
        terms = problem.sample_terms(rng, 5_000, rare=rare)
        present = terms[terms != ABSENT]
        assert present.min() >= problem.smallest
        assert present.max() <= problem.largest
        counts = (terms != ABSENT).sum(axis=1)
        assert set(counts.tolist()) == set(range(problem.min_terms, problem.max_terms + 1))


@pytest.mark.parametrize("largest", [10, 20, 120, 2**61])
def test_rare_terms_are_within_the_range_and_no_more_often_at_its_end(largest: int, rng: np.random.Generator) -> None:
    terms = Addition(2, 3, largest, "column").sample_terms(rng, 10_000, rare=1.0)
    terms = terms[terms != ABSENT]
    assert ((terms >= 0) & (terms <= largest)).all()
    assert (terms == largest).mean() < 0.2
    assert (terms == 0).mean() < 0.2


@pytest.mark.parametrize(("problem", "much", "carry"), [(SERVED, 280, 26), (FOUR_TERMS, 375, 33)])
def test_rare_sums_are_made_common(problem: Addition, much: int, carry: int, rng: np.random.Generator) -> None:
    def of_each(rare: float) -> list[int]:
        """Sums near the upper end, and those whose units carry most while their tens are few."""
        terms = problem.sample_terms(rng, 100_000, rare=rare).clip(0)
        carries, few = (terms % 10).sum(axis=1) >= carry, (terms // 10).sum(axis=1) <= 1
        return [int((terms.sum(axis=1) > much).sum()), int((carries & few).sum())]

    for often, seldom in zip(of_each(0.5), of_each(0.0), strict=True):
        assert often > 3 * seldom


@pytest.mark.parametrize(
    "problem", [THREE_TERMS, TWO_TERMS, Addition(1, 3, 4, "term"), Addition(1, 3, 4, "column")], ids=str
)
def test_the_domain_lists_every_expression_once(problem: Addition, rng: np.random.Generator) -> None:
    listed = [text for batch in problem.distinct(rng, 64) for text in problem.requests(batch)]
    values = [str(value) for value in range(problem.smallest, problem.largest + 1)]
    expected = [
        "+".join(terms)
        for count in range(problem.min_terms, problem.max_terms + 1)
        for terms in itertools.product(values, repeat=count)
    ]
    assert listed == expected
    assert problem.distinct_size == problem.domain_size == len(expected)


@pytest.mark.parametrize("problem", ALL, ids=str)
def test_a_request_is_encoded_as_the_training_data_is(problem: Addition, rng: np.random.Generator) -> None:
    sources = problem.sample_sources(rng, 3_000)
    requests = problem.requests(sources)
    assert (problem.encode([problem.parse(request) for request in requests]) == sources).all()


def test_a_key_does_not_depend_on_the_order_of_terms() -> None:
    keys = SERVED.keys(SERVED.encode(["10+6+7", "7+6+10", "6+10+7", "10+6", "10+6+0", "10+67"]))
    assert len(set(keys.tolist())) == 4
    assert keys[0] == keys[1] == keys[2]


def test_keys_tell_all_sums_apart() -> None:
    problem = Addition(1, 3, 9, "term")
    sources = np.concatenate(list(problem.distinct(np.random.default_rng(0), 500)))
    distinct = {tuple(sorted(text.split("+"))) for text in problem.requests(sources)}
    assert len(set(problem.keys(sources).tolist())) == len(distinct)


@pytest.mark.parametrize(
    ("value", "canonical"),
    [("10+6", "10+6"), (" 10 + 6 ", "10+6"), ("0+0", "0+0"), ("99+99+99", "99+99+99"), ("1  +2+   3", "1+2+3")],
)
def test_blanks_at_the_ends_and_around_plus_are_dropped(value: str, canonical: str) -> None:
    assert SERVED.parse(value) == canonical


@pytest.mark.parametrize(
    ("value", "rule", "position", "words"),
    [
        ("10+", "empty_term", 3, "term 2 is empty"),
        ("+6", "empty_term", 0, "term 1 is empty"),
        ("10++6", "empty_term", 3, "term 2 is empty"),
        ("10+ +6", "empty_term", 4, "term 2 is empty"),
        ("1 0+6", "blank", 1, "blank inside, at character 2"),
        ("10-6", "character", 2, "character 3 is '-'"),
        ("٣+4", "character", 0, r"character 1 is '\\u0663'"),
        ("1\x00+2", "character", 1, r"character 2 is '\\x00'"),
        ("1\t+2", "character", 1, r"'\\t'"),
        ("1+2\n", "character", 3, r"'\\n'"),
        ("007+1", "leading_zero", 0, "term 1 is 007; write it without leading zeros, as 7"),
        ("1+00", "leading_zero", 2, "as 0"),
        ("100+1", "range", 0, "term 1 is 100; a term is from 0 to 99"),
        ("1+1+1+1", "terms", None, "4 terms; write 2 or 3 terms"),
        ("7", "terms", None, "1 term; write 2 or 3 terms"),
        ("", "empty", None, "the expression is empty"),
        ("   ", "empty", None, "as in 10\\+6"),
        ("1" * 10_000, "too_long", None, "has 10000 characters; at most 32"),
        (7, "text", None, "not a number"),
        (True, "text", None, "not a boolean"),
        (None, "text", None, "not null"),
        (["1+1"], "text", None, "not a list"),
    ],
)
def test_a_refusal_says_which_rule_and_where(value: object, rule: str, position: int | None, words: str) -> None:
    with pytest.raises(RuleBroken, match=words) as caught:
        SERVED.parse(value)
    assert (caught.value.rule, caught.value.position, caught.value.place) == (rule, position, ())


@given(st.text(alphabet="0123456789+ -\x00٣", max_size=40))
def test_what_is_accepted_is_a_sum_in_the_domain(value: str) -> None:
    try:
        canonical = SERVED.parse(value)
    except RuleBroken:
        return
    terms = canonical.split("+")
    assert 2 <= len(terms) <= 3
    assert all(str(int(term)) == term and 0 <= int(term) <= 99 for term in terms)
    assert SERVED.parse(canonical) == canonical
    assert value.replace(" ", "") == canonical


@pytest.mark.parametrize(("symbols", "value"), [("16", 16), ("", None), ("1 6", None), ("+", None), ("0", 0)])
def test_what_is_no_number_renders_as_none(symbols: str, value: int | None) -> None:
    assert SERVED.render(symbols) == value


@pytest.mark.parametrize(
    "fields",
    [(0, 3, 9, "left"), (3, 2, 9, "left"), (2, 3, -1, "left"), (2, 3, 9, "right"), (2, 3, 9, "left", 10)],
)
def test_unusable_problems_are_refused(fields: tuple[int, int, int, Padding]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Addition(*fields)
