"""The API accepts what the problem accepts, and describes it so."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import pytest
from fakes import ADDITION, REVERSAL, SEQUENCE
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import PlainValidator, ValidationError

from app.http.schemas import RequestBody
from app.text import clipped
from seq2seq.problem import Problem, RuleBroken


class Expression(RequestBody):
    value: Annotated[str, PlainValidator(ADDITION.parse)]


class Sequence(RequestBody):
    value: Annotated[list[int], PlainValidator(REVERSAL.parse)]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
numbers = st.integers(0, 120).map(str) | st.sampled_from(["", "00", "07", "1 0", "-1", "٣", "1.5"])
expressions = st.lists(numbers, max_size=5).flatmap(
    lambda terms: st.sampled_from(["+", " + ", "  +", "-"]).map(lambda joint: joint.join(terms))
)
items = st.integers(-1, 52) | st.sampled_from([True, 1.0, "7", None, [1]])
sequences = st.lists(items, max_size=8) | st.lists(st.integers(1, 50), min_size=6, max_size=6)


def parsed(problem: Problem, value: object) -> Any:
    try:
        return problem.parse(value)
    except RuleBroken:
        return None


def validated(schema: type[Expression | Sequence], value: object) -> Any:
    try:
        return schema.model_validate_json(json.dumps({"value": value})).value
    except ValidationError:
        return None


@given(expressions | anything)
@example("10+6")
@example(" 10 +  6 ")
def test_an_expression_is_accepted_as_the_problem_says(value: object) -> None:
    assert validated(Expression, value) == parsed(ADDITION, value)


@given(sequences | anything)
@example(SEQUENCE)
def test_a_sequence_is_accepted_as_the_problem_says(value: object) -> None:
    assert validated(Sequence, value) == parsed(REVERSAL, value)


@given(expressions)
@example("10+6")
def test_described_pattern_agrees(value: str) -> None:
    described = ADDITION.input.schema
    matches = re.search(described["pattern"], value) is not None and len(value) <= described["maxLength"]
    assert matches == (parsed(ADDITION, value) is not None)


@given(sequences)
@example(SEQUENCE)
def test_described_limits_agree(value: list[object]) -> None:
    described = REVERSAL.input.schema
    low, high = described["items"]["minimum"], described["items"]["maximum"]
    matches = described["minItems"] <= len(value) <= described["maxItems"] and all(
        type(item) is int and low <= item <= high for item in value
    )
    assert matches == (parsed(REVERSAL, value) is not None)


@given(st.text(st.characters(codec=None), max_size=500))
@example("\ud800")
def test_clipped_text_is_short_ascii(text: str) -> None:
    short = clipped(text)
    assert short.isascii()
    assert len(short) <= 203


@pytest.mark.parametrize("text", ["", "abc"])
def test_short_text_is_left_alone(text: str) -> None:
    assert clipped(text) == text
