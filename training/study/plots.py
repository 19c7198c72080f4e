"""The study's figures and its summary in words, both from the tables alone.

Colours are cividis and viridis, which readers of every colour vision tell apart, and lines differ in more than colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from training.study.tables import CELLS, CURVES, LENGTHS, Row, Tables

LEAST = 1e-4
"""What less is drawn as on a logarithmic scale."""
WRONG = f"share of all requests that is wrong,\nmedian of the seeds ({LEAST:g}: none)"
MARKERS = "os^Dv"
WORDS = {"repeat_vector": "repeat vector", "autoregressive": "autoregressive"}


def draw(found: Tables, folder: Path) -> list[Path]:
    """Draw every figure for which there are cells, as PNG files in the folder."""
    drawn = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, figure in FIGURES.items():
            made = figure(found)
            if made is not None:
                FigureCanvasAgg(made)
                drawn.append(folder / f"{name}.png")
                made.savefig(drawn[-1], dpi=84, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return drawn


def summary(found: Tables) -> str:
    """The cells as a table in Markdown: a row for those that differ in their seed only."""
    lines = [
        f"{len(found[CELLS])} cells, {sum(map(_is_exact, found[CELLS]))} of them exact",
        "",
        "| task | network | source | parameters | requests | wrong, for each seed | of them held out |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for (task, *_), cells in _groups(found[CELLS], SETTINGS).items():
        first = max(cells, key=len)  # one that has not diverged, if there is one
        network = f"{WORDS[first['family']]}, {first['units']} units{', two layers' * (first['layers'] == 2)}"
        known = [f"{first[name]:,}" if name in first else "" for name in ("parameters", "domain")]
        wrong, held_out = (
            ", ".join(f"{cell[name]:,}" if name in cell else "diverged" for cell in cells)
            for name in ("wrong", "held_out_wrong")
        )
        lines.append(f"| {task} | {network} | {_read(first)} | {' | '.join(known)} | {wrong} | {held_out} |")
    return "\n".join(lines) + "\n"


def _read(cell: Row) -> str:
    """How a cell's source is padded and read."""
    padding = (
        {"left": "padded whole, ", "term": "each term padded, "}[cell["padding"]] if "terms" in cell["task"] else ""
    )
    return f"{padding}{'last first' if cell['reversed_source'] else 'in order'}"


SETTINGS = ("task", "family", "units", "layers", "padding", "reversed_source")


def _groups(rows: Iterable[Row], names: Iterable[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by what they have under these names, in the order in which they come first."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name, "") for name in names), []).append(row)
    return found


def _is_exact(cell: Row) -> bool:
    return cell.get("wrong") == 0


def _by_size(found: Tables) -> list[Row]:
    """The cells that differ in task, family, units and seed only."""
    plain = {"layers": 1, "padding": "term", "reversed_source": False}
    return [
        cell for cell in found[CELLS] if "wrong" in cell and all(cell[name] == value for name, value in plain.items())
    ]


def _panels(count: int, height: float) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(8, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _map(axes: Any, values: dict[tuple[Any, Any], list[Row]], rows: list[Any], columns: list[Any]) -> Any:
    """A heat map of the share of wrong answers; each place says how many are wrong, and how many seeds are exact."""
    shares = np.full((len(rows), len(columns)), np.nan)
    for (row, column), cells in values.items():
        place = rows.index(row), columns.index(column)
        shares[place] = share = max(median(cell["wrong"] / cell["domain"] for cell in cells), LEAST)
        wrong = median(cell["wrong"] for cell in cells)
        text = f"{wrong:,.0f} wrong\n{sum(map(_is_exact, cells))} of {len(cells)} exact"
        axes.text(
            place[1], place[0], text, ha="center", va="center", size=8, color="white" if share > 0.03 else "black"
        )
    axes.set_xticks(range(len(columns)), [str(column).replace(", ", ",\n") for column in columns])
    axes.set_yticks(range(len(rows)), [str(row).replace(", ", ",\n") for row in rows])
    return axes.imshow(shares, cmap="cividis_r", norm=LogNorm(LEAST, 1), aspect="auto", origin="lower")


def exact(found: Tables) -> Figure | None:
    """Heat maps: units by task, a panel a family."""
    families = _groups(_by_size(found), ["family"])
    if not families:
        return None
    figure, panels = _panels(len(families), 4.5)
    for axes, ((family,), cells) in zip(panels, families.items(), strict=True):
        groups = _groups(cells, ["units", "task"])
        units = sorted({cell["units"] for cell in cells})
        image = _map(axes, groups, units, list(dict.fromkeys(cell["task"] for cell in cells)))
        axes.set_title(WORDS[family])
        axes.set_ylabel("LSTM units a side")
    figure.colorbar(image, ax=panels, label=WRONG)
    return figure


def reading(found: Tables) -> Figure | None:
    """Heat maps: padding and order of reading by family, a panel a task."""
    cells = [cell for cell in found[CELLS] if "wrong" in cell and (cell["units"], cell["layers"]) == (32, 1)]
    read_otherwise = {cell["task"] for cell in cells if cell["reversed_source"]}
    cells = [cell for cell in cells if cell["task"] in read_otherwise]
    for cell in cells:
        cell["read"], cell["network"] = _read(cell), WORDS[cell["family"]].replace(" ", "\n")
    tasks = _groups(cells, ["task"])
    if not tasks:
        return None
    figure, panels = _panels(len(tasks), 3.6)
    for axes, ((task,), group) in zip(panels, tasks.items(), strict=True):
        rows = sorted({cell["read"] for cell in group})
        columns = sorted({cell["network"] for cell in group}, reverse=True)
        image = _map(axes, _groups(group, ["read", "network"]), rows, columns)
        axes.set_title(task, size=10)
    figure.colorbar(image, ax=panels, label=WRONG)
    return figure


def curves(found: Tables) -> Figure | None:
    """The share of wrong answers to the validation problems over the samples seen, a panel a task and a family."""
    plain = {cell["cell"]: cell for cell in _by_size(found)}
    points = [{**plain[row["cell"]], **row} for row in found[CURVES] if row["cell"] in plain]
    tasks = _groups(points, ["task"])
    if not tasks:
        return None
    figure, panels = _panels(len(tasks), 3.8)
    units = sorted({row["units"] for row in points})
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(units)))
    for axes, ((task,), group) in zip(panels, tasks.items(), strict=True):
        for (size, family), rows in _groups(group, ["units", "family"]).items():
            by_samples = _groups(rows, ["samples"])
            axes.plot(
                [samples for (samples,) in by_samples],
                [max(median(row["validation_wrong"] for row in each), LEAST) for each in by_samples.values()],
                "-" if family == "repeat_vector" else "--",
                color=colours[units.index(size)],
                marker=MARKERS[units.index(size) % len(MARKERS)],
                markersize=4,
                label=f"{size}",
            )
        axes.set_yscale("log")
        axes.set_title(task, size=10)
        axes.set_xlabel("samples seen")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1_000:.0f}k"))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"wrong on validation, median of seeds\n({LEAST:g}: none)")
    lines = {int(line.get_label()): line for axes in panels for line in axes.get_lines()}
    figure.legend([lines[size] for size in units], units, title="units", loc="outside right upper")
    figure.suptitle("solid: repeat vector, dashed: autoregressive", size=10)
    return figure


