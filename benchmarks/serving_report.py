"""Reports the measurements of serving.py: rows, ratios within rounds, and the table. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal

from benchmarks import machine, stats
from benchmarks.contenders import CONTENDERS
from benchmarks.serving import WARM_UP_S, Key, Results, Sample
from benchmarks.stats import Spread

TARGETS: dict[str, tuple[Literal["at least", "at most"], float]] = {
    "add_to_best_peer_c32": ("at least", 2.0),
    "add_to_floor_c32": ("at least", 0.92),
    "reverse_to_floor_c32": ("at least", 0.85),
    "add_to_plain_fastapi_c32": ("at least", 1.0),
    "add_to_tutorial_c32": ("at least", 300.0),
    "add_p99_to_floor_c32": ("at most", 1.3),
    "add_c1_median_over_floor_us": ("at most", 120.0),
    "add_c1_median_to_best_peer": ("at most", 1.0),
    "infer_to_triton_c32": ("at least", 1.2),
    "infer_c1_median_to_triton": ("at most", 1.0),
    "add_batch_c1_expressions_per_second": ("at least", 100_000.0),
}
"""What each ratio should be. The report says which are met."""

FIGURES = ("requests_per_second", "answers_per_second", "p50_us", "p90_us", "p99_us", "max_us")


def report(results: Results, names: Sequence[str], *, quick: bool, rounds: int, window: int) -> dict[str, Any]:
    """All figures as plain data, with the settings that they were measured under."""
    divided = {workers: machine.divide(machine.cores(), workers) for workers in {1, len(machine.cores())}}
    return {
        "benchmark": "serving",
        "machine": machine.describe(),
        "settings": {
            "rounds": rounds,
            "window_s": window,
            "warm_up_s": WARM_UP_S,
            "quick": quick,
            "cores": {
                str(workers): {"server": sorted(each.server), "generator": sorted(each.generator)}
                for workers, each in divided.items()
            },
        },
        "contenders": {name: CONTENDERS[name].about for name in names},
        "failures": results.failures,
        "rows": rows(results),
        "open_loop": results.sweep,
        **headline(results),
    }


def rows(results: Results) -> list[dict[str, Any]]:
    """A row for each contender, route and load."""
    return [
        _row(key, list(samples.values()), results.checked.get(key[0], 0)) for key, samples in results.samples.items()
    ]


def _row(key: Key, samples: Sequence[Sample], checked: int) -> dict[str, Any]:
    name, route, connections, cores = key
    measured = [sample.measured for sample in samples]
    return {
        "contender": name,
        "route": route,
        "connections": connections,
        "workers": cores,
        **{name: Spread.of([getattr(each, name) for each in measured]).as_data() for name in FIGURES},
        "server_us": Spread.of([each.server_us for each in samples]).as_data(),
        "requests": sum(each.requests for each in measured),
        "answers_checked": sum(each.answers for each in measured) if CONTENDERS[name].check == "truth" else 0,
        "answers_checked_before": checked,
        "wrong": sum(each.wrong for each in measured),
        "errors": sum(each.errors for each in measured),
        "generator_cpu": median(each.generator_cpu for each in measured),
        "server_cpu": median(sample.server_cpu for sample in samples),
        "rounds": len(samples),
    }


def headline(results: Results) -> dict[str, Any]:
    """The ratios, each the median over the rounds of the ratio within a round, and their spreads."""
    most = max((cores for _, _, _, cores in results.samples), default=1)
    figures: dict[str, list[float]] = {}

    def compare(name: str, ours: Key, theirs: Key, figure: str = "requests_per_second") -> None:
        figures[name] = stats.ratios(results.per_round(ours, figure), results.per_round(theirs, figure))

    def key(name: str, route: str = "/add", connections: int = 32, cores: int = 1) -> Key:
        return name, route, connections, cores

    compare("add_to_floor_c32", key("ours"), key("floor"))
    compare("reverse_to_floor_c32", key("ours", "/reverse"), key("floor", "/reverse"))
    compare("add_to_plain_fastapi_c32", key("ours"), key("plain"))
    compare("reverse_to_plain_fastapi_c32", key("ours", "/reverse"), key("plain", "/reverse"))
    compare("add_to_best_peer_c32", key("ours"), key(results.best_peer()))
    compare("add_server_time_to_best_peer_c32", key("ours"), key(results.best_peer()), "server_us")
    compare("infer_to_triton_c32", key("ours-v2"), key("triton"))
    compare("infer_c1_median_to_triton", key("ours-v2", connections=1), key("triton", connections=1), "p50_us")
    compare(
        "add_c1_median_to_best_peer", key("ours", connections=1), key(results.quickest_peer(), connections=1), "p50_us"
    )
    compare("add_to_tutorial_c32", key("ours"), key("tutorial"))
    compare("add_to_keras_thread_c32", key("ours"), key("keras-thread"))
    compare("add_p99_to_floor_c32", key("ours"), key("floor"), "p99_us")
    compare("reverse_p99_to_floor_c32", key("ours", "/reverse"), key("floor", "/reverse"), "p99_us")
    for route in ("add", "reverse"):
        one = (key(name, f"/{route}", 1) for name in ("ours", "floor"))
        figures[f"{route}_c1_median_over_floor_us"] = stats.differences(
            *(results.per_round(each, "p50_us") for each in one)
        )
    for connections in (1, 4):
        batch = results.per_round(key("ours", "/add/batch", connections), "answers_per_second")
        figures[f"add_batch_c{connections}_expressions_per_second"] = list(batch.values())
    if most > 1:
        peer = results.best_peer(most)
        compare("add_to_floor_c32_all_cores", key("ours", cores=most), key("floor", cores=most))
        compare("add_to_best_peer_c32_all_cores", key("ours", cores=most), key(peer, cores=most))
        compare("add_all_cores_to_one_c32", key("ours", cores=most), key("ours"))
    spreads = stats.spreads(figures)
    return {"best_peer": results.best_peer(), **spreads, "targets": met(spreads["ratios"])}


def met(ratios: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The target of each ratio that was measured, and whether its median meets it."""
    return {
        name: {
            "target": f"{side} {value:,.4g}",
            "met": ratios[name] >= value if side == "at least" else ratios[name] <= value,
        }
        for name, (side, value) in TARGETS.items()
        if name in ratios
    }


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {
            "contender": row["contender"],
            "route": row["route"],
            "connections": row["connections"],
            "workers": row["workers"],
            "answers/s": row["answers_per_second"]["median"],
            "least": row["answers_per_second"]["min"],
            "most": row["answers_per_second"]["max"],
            "p50 ms": row["p50_us"]["median"] / 1000,
            "p99 ms": row["p99_us"]["median"] / 1000,
            "errors": row["errors"] + row["wrong"],
            "generator": row["generator_cpu"],
            "server": row["server_cpu"],
            "server µs": row["server_us"]["median"],
        }
        for row in sorted(data["rows"], key=lambda row: (row["workers"], row["route"], row["connections"]))
    ]
