"""The command `study`: runs the grid's cells, and writes tables, figures and a summary."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from training import output, stopping
from training.command_line import CallError
from training.progress import Progress
from training.study import cells, running, tables
from training.study.running import Figures

GRIDS = {"all": cells.grid, "large": cells.large, "quick": cells.quick}


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    command = commands.add_parser("study", help="train a grid of small networks, and show which become exact")
    command.add_argument("--out", type=Path, default=output.RUNS / "study", help="folder for results (runs/study)")
    command.add_argument(
        "--cells",
        choices=GRIDS,
        default="all",
        help="the grid of docs/study.md, networks of up to 256 units, or four cells that take seconds",
    )
    command.add_argument("--steps", type=int, default=cells.STEPS, help=f"the budget of a cell ({cells.STEPS:,})")
    command.add_argument("--jobs", type=int, default=1, help="processes on this machine, one thread each (1)")
    command.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster instead; auto finds one")
    command.add_argument("--python", default=sys.executable, help="the Python that trains, if Keras is not in this one")
    command.add_argument("--draw", action="store_true", help="run nothing; draw anew from the tables in --out")


def run(options: argparse.Namespace) -> int:
    """Run the cells that are not finished, and show what all have found. Exit status 1 if a cell failed."""
    if options.draw:
        return _show(options.out)
    if min(options.steps, options.jobs) < 1:
        raise CallError("--steps and --jobs are at least 1")
    grid = GRIDS[options.cells]()
    folder = options.out / "cells"
    output.check_writable(folder)
    waiting = [cell for cell in grid if running.finished(cell, options.steps, folder) is None]
    print(f"{len(grid) - len(waiting)} of {len(grid)} cells are finished, {len(waiting)} to run", flush=True)
    runner = running.on_ray(options.ray, options.python) if options.ray else None
    runner = runner or running.on_this_machine(options.jobs, options.python)
    progress, failed = Progress("study"), 0
    with stopping.stopped_at_once(lambda: f"\ntraining: stopped; the cells in {folder} stay, and a new run goes on"):
        for done, (cell, figures) in enumerate(running.run(waiting, options.steps, folder, runner), start=1):
            if "failed" in figures:
                print(f"training: {cell.name}: {figures['failed']}", file=sys.stderr)
                failed += 1
            progress("cells", done, len(waiting))
    progress.close()
    shipped = _shipped(options) if options.cells == "all" else []
    found = ((cell, running.finished(cell, options.steps, folder)) for cell in grid)
    results = [(cell, figures) for cell, figures in found if figures is not None]
    tables.write(tables.tables(results, shipped), options.out)
    if options.python == sys.executable:
        return _show(options.out) or int(failed > 0)
    # Matplotlib is where Keras is.
    draw = [options.python, "-m", "training", "study", "--draw", "--out", options.out]
    return subprocess.run(draw, check=False).returncode or int(failed > 0)  # noqa: S603


def _shipped(options: argparse.Namespace) -> list[Figures]:
    """What the models under models/ answer to other lengths; kept in a file, as cells are."""
    path = options.out / "shipped.json"
    if not path.exists():
        worker = running.Worker(options.python)
        found = worker.ask("shipped")
        worker.close()
        if "failed" in found:
            raise CallError(f"models/ cannot be measured: {found['failed']}")
        path.write_text(json.dumps(found["lengths"]), encoding="utf-8")
    rows: list[Figures] = json.loads(path.read_bytes())
    return rows


def _show(folder: Path) -> int:
    """Draw the figures, and print what the tables say."""
    try:
        found = tables.read(folder)
    except FileNotFoundError as error:
        raise CallError(f"{error.filename} is missing; `study` without --draw makes it") from error
    from training.study import plots  # loads Matplotlib

    for path in plots.draw(found, folder):
        print(path)
    print(plots.summary(found), end="")
    return 0
