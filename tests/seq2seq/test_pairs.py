"""Pairs: texts to tokens to ids and back, and the words for what cannot be read."""

from __future__ import annotations

import json
import time
import unicodedata
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seq2seq.acceptor import Acceptor
from seq2seq.problem import RuleBroken
from seq2seq.problems import from_spec
from seq2seq.problems.pairs import Normalization, Pairs, Tokens, padded, tokens_of

SPELLING = Pairs("chars", "words", ("'", "a", "c", "t"), ("AE", "K", "T"), 6, 4)
GREETING = Pairs("words", "chars", ("go", "home", "to"), ("a", "b"), 3, 2)
UNITS: st.SearchStrategy[Tokens] = st.sampled_from(get_args(Tokens))
FORMS: st.SearchStrategy[Normalization] = st.sampled_from(get_args(Normalization))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def broken(problem: Pairs, value: object) -> RuleBroken:
    with pytest.raises(RuleBroken) as caught:
        problem.parse(value)
    return caught.value


def test_a_text_becomes_ids_and_ids_a_text() -> None:
    assert SPELLING.parse(" cat ") == ("c", "a", "t")
    assert SPELLING.encode([("c", "a", "t"), ("a",)]).tolist() == [[4, 3, 5, 1], [3, 1, 0, 0]]
    assert SPELLING.target_ids(["K", "AE", "T"]) == [3, 2, 4, 1]
    ids = padded([[3, 2, 4, 1], [2, 1], [2, 3, 4, 2]])
    assert [SPELLING.outputs[0].value(written) for written in SPELLING.decode(ids)] == ["K AE T", "AE", "AE K T AE"]
    assert SPELLING.requests(SPELLING.encode([("c", "a", "t")])) == ["cat"]


def test_padding_is_no_token_even_before_the_end() -> None:
    assert SPELLING.decode(np.array([[0, 3, 0, 2, 1, 0]], dtype=np.int32)) == [["K", "AE"]]


def test_no_sources_are_no_rows() -> None:
    assert SPELLING.encode([]).shape == (0, 0)


@given(TEXTS, UNITS, FORMS, st.booleans())
@example("\u00a8a", "words", "NFKC", True)
def test_tokens_put_together_are_read_as_the_same_tokens(
    text: str, unit: Tokens, form: Normalization, fold_case: bool
) -> None:
    """A bundle's examples, and what a client is told was read, can be asked again."""
    tokens = tokens_of(text, unit, form, fold_case=fold_case)
    together = ("" if unit == "chars" else " ").join(tokens)
    assert tokens_of(together, unit, form, fold_case=fold_case) == tokens


@pytest.mark.parametrize(
    ("text", "form", "fold_case", "tokens"),
    [
        ("e\u0301", "NFC", False, ("\u00e9",)),
        ("\u00e9", "NFD", False, ("e", "\u0301")),
        ("\ufb01", "NFKC", False, ("f", "i")),
        ("\ufb01", "NFC", False, ("\ufb01",)),
        ("e\u0301", "none", False, ("e", "\u0301")),
        ("Stra\u00dfe", "NFC", True, tuple("strasse")),
        ("\u0130", "NFC", True, ("i\u0307"[0], "\u0307")),
        ("CAT", "none", True, ("c", "a", "t")),
        (" a b ", "NFC", False, ("a", " ", "b")),
    ],
)
def test_texts_are_brought_into_one_form(
    text: str, form: Normalization, fold_case: bool, tokens: tuple[str, ...]
) -> None:
    assert tokens_of(text, "chars", form, fold_case=fold_case) == tokens


@pytest.mark.parametrize(
    ("value", "rule", "words", "position"),
    [
        (7, "text", "a source is text, not a number", None),
        ("", "empty", "needs 1 to 6 characters", None),
        (" \n", "empty", "the source is empty", None),
        ("cab", "symbol", "character 3 is 'b', which the model does not know", 2),
        ("  ca b", "symbol", "character 3 is ' '", 4),
        ("cat'cat", "length", "has 7 characters; the most is 6", None),
        ("c" * 49, "length", "has 49 characters; up to 48 are read", None),
    ],
)
def test_what_is_wrong_with_a_source_is_said(value: object, rule: str, words: str, position: int | None) -> None:
    fault = broken(SPELLING, value)
    assert (fault.rule, fault.position) == (rule, position)
    assert words in str(fault)


def test_a_word_is_named_with_the_place_where_it_begins() -> None:
    fault = broken(GREETING, "go  to\tschool")
    assert (fault.rule, fault.position) == ("symbol", 7)
    assert "word 3 is 'school'" in str(fault)


