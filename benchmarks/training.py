"""The tutorials' recipes as given against ours: same network, no more samples, in turn, each in its own process.

Knows nothing of what a recipe does; each run is a process of its own (trial.py), which times itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import environments, machine, stats
from benchmarks.networks import LISTS, SUMS
from benchmarks.stats import Spread

PROBLEMS = ("sums", "lists")
SIZES = {"sums": SUMS, "lists": LISTS}
Outcomes = dict[tuple[str, str], dict[int, dict[str, float]]]
"""The results of each kind of run and problem, round by round."""


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """Run every recipe in every round, each round with a seed of its own, and give all figures as plain data."""
    outcomes: Outcomes = {}
    for number in range(rounds):
        for problem in PROBLEMS:
            for kind in ("given", "ours", "sustained", "torch", "peak"):
                outcome = trial(kind, problem, number + 1)
                outcomes.setdefault((kind, problem), {})[number] = outcome
                sys.stderr.write(f"  {kind:10}{problem:6} {outcome}\n")
        sys.stderr.write(f"round {number + 1} of {rounds} done\n")
    return {
        "benchmark": "training",
        "machine": machine.describe(),
        "settings": {"rounds": rounds, "quick": quick, "seeds": list(range(1, rounds + 1))},
        "rows": [_row(kind, problem, outcomes) for problem in PROBLEMS for kind in ("given", "ours")],
        **stats.spreads(headline(outcomes)),
    }


def trial(kind: str, problem: str, seed: int) -> dict[str, float]:
    """One run in a process of its own. Raises `CannotPrepare`."""
    if kind == "torch":
        outcome: dict[str, float] = environments.outcome("torch", "benchmarks.trial_torch", problem, str(seed))
    else:
        outcome = environments.outcome("dev", "benchmarks.trial", kind, problem, str(seed))
    return outcome


def headline(outcomes: Outcomes) -> dict[str, list[float]]:
    """How many times faster ours are, and how many answers are wrong."""
    measured: dict[str, list[float]] = {}
    for problem in PROBLEMS:

        def figures(kind: str, name: str, problem: str = problem) -> dict[int, float]:
            return {number: outcome[name] for number, outcome in outcomes[kind, problem].items()}

        measured[f"{problem}_given_to_ours_seconds"] = stats.ratios(
            figures("given", "seconds"), figures("ours", "seconds")
        )
        measured[f"{problem}_ours_to_given_examples_per_second"] = stats.ratios(
            figures("sustained", "examples_per_second"), figures("given", "examples_per_second")
        )
        rates = figures("sustained", "examples_per_second")
        measured[f"{problem}_ours_to_torch_examples_per_second"] = stats.ratios(
            rates, figures("torch", "examples_per_second")
        )
        gflops = {number: 1e-9 * SIZES[problem].flops * rate for number, rate in rates.items()}
        measured[f"{problem}_ours_gflops"] = list(gflops.values())
        measured[f"{problem}_peak_gflops"] = list(figures("peak", "gflops").values())
        measured[f"{problem}_ours_to_peak_gflops"] = stats.ratios(gflops, figures("peak", "gflops"))
        own = figures("peak", "gflops_of_its_size")
        measured[f"{problem}_ours_to_peak_of_its_size"] = stats.ratios(gflops, own)
        for kind in ("given", "ours"):
            measured[f"{problem}_{kind}_wrong"] = list(figures(kind, "wrong").values())
    return measured


def _row(kind: str, problem: str, outcomes: Outcomes) -> dict[str, Any]:
    runs = list(outcomes[kind, problem].values())
    rates = outcomes["sustained" if kind == "ours" else "given", problem].values()
    return {
        "contender": kind,
        "problem": problem,
        "samples": runs[0]["samples"],
        "seconds": Spread.of([run["seconds"] for run in runs]).as_data(),
        "import_seconds": Spread.of([run["import_seconds"] for run in runs]).as_data(),
        "examples_per_second": Spread.of([rate["examples_per_second"] for rate in rates]).as_data(),
        "wrong": Spread.of([run["wrong"] for run in runs]).as_data(),
        "of": runs[0]["of"],
        "exact_share": Spread.of([1 - run["wrong"] / run["of"] for run in runs]).as_data(6),
        "rounds": len(runs),
    }


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {
            "recipe": row["contender"],
            "problem": row["problem"],
            "samples": row["samples"],
            "seconds": row["seconds"]["median"],
            "least": row["seconds"]["min"],
            "most": row["seconds"]["max"],
            "examples/s": row["examples_per_second"]["median"],
            "wrong": row["wrong"]["median"],
            "of": row["of"],
        }
        for row in data["rows"]
    ]
