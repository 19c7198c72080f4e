"""Draws a benchmark's figures into a PNG. Knows nothing of how they were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OURS, OTHERS = "tab:blue", "tab:gray"


def draw(data: Mapping[str, Any], path: Path) -> None:
    """The chart of any benchmark; none if nothing was measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {
        "serving": _serving,
        "startup": _startup,
        "training": _training,
        "cost": _cost,
        "pronunciation": _pronunciation,
        "fitting": _fitting,
        "neighbours": _neighbours,
        "tensors": _tensors,
        "playground": _playground,
    }[data["benchmark"]](data)
    if not data["rows"]:
        return
    figure = Figure(figsize=(6.2 * len(panels), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for place, panel in enumerate(panels, start=1):
        panel(figure.add_subplot(1, len(panels), place))
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _bars(title: str, figures: Sequence[tuple[str, float]], *, logarithmic: bool = False, form: str = "{:,.0f}") -> Any:
    """A panel of horizontal bars, ours in colour, with each figure beside its bar."""

    def panel(axes: Any) -> None:
        names = [name for name, _ in figures][::-1]
        values = [value for _, value in figures][::-1]
        bars = axes.barh(names, values, color=[OURS if name.startswith("ours") else OTHERS for name in names])
        axes.bar_label(bars, [form.format(value) for value in values], padding=3)
        if logarithmic:
            axes.set_xscale("log")
            # A bar's foot cannot stand at zero.
            axes.set_xlim(10 ** math.floor(math.log10(max(min(values), 0.01)) - 0.5), 4 * max(values))
        else:
            axes.margins(x=0.25)
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)

    return panel


def _serving(data: Mapping[str, Any]) -> list[Any]:
    figures = {
        cores: [
            (row["contender"], row["requests_per_second"]["median"])
            for row in data["rows"]
            if (row["route"], row["connections"], row["workers"]) == ("/add", 32, cores)
        ]
        for cores in sorted({row["workers"] for row in data["rows"]})
    }
    panels = [
        _bars(
            f"/add, 32 connections, {cores} worker{'s' if cores > 1 else ''}: requests a second",
            sorted(rates, key=lambda pair: -pair[1]),
            logarithmic=True,
        )
        for cores, rates in figures.items()
        if rates
    ]
    return [*panels, _open_loop(data["open_loop"])] if data["open_loop"] else panels


def _open_loop(points: Sequence[Mapping[str, Any]]) -> Any:
    def panel(axes: Any) -> None:
        for name in dict.fromkeys(point["contender"] for point in points):
            mine = [point for point in points if point["contender"] == name]
            rates = [point["rate"] for point in mine]
            (line,) = axes.plot(rates, [point["p50_us"] / 1000 for point in mine], marker=".", label=f"{name}, median")
            axes.plot(
                rates, [point["p99_us"] / 1000 for point in mine], marker=".", linestyle="--", color=line.get_color(),
                label=f"{name}, p99",
            )  # fmt: skip
        axes.set_yscale("log")
        axes.set_xlabel("requests due a second")
        axes.set_ylabel("latency, ms")
        axes.set_title("/add, open loop, 1 core")
        axes.grid(alpha=0.3)
        axes.legend()

    return panel


def _startup(data: Mapping[str, Any]) -> list[Any]:
    rows = data["rows"]
    return [
        _bars(
            "start of process to first right answer, s",
            [(row["contender"], row["start_s"]["median"]) for row in rows],
            logarithmic=True,
            form="{:.2f}",
        ),
        _bars("memory after load, MB (PSS)", [(row["contender"], row["pss_mb"]["median"]) for row in rows]),
        _bars("installed environment, MB", [(row["contender"], row["environment_mb"]) for row in rows]),
    ]


def _training(data: Mapping[str, Any]) -> list[Any]:
    rows = data["rows"]
    return [
        _bars(
            "data and fit, s",
            [(f"{row['contender']}, {row['problem']}", row["seconds"]["median"]) for row in rows],
            form="{:.1f}",
        ),
        _bars(
            "examples a second, sustained",
            [(f"{row['contender']}, {row['problem']}", row["examples_per_second"]["median"]) for row in rows],
        ),
    ]


def _cost(data: Mapping[str, Any]) -> list[Any]:
    whole = [row for row in data["rows"] if not row["part"].startswith("all")]
    batches = [name for name in data["growth"][0] if name.startswith("of ")]
    by_units = [row for row in data["growth"] if row["layers"] == 1 and row["reads"] == data["growth"][0]["reads"]]
    return [
        *(
            _bars(
                f"{route}, part by part, µs a request in a batch of 32",
                [(row["part"], row["of 32"]) for row in whole if row["route"] == route],
                form="{:.1f}",
            )
            for route in dict.fromkeys(row["route"] for row in whole)
        ),
        _lines("network, µs an answer", "units a side", "units", by_units, batches),
    ]


def _pronunciation(data: Mapping[str, Any]) -> list[Any]:
    rows = data["rows"]
    return [
        _bars(
            f"{what} wrong, %", [(row["contender"], 100 * row[f"{what}_wrong"]["share"]) for row in rows], form="{:.2f}"
        )
        for what in ("words", "phonemes")
    ]


def _fitting(data: Mapping[str, Any]) -> list[Any]:
    rates = [(row["contender"], row["words_per_second"]["median"]) for row in data["rows"]]
    return [_bars("training on pairs, words a second", rates)]


def _neighbours(data: Mapping[str, Any]) -> list[Any]:
    medians = {row["figure"]: row["median"] for row in data["rows"]}
    return [
        _bars(
            f"{what}, {unit}",
            [(name.removesuffix(f", {unit}"), each) for name, each in medians.items() if unit in name],
        )
        for what, unit in (("latency", "p99 µs"), ("pronunciation", "words/s"))
    ]


def _lines(title: str, label: str, x: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    """A panel of a line for each name over `x`, both axes logarithmic."""

    def panel(axes: Any) -> None:
        for name in names:
            axes.plot([row[x] for row in rows], [row[name] for row in rows], marker=".", label=f"batch {name}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend()

    return panel


def _playground(data: Mapping[str, Any]) -> list[Any]:
    figures = dict.fromkeys(row["figure"] for row in data["rows"])
    return [
        _bars(each, [(row["model"], row["median"]) for row in data["rows"] if row["figure"] == each], form="{:,.1f}")
        for each in figures
    ]


def _tensors(data: Mapping[str, Any]) -> list[Any]:
    return [_bars("items a second", [(f"ours, {row['route']}", row["median"]) for row in data["rows"]])]
