"""`python -m benchmarks BENCHMARK --json FILE`: prints tables, writes figures and a chart."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    chart,
    cost,
    fitting,
    neighbours,
    playground,
    pronunciation,
    serving,
    serving_report,
    startup,
    tensors,
    training,
)
from benchmarks.contenders import CONTENDERS
from benchmarks.environments import ROOT, CannotPrepare
from benchmarks.server import ServerFailed
from benchmarks.stats import table

MODELS = ROOT / "models"
RUNS = "runs/bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark. The exit status is 1 if it could not be run or a contender failed."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped on the way out
    try:
        data: dict[str, Any] = options.run(options)
    except (CannotPrepare, ServerFailed) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    figures: Path = options.json or Path(RUNS) / f"{options.name}.json"
    image: Path = options.chart or figures.with_suffix(".png")
    figures.parent.mkdir(parents=True, exist_ok=True)
    figures.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    chart.draw(data, image)
    print(table(options.rows(data)))
    if growth := data.get("growth"):
        print(f"\n{table(growth)}")
    if ratios := data.get("ratios_spread"):
        print(f"\n{'ratios':42}{'median':>10}{'least':>10}{'most':>10}")
        targets = data.get("targets", {})
        for name, spread in ratios.items():
            aim = targets.get(name)
            shown = "".join(f"{spread[each]:>10,.4g}" for each in ("median", "min", "max"))
            print(f"{name:42}{shown}" + (f"  {aim['target']}: {'met' if aim['met'] else 'not met'}" if aim else ""))
    for name, reasons in data.get("failures", {}).items():
        print(f"{name} failed: {'; '.join(reasons)}")
    print(f"\n{figures} and {image} written")
    return 1 if data.get("failures") else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure this service and its peers.")
    commands = parser.add_subparsers(required=True, metavar="BENCHMARK")
    for name, help_, run, rows in (
        ("serving", "requests a second and latency", _serving, serving_report.table_rows),
        ("startup", "time to the first answer, memory, size on disk", _startup, startup.table_rows),
        ("training", "the tutorials' recipes as given against ours", _training, training.table_rows),
        ("cost", "a request part by part, and a network's cost by its size", _cost, cost.table_rows),
        ("fitting", "words a second in training, and in PyTorch", _fitting, fitting.table_rows),
        ("neighbours", "what a large model costs the small ones beside it", _neighbours, neighbours.table_rows),
        ("tensors", "1,000 items a request, as binary tensors and as JSON", _tensors, tensors.table_rows),
        ("playground", "the page at /: its size, and how soon an answer is seen", _playground, playground.table_rows),
        ("pronunciation", "others on the test words of an example", _pronunciation, pronunciation.table_rows),
    ):
        command = commands.add_parser(name, help=help_)
        command.add_argument(
            "--json", type=Path, metavar="FILE", help=f"where the figures go (default: {RUNS}/{name}.json)"
        )
        command.add_argument("--chart", type=Path, metavar="FILE", help="where the chart goes (default: beside them)")
        command.add_argument("--quick", action="store_true", help="the headline only, in under ten minutes")
        command.add_argument("--rounds", type=int, help="how often everything is measured")
        command.set_defaults(name=name, run=run, rows=rows)
        if name in ("serving", "startup"):
            command.add_argument("--only", metavar="NAMES", help=f"some of {','.join(CONTENDERS)}")
        if name not in ("training", "fitting", "pronunciation"):
            command.add_argument("--models", type=Path, default=MODELS, metavar="DIR", help="where the bundles are")
        if name == "serving":
            command.add_argument("--seconds", type=int, help="length of a measured window")
    return parser


def _names(options: argparse.Namespace) -> list[str]:
    names = options.only.split(",") if options.only else list(CONTENDERS)
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise CannotPrepare(f"No such contender: {unknown[0]}. Choose from {', '.join(CONTENDERS)}")
    return names


def _serving(options: argparse.Namespace) -> dict[str, Any]:
    names = _names(options)
    rounds = options.rounds or (3 if options.quick else 5)
    window = options.seconds or (3 if options.quick else 5)
    results = serving.run(names, options.models.resolve(), quick=options.quick, rounds=rounds, window=window)
    return serving_report.report(results, names, quick=options.quick, rounds=rounds, window=window)


def _startup(options: argparse.Namespace) -> dict[str, Any]:
    return startup.run(_names(options), options.models.resolve(), rounds=options.rounds or (3 if options.quick else 5))


def _training(options: argparse.Namespace) -> dict[str, Any]:
    return training.run(rounds=options.rounds or (1 if options.quick else 3), quick=options.quick)


def _cost(options: argparse.Namespace) -> dict[str, Any]:
    return cost.run(options.models.resolve(), repeats=options.rounds or (300 if options.quick else 2_000))


def _fitting(options: argparse.Namespace) -> dict[str, Any]:
    return fitting.run(rounds=options.rounds or (1 if options.quick else 5), seconds=5 if options.quick else 15)


def _neighbours(options: argparse.Namespace) -> dict[str, Any]:
    seconds = 3 if options.quick else 10
    return neighbours.run(
        options.models.resolve(), rounds=options.rounds or (1 if options.quick else 5), seconds=seconds
    )


def _tensors(options: argparse.Namespace) -> dict[str, Any]:
    rounds, seconds = options.rounds or (3 if options.quick else 5), 3 if options.quick else 5
    return tensors.run(options.models.resolve(), rounds=rounds, seconds=seconds)


def _playground(options: argparse.Namespace) -> dict[str, Any]:
    return playground.run(options.models.resolve(), rounds=options.rounds or (1 if options.quick else 5))


def _pronunciation(options: argparse.Namespace) -> dict[str, Any]:
    return pronunciation.run(rounds=options.rounds or (1 if options.quick else 3))


if __name__ == "__main__":
    sys.exit(main())
