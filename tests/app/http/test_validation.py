"""Bodies that hold too much, or give a field twice, are refused before anything is spent on them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from app.http import validation
from app.http.validation import MOST_PARTS, SHORTEST_COUNTED, Invalid, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('[{:"\\ab\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('[{:"\\ab\n'), inner),
)


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")

    items: Any = None


def parts(value: Any) -> int:
    """How many lists, objects and fields a value holds."""
    if isinstance(value, dict):
        return 1 + sum(1 + parts(each) for each in value.values())
    return 1 + sum(map(parts, value)) if isinstance(value, list) else 0


def padded(value: Any) -> bytes:
    return b" " * SHORTEST_COUNTED + json.dumps(value).encode()


@given(VALUES)
def test_parts_are_counted_whatever_texts_hold(value: Any) -> None:
    left = MOST_PARTS - parts({"items": [value]})
    parse(Anything, padded({"items": [value, *[[]] * left]}), 1)
    with pytest.raises(Invalid, match="holds more than"):
        parse(Anything, padded({"items": [value, *[[]] * (left + 1)]}), 1)


@pytest.mark.parametrize(
    "items", [[[]] * (MOST_PARTS - 3), {str(place): 0 for place in range(MOST_PARTS - 3)}, ["[{:\\\"'"] * MOST_PARTS]
)
def test_most_parts_are_taken(items: Any) -> None:
    assert parse(Anything, padded({"items": items}), 1).items == items


@pytest.mark.parametrize(
    "body",
    [
        {"items": [[]] * (MOST_PARTS - 2)},
        {"items": [{}] * (MOST_PARTS - 2)},
        {str(place): 0 for place in range(MOST_PARTS)},
        {"items": {str(place): 0 for place in range(MOST_PARTS - 1)}},
    ],
)
def test_more_parts_are_refused(body: Any) -> None:
    with pytest.raises(Invalid, match="holds more than 10000 lists, objects and fields; send fewer"):
        parse(Anything, padded(body), 1)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"a": 1, "a": 1}', "a"),
        (b'{"b": [{"a": 1, "\\u0061": {}}]}', "a"),
        (b'{"b": {"c": {"": 1, "d": 2, "": 3}}}', ""),
        (b"{" + b'"a": 1,' * 9_000 + b'"b": 1}', "a"),
    ],
)
def test_field_that_is_given_twice_is_found_wherever_it_is(body: bytes, name: str) -> None:
    with pytest.raises(Invalid, match=f'the field "{name}" is given twice'):
        validation.check_all_fields(body)


def test_same_field_of_different_objects_is_no_repetition() -> None:
    validation.check_all_fields(b'{"a": {"a": [{"a": 1}, {"a": 1}]}, "b": ":"}')


@pytest.mark.parametrize("digits", [4_299, 4_300, 4_301, 10_000])
@pytest.mark.parametrize("sign", [b"", b"-"])
def test_whatever_is_parsed_can_be_searched_for_repeated_fields(digits: int, sign: bytes) -> None:
    """Two readers of JSON look at a body, and one must not fail at what the other took."""
    body = b'{"items": [%b, NaN, -Infinity, 1e999]}' % (sign + b"9" * digits)
    try:
        parse(Anything, body, 1)
    except Invalid:
        return
    validation.check_all_fields(body)
    validation.check_fields(body)
