"""The account of a request's parts measures the service itself."""

from __future__ import annotations

import json
from pathlib import Path

import app.main
from app.serving.predictor import Predictor
from benchmarks import cost
from benchmarks.servers.floor import Constant

MODELS = Path(__file__).parents[2] / "models"


def test_service_answers_as_over_http() -> None:
    service = cost._Service("add", MODELS, Predictor)
    answer = json.loads(service.respond(cost.TOGETHER))
    assert answer["expression"] == service.values[-1].replace(" ", "")
    assert answer["sum"] == sum(map(int, answer["expression"].split("+")))


def test_floor_answers_a_constant() -> None:
    service = cost._Service("add", MODELS, Constant)
    first, last = (json.loads(service.respond(n)) for n in (1, cost.TOGETHER))
    assert first["expression"] != last["expression"]
    assert first["sum"] == last["sum"]
    assert vars(app.main)["Predictor"] is Predictor


def test_every_part_takes_time() -> None:
    rows = list(cost._parts("reverse", MODELS, 2))
    assert {row["part"] for row in rows} >= {"validation", "queueing", "encoding", "network", "decoding", "all"}
    assert all(value > 0 for row in rows for name, value in row.items() if name not in ("route", "part"))


def test_each_shipped_network_is_timed_at_its_own_lengths() -> None:
    rows = {row["network"]: row for row in cost._shipped(MODELS, 1)}
    assert set(rows) == {f"{path.parent.name}/{path.name}" for path in MODELS.glob("*/[0-9]*")}
    assert [rows[f"addition/{version}"]["reads"] for version in (1, 2)] == [8, 8]
    assert [rows[f"reversal/{version}"]["writes"] for version in (2, 3)] == [3, 3]
    assert rows["pronunciation/1"]["reads"] < 20  # it accepts 34 letters and more
    assert all(row[f"of {batch}"] > 0 for row in rows.values() for batch in cost.BATCHES)
