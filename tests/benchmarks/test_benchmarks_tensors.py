"""Batches of sums are asked for as binary tensors and as JSON, and every answer is compared with the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import chart, tensors
from benchmarks.server import ServerFailed

MODELS = Path("models")


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    """What this process had before, once a run has taken a core of its own."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_both_ways_are_measured_and_drawn(tmp_path: Path) -> None:
    data = tensors.run(MODELS.resolve(), rounds=2, seconds=0.1)
    rows = tensors.table_rows(data)
    assert [row["route"] for row in rows] == ["/v2/models/addition/infer", "/add/batch"]
    assert all(0 < row["least"] <= row["items/s"] <= row["most"] for row in rows)
    assert set(data["targets"]) < set(data["ratios"])
    chart.draw(data, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1_000


def test_a_wrong_sum_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tensors._binary
    monkeypatch.setattr(tensors, "_binary", lambda batch: replaced(made(batch)))
    with pytest.raises(ServerFailed, match="/v2/models/addition/infer answered with status 200"):
        tensors.run(MODELS.resolve(), rounds=1, seconds=0.1)


def replaced(body: tensors.Body) -> tensors.Body:
    """The same request with one sum taken for another."""
    sums = body.sums.copy()
    sums[-1] += 1
    return body._replace(sums=sums)
