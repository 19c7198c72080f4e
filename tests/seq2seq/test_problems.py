from typing import Any

import pytest

from seq2seq.problem import Problem, SpecError
from seq2seq.problems import from_spec, kinds
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal


@pytest.mark.parametrize("problem", [Addition(2, 3, 99, "term"), Reversal(6, 6, 50, 3)], ids=str)
def test_a_problem_is_rebuilt_from_its_spec(problem: Problem) -> None:
    assert from_spec(problem.spec()) == problem


def test_the_kinds_are_the_modules() -> None:
    assert kinds() == ["addition", "pairs", "reversal"]


GOOD = Addition(2, 3, 99, "term").spec()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "unknown kind of problem None"),
        (GOOD | {"kind": "../addition"}, "unknown kind"),
        (GOOD | {"kind": "division"}, "there are addition, pairs, reversal"),
        (GOOD | {"extra": 1}, "extra"),
        ({key: value for key, value in GOOD.items() if key != "largest"}, "largest"),
        (GOOD | {"largest": "99"}, "must be an integer"),
        (GOOD | {"largest": True}, "must be an integer"),
        (GOOD | {"padding": "none"}, "padding must be one of left, term"),
        ({key: value for key, value in GOOD.items() if key != "smallest"}, "reads back as"),
    ],
)
def test_other_specs_are_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        from_spec(spec)
