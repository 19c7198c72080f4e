from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.holdout import in_split
from seq2seq.problem import RuleBroken
from seq2seq.problems.addition import Addition
from seq2seq.problems.arithmetic import Arithmetic

SERVED = Arithmetic("+-*", 99)
ALL = [SERVED, Arithmetic("+-", 99), Arithmetic("-", 7), Arithmetic("*+", 120)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def every(problem: Arithmetic) -> Any:
    """The sources of every expression (n, S)."""
    return np.concatenate(list(problem.distinct(np.random.default_rng(0), 4_096)))


@pytest.mark.parametrize("problem", ALL, ids=str)
def test_every_expression_comes_once_and_has_the_answer_that_python_computes(problem: Arithmetic) -> None:
    sources = every(problem)
    requests = problem.requests(sources)
    values = range(problem.largest + 1)
    assert requests == [f"{one}{sign}{other}" for sign in problem.operators for one in values for other in values]
    assert problem.distinct_size == problem.domain_size == len(requests)
    answers = [problem.render(written) for written in problem.decode(problem.answer(sources))]
    expected = [eval(request) for request in requests]  # noqa: S307  the requests were made here
    assert answers == expected == [problem.truth(request) for request in requests]
    assert problem.target_length == max(len(str(value)) for value in expected)


@pytest.mark.parametrize("problem", ALL, ids=str)
def test_a_request_is_encoded_as_the_training_data_is(problem: Arithmetic, rng: np.random.Generator) -> None:
    sources = problem.sample_sources(rng, 3_000)
    assert sources.shape == (3_000, problem.source_length)
    requests = problem.requests(sources)
    assert (problem.encode([problem.parse(request) for request in requests]) == sources).all()
    assert {*problem.operators} == {sign for request in requests for sign in request if not sign.isdigit()}


def test_the_operator_is_read_first() -> None:
    assert SERVED.pad("3-10") == "- 310"
    assert SERVED.source_vocabulary.decode(SERVED.encode(["3-10", "99*0"])) == ["- 310", "*99 0"]


def test_an_answer_has_its_sign_before_its_first_digit() -> None:
    sources = SERVED.encode(["3-10", "0-99", "9-9", "99*99"])
    assert SERVED.target_vocabulary.decode(SERVED.answer(sources)) == ["  -7", " -99", "   0", "9801"]


@pytest.mark.parametrize(
    ("symbols", "value"), [("-16", -16), ("16", 16), ("-", None), ("--1", None), ("1-", None), ("", None), ("-0", 0)]
)
def test_what_is_no_number_renders_as_none(symbols: str, value: int | None) -> None:
    assert SERVED.render(symbols) == value


def test_both_orders_are_one_problem() -> None:
    keys = SERVED.keys(SERVED.encode(["3+10", "10+3", "3-10", "10-3", "3*10", "10*3"])).tolist()
    assert keys[0::2] == keys[1::2]
    assert len(set(keys)) == 3


def test_half_of_each_operators_problems_is_held_out() -> None:
    held_out = in_split(SERVED.keys(every(SERVED)), "held_out").reshape(3, -1).mean(axis=1)
    assert held_out == pytest.approx([0.5, 0.5, 0.5], abs=0.01)


@pytest.mark.parametrize(
    ("value", "rule", "position", "words"),
    [
        ("10-", "empty_term", 3, r"number 2 is empty; write a number on each side of every \+, - or \*"),
        ("-5+3", "empty_term", 0, "number 1 is empty"),
        ("5--3", "empty_term", 2, "number 2 is empty"),
        ("1 0*6", "blank", 1, r"blanks may stand only around \+, - or \* and at the ends"),
        ("10/6", "character", 2, r"character 3 is '/'; only the digits 0 to 9, \+, -, \* and blanks are allowed"),
        ("3\xd74", "character", 1, r"character 2 is '\\xd7'"),
        ("3-04", "leading_zero", 2, "number 2 is 04; write it without leading zeros, as 4"),
        ("100*1", "range", 0, "number 1 is 100; a number is from 0 to 99"),
        ("1+1-1", "terms", None, "3 numbers; write 2 numbers"),
        ("7", "terms", None, "1 number; write 2 numbers"),
        ("", "empty", None, r"the expression is empty; write 2 numbers, as in 10\+6"),
        ("1" * 21, "too_long", None, "has 21 characters; at most 20"),
        (7, "text", None, "not a number"),
    ],
)
def test_a_refusal_says_which_rule_and_where(value: object, rule: str, position: int | None, words: str) -> None:
    with pytest.raises(RuleBroken, match=words) as caught:
        SERVED.parse(value)
    assert (caught.value.rule, caught.value.position) == (rule, position)


@given(st.text(alphabet="0123456789+-* /\x00٣", max_size=22))
def test_what_is_accepted_is_in_the_domain(value: str) -> None:
    try:
        canonical = SERVED.parse(value)
    except RuleBroken:
        return
    assert canonical == value.replace(" ", "")
    assert SERVED.requests(SERVED.encode([canonical])) == [canonical]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (("", 9), "operators must be some of"),
        (("+/", 9), r"operators must be some of \+-\*, each once"),
        (("++", 9), "each once"),
        ((["+"], 9), "operators must be some of"),
        (("+", -1), "largest must be"),
        (("+", True), "largest must be"),
        (("*", 10**9), "largest must be an integer from 0 to 999,999,999"),
    ],
)
def test_unusable_problems_are_refused(fields: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Arithmetic(*fields)


def test_wider_problems_cover_narrower_ones() -> None:
    assert SERVED.covers(Arithmetic("-+", 9))
    assert not Arithmetic("+-", 99).covers(SERVED)
    assert not SERVED.covers(Arithmetic("+-*", 100))
    assert not SERVED.covers(Addition(2, 2, 99, "term"))
