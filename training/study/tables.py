"""The study's results as tidy CSV files: a row a cell, a row a point of a curve, a row a length that was asked."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from training.study.cells import Cell

CELLS, CURVES, LENGTHS = "cells.csv", "curves.csv", "lengths.csv"

Row = dict[str, Any]
Tables = dict[str, list[Row]]


def tables(results: Sequence[tuple[Cell, Row]], shipped: Sequence[Row]) -> Tables:
    """Cells with their figures, and the lengths that models under models/ were asked → the rows of each file."""
    found: Tables = {CELLS: [], CURVES: [], LENGTHS: [*shipped]}
    names = [field.name for field in fields(Cell) if field.name not in ("task", "beyond")]
    for number, (cell, figures) in enumerate(results):
        settings = {"cell": number, "task": str(cell.task), **{name: getattr(cell, name) for name in names}}
        measured = {name: value for name, value in figures.items() if name not in (*asdict(cell), "curve", "lengths")}
        found[CELLS].append({**settings, **measured})
        curve = figures.get("curve", [])
        for place, wrong in enumerate(curve):
            samples = figures["samples"] * (place + 1) // len(curve)
            found[CURVES].append({"cell": number, "samples": samples, "validation_wrong": wrong})
        for row in figures.get("lengths", []):
            trained = row["length"] == cell.task.length
            varied = "terms" if cell.task.kind == "sums" else "items"
            found[LENGTHS].append({"network": number, "varied": varied, "trained": trained, **row})
    return found


def write(found: Tables, folder: Path) -> None:
    """Write the files; a cell that lacks a figure has an empty place there."""
    for name, rows in found.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def read(folder: Path) -> Tables:
    """The rows of the files in a folder; numbers and truth values are such again, and empty places are left out."""
    found: Tables = {}
    for name in (CELLS, CURVES, LENGTHS):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            found[name] = [{key: _value(text) for key, text in row.items() if text != ""} for row in rows]
    return found


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
