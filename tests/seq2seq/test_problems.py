from dataclasses import replace
from typing import Any

import pytest

from seq2seq.problem import Problem, SpecError
from seq2seq.problems import from_spec, kinds
from seq2seq.problems.addition import Addition
from seq2seq.problems.arithmetic import Arithmetic
from seq2seq.problems.pairs import Pairs
from seq2seq.problems.reversal import Reversal


@pytest.mark.parametrize("problem", [Addition(2, 3, 99, "term"), Arithmetic("+-*", 99), Reversal(6, 6, 50, 3)], ids=str)
def test_a_problem_is_rebuilt_from_its_spec(problem: Problem) -> None:
    assert from_spec(problem.spec()) == problem


def test_the_kinds_are_the_modules() -> None:
    assert kinds() == ["addition", "arithmetic", "pairs", "reversal"]


GOOD = Addition(2, 3, 99, "term").spec()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "unknown kind of problem None"),
        (GOOD | {"kind": "../addition"}, "unknown kind"),
        (GOOD | {"kind": "division"}, "there are addition, arithmetic, pairs, reversal"),
        (GOOD | {"extra": 1}, "extra"),
        ({key: value for key, value in GOOD.items() if key != "largest"}, "largest"),
        (GOOD | {"largest": "99"}, "must be an integer"),
        (GOOD | {"largest": True}, "must be an integer"),
        (GOOD | {"padding": "none"}, "padding must be one of left, term, column"),
        ({key: value for key, value in GOOD.items() if key != "smallest"}, "reads back as"),
    ],
)
def test_other_specs_are_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        from_spec(spec)


PAIRS = Pairs("chars", "words", ("a", "b"), ("x",), 4, 4)


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        (Addition(2, 4, 99, "column"), Addition(2, 3, 99, "term")),
        (Addition(1, 3, 99, "term"), Addition(2, 3, 50, "left", smallest=1)),
        (Reversal(3, 7, 60, 3), Reversal(6, 6, 50, 3)),
        (replace(PAIRS, source_symbols=("a", "b", "c"), longest_source=5), PAIRS),
        (replace(PAIRS, target_symbols=("x", "y")), PAIRS),
    ],
    ids=str,
)
def test_a_wider_problem_covers_a_narrower_one(wider: Problem, narrower: Problem) -> None:
    assert wider.covers(narrower)
    assert wider.covers(wider)
    assert wider == narrower or not narrower.covers(wider) or isinstance(wider, Pairs)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Addition(3, 4, 99, "term"), Addition(2, 3, 99, "term")),
        (Addition(2, 4, 98, "term"), Addition(2, 3, 99, "term")),
        (Addition(2, 4, 99, "term", smallest=1), Addition(2, 3, 99, "term")),
        (Reversal(6, 6, 50, 2), Reversal(6, 6, 50, 3)),
        (Reversal(6, 6, 50, 3), Addition(2, 3, 99, "term")),
        (replace(PAIRS, fold_case=True), PAIRS),
        (replace(PAIRS, source_tokens="words"), PAIRS),
        (replace(PAIRS, longest_source=3), PAIRS),
    ],
    ids=str,
)
def test_other_problems_do_not(one: Problem, other: Problem) -> None:
    assert not one.covers(other)
