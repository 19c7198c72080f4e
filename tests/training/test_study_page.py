"""docs/study.md: its table and its figures come from the tables beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.study import cells, plots, tables

PAGE = Path(__file__).parents[2] / "docs" / "study.md"
FOLDER = PAGE.parent / "study"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_is_what_the_command_prints() -> None:
    assert plots.summary(tables.read(FOLDER)) in TEXT


def test_every_figure_can_be_drawn_and_is_shown(tmp_path: Path) -> None:
    drawn = {path.name for path in plots.draw(tables.read(FOLDER), tmp_path)}
    assert {path.name for path in FOLDER.glob("*.png")} == set(re.findall(r"\(study/(\w+\.png)\)", TEXT)) == drawn
    assert all(path.stat().st_size < 90_000 for path in FOLDER.iterdir())


def test_the_tables_hold_cells_of_the_grid() -> None:
    rows = tables.read(FOLDER)[tables.CELLS]
    names = ("family", "units", "layers", "reversed_source", "seed")
    grid = [(str(cell.task), *(getattr(cell, name) for name in names)) for cell in cells.grid()]
    assert {(row["task"], *(row[name] for name in names)) for row in rows} <= set(grid)
    assert {row["samples"] for row in rows} == {cells.STEPS * cells.BATCH}


@pytest.mark.parametrize("words", re.findall(r"\b(\d[\d,]*) of 10,000\b", TEXT))
def test_what_is_said_of_other_lengths_was_measured(words: str) -> None:
    assert int(words.replace(",", "")) in {row["wrong"] for row in tables.read(FOLDER)[tables.LENGTHS]}
