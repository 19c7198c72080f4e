"""Medians, spreads and ratios of figures measured round by round. Knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Rounds = Mapping[int, float]
"""A figure for each round that has one."""


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, and the least and the most of them."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))

    def as_data(self, digits: int = 4) -> dict[str, float]:
        """Plain data, with figures rounded to significant digits."""
        return {name: significant(value, digits) for name, value in vars(self).items()}


def spreads(measured: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """The spread of each ratio, and its median alone. What was not measured is left out."""
    found = {name: Spread.of(values).as_data() for name, values in measured.items() if values}
    return {"ratios": {name: spread["median"] for name, spread in found.items()}, "ratios_spread": found}


def ratios(ours: Rounds, theirs: Rounds) -> list[float]:
    """Ours over theirs, round by round. What disturbs a round disturbs both, so it cancels out."""
    return [ours[number] / theirs[number] for number in sorted(set(ours) & set(theirs)) if theirs[number]]


def differences(ours: Rounds, theirs: Rounds) -> list[float]:
    """Ours less theirs, round by round."""
    return [ours[number] - theirs[number] for number in sorted(set(ours) & set(theirs))]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all values do not exceed, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def significant(value: float, digits: int = 4) -> float:
    """`1234.567` → `1235.0`, `0.0123456` → `0.01235`."""
    return float(f"{value:.{digits}g}")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as columns of text: words to the left, figures to the right."""
    if not rows:
        return "(nothing was measured)"
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(names)]
    figures = [all(isinstance(row[name], int | float | None) for row in rows) for name in names]

    def line(parts: Sequence[str]) -> str:
        aligned = zip(parts, widths, figures, strict=True)
        return "  ".join(part.rjust(width) if is_figure else part.ljust(width) for part, width, is_figure in aligned)

    return "\n".join(
        text.rstrip() for text in (line(names), line(["-" * width for width in widths]), *map(line, cells))
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
