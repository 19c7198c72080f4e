"""What is asked: many distinct requests drawn from the problem that a bundle was trained on, each with its truth.

Knows nothing of servers or load generators. The truth comes from the problem, never from a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seq2seq import bundle
from seq2seq.problem import oracle

Route = Literal["add", "reverse"]
ROUTES: tuple[Route, ...] = ("add", "reverse")
MODELS: dict[Route, str] = {"add": "addition", "reverse": "reversal"}
FIELDS: dict[Route, tuple[str, str]] = {"add": ("expression", "sum"), "reverse": ("sequence", "reversed")}
"""The field that asks, which every answer repeats, and the field that answers."""

BATCH_ITEMS = 1_000
DRAWN = 10
"""How many requests are drawn for each question. Of the lists, one in three asks for no option."""


@dataclass(frozen=True)
class Question:
    """A request's value, and the right answer to it."""

    value: Any
    truth: Any


def newest(models_dir: Path, route: Route) -> Path:
    """The newest version of the bundle that a route is answered from."""
    versions = (models_dir / MODELS[route]).glob("[0-9]*")
    return max(versions, key=lambda path: int(path.name))


def questions(models_dir: Path, route: Route, n: int, seed: int = 0) -> list[Question]:
    """n random questions, as the service's clients ask them: without options, which peers do not have."""
    problem = oracle(bundle.read_manifest(newest(models_dir, route)).problem)
    sources = problem.sample_sources(np.random.default_rng(seed), DRAWN * n)
    truths = problem.decode(problem.answer(sources))
    asked = zip(problem.requests(sources), truths, strict=True)
    return [Question(value, problem.render(truth)) for value, truth in asked if not isinstance(value, dict)][:n]


def key(value: Any) -> str:
    """A value as the generator's script compares it: `"10+6"` → `10+6`, `[40, 36]` → `40,36`."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class Form:
    """How a server is asked and how it answers; `plain` is the service's own way, and most peers'.

    pattern     a Lua pattern that captures the question and the answer, in that order, from the text of an answer
    read        the question and the answer from parsed JSON
    """

    path: Callable[[Route], str]
    body: Callable[[Route, Any], Any]
    pattern: dict[Route, str]
    read: Callable[[Route, Any], tuple[Any, Any]]


def _read(route: Route, answer: Any) -> tuple[Any, Any]:
    question, answered = FIELDS[route]
    return answer[question], answer[answered]


PLAIN = Form(
    path=lambda route: f"/{route}",
    body=lambda route, value: {FIELDS[route][0]: value},
    pattern={
        "add": '"expression": ?"([^"]*)".-"sum": ?(%d+)',
        "reverse": '"sequence": ?%[([%d, ]*)%].-"reversed": ?%[([%d, ]*)%]',
    },
    read=_read,
)
"""`{"expression": "10+6"}` → `{"expression": "10+6", "sum": 16, …}`"""

LISTED = Form(
    path=PLAIN.path,
    body=lambda route, value: {FIELDS[route][0]: [value]},
    pattern=PLAIN.pattern,
    read=lambda route, answer: _read(route, answer[0]),
)
"""`{"expression": ["10+6"]}` → `[{"expression": "10+6", "sum": 16, …}]`: how a batchable BentoML endpoint is asked."""


def _inference(route: Route, value: Any) -> Any:
    """The request's id is its question, as answers repeat it."""
    data = value if isinstance(value, list) else [value]
    kind = "BYTES" if route == "add" else "INT64"
    tensor = {"name": FIELDS[route][0], "shape": [1, len(data)], "datatype": kind, "data": data}
    return {"id": key(value), "inputs": [tensor]}


def _read_inference(route: Route, answer: Any) -> tuple[Any, Any]:
    (answered,) = (each["data"] for each in answer["outputs"] if each["name"] == FIELDS[route][1])
    question = answer["id"]
    return (question, answered[0]) if route == "add" else ([int(each) for each in question.split(",")], answered)


INFERENCE = Form(
    path=lambda route: f"/v2/models/{MODELS[route]}/infer",
    body=_inference,
    pattern={
        "add": '"id":"([^"]*)".-"name":"sum".-"data":%[(%d+)%]',
        "reverse": '"id":"([^"]*)".-"name":"reversed".-"data":%[([%d, ]*)%]',
    },
    read=_read_inference,
)
"""The Open Inference Protocol."""


def batches(asked: Sequence[Question], size: int = BATCH_ITEMS) -> list[Sequence[Question]]:
    """Questions in lists of `size`, as the batch routes take them."""
    return [asked[start : start + size] for start in range(0, len(asked) - size + 1, size)]


def batch_body(route: Route, asked: Sequence[Question]) -> dict[str, list[Any]]:
    """The body of a request to a batch route."""
    return {f"{FIELDS[route][0]}s": [question.value for question in asked]}
