import json
import re
from pathlib import Path
from typing import Any

import fakes
import pytest

from benchmarks import workload
from benchmarks.workload import INFERENCE, LISTED, PLAIN, Form, Route


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    for manifest in (fakes.addition_manifest("2"), fakes.addition_manifest("10"), fakes.reversal_manifest()):
        fakes.write_bundle(tmp_path, manifest)
    return tmp_path


def test_the_newest_version_is_the_largest_number(models_dir: Path) -> None:
    assert workload.newest(models_dir, "add") == models_dir / "addition" / "10"


@pytest.mark.parametrize("route", ["add", "reverse"])
def test_every_question_comes_with_the_truth(models_dir: Path, route: Route) -> None:
    asked = workload.questions(models_dir, route, 200)
    assert len(asked) == 200
    for question in asked:
        if route == "add":
            assert question.truth == sum(map(int, question.value.split("+")))
        else:
            assert question.truth == question.value[2::-1]


def test_questions_are_distinct_and_the_same_every_time(models_dir: Path) -> None:
    asked = workload.questions(models_dir, "reverse", 1_000)
    assert len({workload.key(question.value) for question in asked}) > 990
    assert asked == workload.questions(models_dir, "reverse", 1_000)


def test_batches_are_whole(models_dir: Path) -> None:
    asked = workload.questions(models_dir, "add", 25)
    batches = workload.batches(asked, 10)
    assert [len(batch) for batch in batches] == [10, 10]
    assert workload.batch_body("add", batches[1]) == {"expressions": [question.value for question in asked[10:20]]}


ANSWERS: list[tuple[Form, Route, Any, Any, Any]] = [
    (PLAIN, "add", "10+6", 16, {"expression": "10+6", "sum": 16, "decoded": "16"}),
    (PLAIN, "reverse", [1, 2, 3], [3, 2, 1], {"sequence": [1, 2, 3], "reversed": [3, 2, 1], "confidence": 1.0}),
    (LISTED, "add", "10+6", 16, [{"expression": "10+6", "sum": 16}]),
    (
        INFERENCE,
        "add",
        "10+6",
        16,
        {
            "id": "10+6",
            "outputs": [
                {"name": "sum", "datatype": "INT64", "data": [16]},
                {"name": "confidence", "datatype": "FP64", "data": [0.9]},
            ],
        },
    ),
    (
        INFERENCE,
        "reverse",
        [1, 2, 3],
        [3, 2, 1],
        {
            "id": "1,2,3",
            "outputs": [
                {"name": "reversed", "shape": [1, 3], "data": [3, 2, 1]},
            ],
        },
    ),
]


@pytest.mark.parametrize(("form", "route", "question", "answer", "data"), ANSWERS)
def test_answers_are_read_from_every_form(form: Form, route: Route, question: Any, answer: Any, data: Any) -> None:
    assert form.read(route, data) == (question, answer)
    json.dumps(form.body(route, question))
    found = re.search(_as_python(form.pattern[route]), json.dumps(data, separators=(",", ":")))
    assert found
    assert found.groups() == (workload.key(question), workload.key(answer))


def _as_python(pattern: str) -> str:
    """A Lua pattern, as far as these go, as a regular expression."""
    for lua, python in ((".-", ".*?"), ("%d", "[0-9]"), ("%[", r"\["), ("%]", r"\]"), ("[[0-9], ]", "[0-9, ]")):
        pattern = pattern.replace(lua, python)
    return pattern
