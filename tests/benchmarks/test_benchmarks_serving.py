from typing import Any

import pytest

from benchmarks import serving, serving_report
from benchmarks.contenders import CONTENDERS
from benchmarks.serving import Key, Load, Results, Sample
from benchmarks.wrk import Measured


def measured(rate: float, p50_us: float = 1_000) -> Measured:
    return Measured(
        requests=int(rate * 3),
        seconds=3,
        answers=int(rate * 3),
        wrong=0,
        bad_status=0,
        failed=0,
        timed_out=0,
        p50_us=p50_us,
        p90_us=2 * p50_us,
        p99_us=3 * p50_us,
        max_us=4 * p50_us,
        mean_us=p50_us,
        generator_cpu=0.2,
    )


def results(rates: dict[Key, list[float]]) -> Results:
    return Results(
        samples={
            key: {number: Sample(measured(rate), 0.9) for number, rate in enumerate(series)}
            for key, series in rates.items()
        }
    )


RATES: dict[Key, list[float]] = {
    ("ours", "/add", 32, 1): [4_500, 3_600, 4_600],
    ("floor", "/add", 32, 1): [5_000, 4_000, 5_000],
    ("litserve", "/add", 32, 1): [500, 450, 500],
    ("bentoml", "/add", 32, 1): [400, 410, 390],
    ("ours", "/add", 32, 2): [9_000, 7_200, 9_200],
}


def test_the_headline_is_the_median_of_ratios_within_rounds() -> None:
    headline = serving_report.headline(results(RATES))
    assert headline["ratios"]["add_to_floor_c32"] == 0.9
    assert headline["ratios_spread"]["add_to_floor_c32"] == {"median": 0.9, "min": 0.9, "max": 0.92}
    assert headline["best_peer"] == "litserve"
    assert headline["targets"]["add_to_floor_c32"] == {"target": "at least 0.92", "met": False}
    assert headline["targets"]["add_to_best_peer_c32"] == {"target": "at least 2", "met": True}
    assert headline["ratios"]["add_server_time_to_best_peer_c32"] == pytest.approx(500 / 4_500, rel=1e-3)
    assert headline["ratios"]["add_to_best_peer_c32"] == 9.0
    assert headline["ratios"]["add_all_cores_to_one_c32"] == 2.0
    assert "add_to_tutorial_c32" not in headline["ratios"]


def test_a_row_says_how_much_was_checked() -> None:
    row = serving_report.rows(results(RATES))[0]
    assert row["requests_per_second"] == {"median": 4500.0, "min": 3600.0, "max": 4600.0}
    assert (row["workers"], row["rounds"], row["errors"], row["wrong"]) == (1, 3, 0, 0)
    assert row["answers_checked"] == row["requests"]
    (constant,) = [row for row in serving_report.rows(results(RATES)) if row["contender"] == "floor"]
    assert constant["answers_checked"] == 0


def test_the_quick_plan_gives_the_headline_on_one_core() -> None:
    plan = serving.plan(list(CONTENDERS), quick=True, cores=2)
    entries = {entry.contender.name: entry for group in plan for entry in group}
    assert {entry.cores for entry in entries.values()} == {1}
    assert set(CONTENDERS) - set(entries) == {"keras-thread"}
    assert all(Load("add", 32) in entry.loads for entry in entries.values())
    assert {Load("add", 1), Load("reverse", 32)} <= set(entries["ours"].loads) & set(entries["floor"].loads)


def test_the_whole_plan_has_every_load() -> None:
    plan = serving.plan(list(CONTENDERS), quick=False, cores=2)
    loads = {(load.label, load.connections) for group in plan for entry in group for load in entry.loads}
    assert loads >= {(route, connections) for route in ("/add", "/reverse") for connections in (1, 32, 256)}
    assert loads >= {("/add/batch", 1), ("/reverse/batch", 4)}
    assert {entry.cores for group in plan for entry in group} == {1, 2}
    assert {entry.contender.name for entry in plan[0]} == {"ours", "ours-v2", "floor", "plain"}


@pytest.mark.parametrize("quick", [True, False])
def test_a_plan_of_few_holds_no_empty_group(quick: bool) -> None:
    assert all(serving.plan(["ours"], quick=quick, cores=1))


def test_the_table_has_a_row_for_each_of_the_figures() -> None:
    data: dict[str, Any] = {"rows": serving_report.rows(results(RATES))}
    table = serving_report.table_rows(data)
    assert len(table) == len(RATES)
    assert table[-1]["workers"] == 2