@pytest.mark.parametrize(
    ("problem", "text", "position"),
    [
        (replace(SPELLING, normalization="NFC"), "a\u0301" * 2, 0),
        (replace(SPELLING, normalization="NFD"), "a\u00e1", 1),
        (replace(SPELLING, normalization="NFKC"), "ta\ufb01", 2),
        (replace(GREETING, normalization="NFKC"), "go\u00a8go", 2),
        (replace(GREETING, normalization="NFKC"), "go \u00a8go", 3),
    ],
)
def test_the_position_is_in_the_text_as_it_was_sent(problem: Pairs, text: str, position: int) -> None:
    assert broken(problem, text).position == position


@given(st.text(st.sampled_from("act' b\u0301\u00e1\ufb01\u00a8\t"), max_size=20), UNITS, FORMS)
def test_whatever_is_sent_is_read_or_refused(text: str, unit: Tokens, form: Normalization) -> None:
    problem = replace(SPELLING, source_tokens=unit, normalization=form)
    try:
        tokens = problem.parse(text)
    except RuleBroken as fault:
        position = fault.position
    else:
        position = None
        assert problem.requests(problem.encode([tokens])) == [problem.input.value(tokens)]
    assert position is None or 0 <= position <= len(text)


def test_the_longest_text_that_is_read_is_soon_refused() -> None:
    """An unknown symbol at its end must not hold the service up."""
    problem = replace(SPELLING, longest_source=1_000)
    started = time.perf_counter()
    assert broken(problem, "a" * 7_999 + "b").position == 7_999
    assert time.perf_counter() - started < 0.1


DOMAIN = Acceptor.of([[3], [4, 3, 5]]).states  # a and cat


def test_a_source_outside_a_whole_domain_is_refused() -> None:
    problem = replace(SPELLING, longest_source=3, domain=DOMAIN)
    assert problem.domain_size == 2
    assert problem.parse("cat") == ("c", "a", "t")
    assert problem.parse("a") == ("a",)
    fault = broken(problem, "cta")
    assert (fault.rule, fault.position) == ("domain", 1)
    assert "character 2 is 't', and no source of the model goes on so" in str(fault)
    fault = broken(problem, "ca")
    assert (fault.rule, fault.position) == ("domain", 2)
    assert "the source ends here" in str(fault)


def test_without_a_domain_any_text_of_its_symbols_may_come() -> None:
    assert SPELLING.domain_size is None
    assert SPELLING.parse("tttttt") == ("t",) * 6


@pytest.mark.parametrize("problem", [SPELLING, GREETING, replace(SPELLING, longest_source=3, domain=DOMAIN)])
def test_a_manifest_gives_the_same_problem(problem: Pairs) -> None:
    assert from_spec(json.loads(json.dumps(problem.spec()))) == problem


@pytest.mark.parametrize(
    "changes",
    [
        {"source_tokens": "bytes"},
        {"source_symbols": ()},
        {"source_symbols": ("b", "a")},
        {"source_symbols": ("a", "a")},
        {"source_symbols": ("ab",)},
        {"source_symbols": ("\x03", "a")},
        {"target_symbols": ("A B",)},
        {"target_symbols": ("",)},
        {"target_symbols": (1,)},
        {"longest_source": 0},
        {"longest_source": 1_001},
        {"longest_target": True},
        {"normalization": "NFX"},
        {"fold_case": 1},
        {"domain": ((1,), (0, 2))},
        {"domain": Acceptor.of([[2], [6] * 6]).states},  # no such symbol
        {"domain": Acceptor.of([[1, 2, 2, 2, 2, 2]]).states},  # the end
        {"domain": Acceptor.of([[2] * 7]).states},  # too long
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        replace(SPELLING, **changes)


def test_the_schema_lets_through_what_can_be_read() -> None:
    import re

    problem = Pairs("chars", "chars", (" ", "-", "a", "\u00e9"), ("a",), 4, 4, fold_case=True)
    pattern = problem.input.schema["pattern"]
    for text, is_read in (
        ("a-", True),
        ("A \u00c9", True),
        ("a" * 4, True),
        ("a" * 5, False),
        ("b", False),
        ("", False),
    ):
        assert bool(re.search(pattern, text)) == is_read, text
    assert problem.input.schema["maxLength"] == 4


def test_a_composed_form_counts_as_one_token_of_the_longest() -> None:
    problem = Pairs("chars", "chars", ("\u00e9",), ("a",), 2, 1)
    assert problem.parse(unicodedata.normalize("NFD", "\u00e9\u00e9")) == ("\u00e9", "\u00e9")