def smallest(found: Tables) -> Figure | None:
    """For each task and family the fewest parameters with which a cell is exact."""
    groups = _groups(_by_size(found), ["task", "family"])
    if not groups:
        return None
    figure, (axes,) = _panels(1, 3.2)
    names = []
    for place, ((task, family), cells) in enumerate(groups.items()):
        names.append(f"{task}, {WORDS[family]}")
        for cell in cells:
            face = "black" if _is_exact(cell) else "none"
            axes.plot(cell["parameters"], place, "o", markerfacecolor=face, markeredgecolor="black", alpha=0.6)
        least = min((cell["parameters"] for cell in cells if _is_exact(cell)), default=None)
        text = "none is exact" if least is None else f"{least:,}"
        axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center")
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.set_xlabel("parameters of the cells (filled: exact; empty: not) and the fewest of an exact cell")
    axes.grid(alpha=0.3, axis="x")
    return figure


def cost(found: Tables) -> Figure | None:
    """What an answer costs by the size of the network."""
    groups = _groups(_by_size(found), ["task", "family"])
    if not groups:
        return None
    figure, (axes,) = _panels(1, 3.6)
    tasks = list(dict.fromkeys(task for task, _ in groups))
    for (task, family), cells in groups.items():
        by_units = _groups(sorted(cells, key=lambda cell: int(cell["units"])), ["units"])
        axes.plot(
            [units for (units,) in by_units],
            [min(cell["relative_time"] for cell in each) for each in by_units.values()],
            "-" if family == "repeat_vector" else "--",
            marker=MARKERS[tasks.index(task) % len(MARKERS)],
            color=matplotlib.colormaps["viridis"](0.8 * tasks.index(task) / max(1, len(tasks) - 1)),
            label=f"{task}, {WORDS[family]}",
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("LSTM units a side")
    axes.set_ylabel("time of one answer\n(repeat vector of 4 units: 1)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def shipped(found: Tables) -> Figure | None:
    """The models that ship, on lengths beyond those they were trained on."""
    rows = [row for row in found[LENGTHS] if isinstance(row["network"], str)]
    groups = _groups(rows, ["network", "varied"])
    return _by_length(groups, lambda group: f"{group[0]}\n{group[1]}") if groups else None


def beyond(found: Tables) -> Figure | None:
    """Cells on lengths beyond those they were trained on."""
    cells = {cell["cell"]: cell for cell in found[CELLS]}
    rows = [{**cells[row["network"]], **row} for row in found[LENGTHS] if row["network"] in cells]
    groups = _groups(rows, ["task", "varied"])
    return _by_length(groups, lambda group: f"trained on {group[0]}") if groups else None


def _by_length(groups: dict[tuple[Any, ...], list[Row]], title: Callable[[tuple[Any, ...]], str]) -> Figure:
    """The share of right answers over the length, a panel a group; what was trained on has a grey ground."""
    figure, panels = _panels(len(groups), 3.4)
    for axes, (group, rows) in zip(panels, groups.items(), strict=True):
        trained = [row["length"] for row in rows if row["trained"]]
        axes.axvspan(min(trained) - 0.5, max(trained) + 0.5, color="0.88")
        for place, ((family, order), lines) in enumerate(_groups(rows, ["family", "reversed_source"]).items()):
            by_length = _groups(lines, ["length"])
            axes.plot(
                [length for (length,) in by_length],
                [median(1 - row["wrong"] / row["asked"] for row in each) for each in by_length.values()],
                ["-", "--", "-.", ":"][place % 4],
                marker=MARKERS[place % len(MARKERS)],
                color=matplotlib.colormaps["viridis"](place / 4),
                label=f"{WORDS[family]}, {'last first' if order else 'in order'}" if family else None,
            )
        axes.set_title(title(group), size=9)
        axes.set_xlabel(group[1])
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylim(-0.03, 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("right answers of 10,000\n(grey: trained on)")
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(fontsize=8, loc="lower left")
    return figure


FIGURES: dict[str, Callable[[Tables], Figure | None]] = {
    each.__name__: each for each in (exact, reading, curves, smallest, cost, shipped, beyond)
}
