"""Words a second in training by teacher forcing: ours, the same by Keras's own layers, and the same in PyTorch.

All train one network on the same batches of examples/pronunciation, in turn, each in a process of its own: with dropout
and label smoothing, without what fit-pairs adds to that, as random symbols and dropped weights.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import environments, machine, stats
from benchmarks.stats import Spread
from examples.pronunciation import make_pairs

BATCH = 128
BATCHES = 120
CONTENDERS = {
    "ours": ("dev", "benchmarks.fitting_trial"),
    "ours, bfloat16": ("dev", "benchmarks.fitting_trial"),
    "Keras": ("dev", "benchmarks.fitting_trial"),
    "PyTorch": ("torch", "benchmarks.fitting_torch"),
}
"""Each contender's environment and its module."""


def run(*, rounds: int, seconds: int) -> dict[str, Any]:
    """Train each contender in each round for so many seconds. All figures as plain data."""
    rates: dict[str, dict[int, float]] = {name: {} for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        batches = Path(folder, "batches.npz")
        np.savez(batches, **made_batches())
        for number in range(rounds):
            for name in CONTENDERS if number % 2 == 0 else reversed(CONTENDERS):
                rates[name][number] = _trial(name, batches, seconds)
                sys.stderr.write(f"  {name:15} {rates[name][number]:8,.0f} words/s\n")
    compared = [("ours", "Keras"), ("ours", "PyTorch"), ("ours, bfloat16", "ours"), ("ours, bfloat16", "PyTorch")]
    return {
        "benchmark": "fitting",
        "machine": machine.describe(),
        "settings": {"rounds": rounds, "seconds": seconds, "batch": BATCH, "batches": BATCHES},
        "rows": [
            {"contender": name, "words_per_second": Spread.of(list(found.values())).as_data()}
            for name, found in rates.items()
        ],
        **stats.spreads({f"{one}_to_{other}": stats.ratios(rates[one], rates[other]) for one, other in compared}),
    }


def made_batches() -> dict[str, Any]:
    """Batches of words of similar lengths, spread over all lengths: ids of sources (B, S) and targets (B, T).

    Ids begin at 2, after padding and the end, which each row has.
    """
    pairs = [(tuple(word), tuple(each.split())) for word, all_ in make_pairs.split()["train"].items() for each in all_]
    pairs.sort(key=lambda pair: (len(pair[0]), len(pair[1])))
    found = {}
    starts = np.linspace(0, len(pairs) - BATCH, BATCHES).astype(int)
    symbols = [sorted({token for pair in pairs for token in pair[side]}) for side in (0, 1)]
    for place, start in enumerate(np.random.default_rng(1).permutation(starts)):
        for side, name in enumerate(("source", "target")):
            rows = [[symbols[side].index(token) + 2 for token in pair[side]] for pair in pairs[start : start + BATCH]]
            longest = max(map(len, rows)) + 1
            found[f"{name}_{place}"] = np.array([[*row, 1, *[0] * (longest - len(row) - 1)] for row in rows], np.int32)
    return found


def _trial(name: str, batches: Path, seconds: int) -> float:
    environment, module = CONTENDERS[name]
    return float(environments.outcome(environment, module, name, batches, str(seconds)))


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {
            "contender": row["contender"],
            "words/s": row["words_per_second"]["median"],
            "least": row["words_per_second"]["min"],
            "most": row["words_per_second"]["max"],
        }
        for row in data["rows"]
    ]
