"""The study on a grid of four tiny cells: whole, resumed, stopped, and drawn anew."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import service

from seq2seq.problem import Oracle
from training.__main__ import main
from training.study import cells, running, tables
from training.study.cells import Cell

pytestmark = pytest.mark.training

STEPS = 30
QUICK = ["study", "--cells", "quick", "--steps", str(STEPS), "--out"]
TAKES_TIME = ("relative_time", "cpu_seconds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    made = tmp_path_factory.mktemp("study")
    assert main([*QUICK, str(made), "--jobs", "2"]) == 0
    return made


def measured(path: Path) -> dict[str, Any]:
    """A cell's figures, times left out."""
    found = json.loads(path.read_bytes())
    return {name: value for name, value in found.items() if name not in TAKES_TIME}


def test_every_cell_is_checked_over_its_whole_domain(folder: Path) -> None:
    rows = tables.read(folder)[tables.CELLS]
    assert len(rows) == len(cells.quick())
    assert {row["task"] for row in rows} == {"3 terms, 1 digit", "3 items, 4 values"}
    for row in rows:
        assert row["checked"] == row["domain"] > row["held_out"] > 0
        assert row["wrong"] >= row["held_out_wrong"]
        assert row["samples"] == STEPS * cells.BATCH
    curves = tables.read(folder)[tables.CURVES]
    assert len(curves) == cells.EPOCHS * len(rows)
    assert {row["samples"] for row in curves if row["cell"] == 0} == set(range(384, 3_841, 384))


def test_lengths_beyond_are_told_from_those_trained_on(folder: Path) -> None:
    rows = tables.read(folder)[tables.LENGTHS]
    assert len(rows) == 2 * len(cells.quick())
    assert [row["trained"] for row in rows] == [True, False] * len(cells.quick())


def test_a_run_goes_on_where_one_was_stopped_and_the_same_seed_gives_the_same_network(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, *others = sorted((folder / "cells").glob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in others}
    figures = measured(lost)
    lost.unlink()
    assert main([*QUICK, str(folder)]) == 0
    assert "3 of 4 cells are finished, 1 to run\n" in capsys.readouterr().out
    assert measured(lost) == figures
    assert {path: path.stat().st_mtime_ns for path in others} == before


def test_another_budget_is_another_cell(folder: Path) -> None:
    (cell, *_) = cells.quick()
    assert running.finished(cell, STEPS, folder / "cells") is not None
    assert running.finished(cell, STEPS + 1, folder / "cells") is None


def test_figures_come_from_the_tables_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = {path: path.read_bytes() for path in folder.glob("*.png")}
    assert {path.stem for path in drawn} >= {"exact", "curves", "smallest", "cost", "beyond"}
    (folder / "cells").rename(folder / "hidden")
    for path in drawn:
        path.unlink()
    try:
        assert main(["study", "--draw", "--out", str(folder)]) == 0
    finally:
        (folder / "hidden").rename(folder / "cells")
    assert {path: path.read_bytes() for path in folder.glob("*.png")} == drawn
    assert "4 cells, 0 of them exact\n" in capsys.readouterr().out


def children(pid: int) -> list[str]:
    """The processes that a process has started, on whatever thread."""
    return [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def test_ctrl_c_keeps_what_is_finished_and_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", *QUICK, str(tmp_path)]
    with subprocess.Popen(command, cwd=service.ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not list((tmp_path / "cells").glob("*.json")):
            assert process.poll() is None
            time.sleep(0.05)
        (trainer,) = children(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the cells in " in said
    for _ in range(600):
        if not Path(f"/proc/{trainer}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{trainer}").exists()
    assert list((tmp_path / "cells").glob("*.unfinished")) == []


def test_a_process_that_dies_fails_its_cell_only(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    broken.chmod(0o755)
    runner = running.on_this_machine(1, str(broken))
    found = list(running.run(cells.quick(), STEPS, tmp_path / "cells", runner))
    assert len(found) == len(cells.quick())
    assert {figures["failed"] for _, figures in found} == {"its process ended with status 3: out of memory"}
    assert list((tmp_path / "cells").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "--steps and --jobs are at least 1"),
        (["--ray", "auto"], "--ray needs Ray; deploy/requirements/ray.txt has it"),
        (["--draw"], "cells.csv is missing; `study` without --draw makes it"),
    ],
)
def test_a_wrong_call_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "--out", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.endswith(f"{message}\n")


@pytest.mark.parametrize("cell", cells.grid()[::7], ids=lambda cell: cell.name)
def test_a_cell_goes_through_a_line_of_text(cell: Cell) -> None:
    assert Cell.from_json(cell.as_json()) == cell
    assert "\n" not in cell.as_json()


def test_cells_differ_in_their_names_and_share_a_budget() -> None:
    grid = cells.grid()
    assert len({cell.name for cell in grid}) == len(grid)
    budgets = {(cell.recipe().samples, cell.recipe().batch_size, cell.recipe().learning_rate) for cell in grid}
    assert len(budgets) == 1
    assert all(cell.recipe().hold_out for cell in grid)


def test_every_request_of_a_task_is_a_problem_of_its_own() -> None:
    """So going through the distinct problems goes through all requests."""
    for cell in cells.grid():
        problem: Oracle = cell.recipe().problem
        assert problem.domain_size == problem.distinct_size
