"""Evaluation: a network against the truth, whole sequences only, over a whole domain where it can be listed.

Knows nothing of Keras or ONNX Runtime: a network is anything that decodes greedily, as the service does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seq2seq.decoding import Network
from seq2seq.holdout import in_split
from seq2seq.problem import Problem
from seq2seq.vocabulary import IdArray, Symbols

BATCH = 4_096
RANDOM_REQUESTS = 1_000_000
"""How many random requests are tried where the domain cannot be listed."""
MISTAKES_KEPT = 10


@dataclass(frozen=True)
class Mistake:
    """A request whose answer is wrong."""

    request: Symbols
    written: Symbols
    right: Symbols


@dataclass
class Evaluation:
    """How many sequences were checked and how many of them came out wrong, held-out ones apart.

    `right_per_position` counts right symbols at each of T places; `lowest_confidence` is that of the least certain
    answer; `mistakes` are the first few, for reading.
    """

    positions: int
    checked: int = 0
    wrong: int = 0
    held_out: int = 0
    held_out_wrong: int = 0
    lowest_confidence: float = 1.0
    right_per_position: list[int] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.right_per_position = [0] * self.positions

    def as_data(self) -> dict[str, Any]:
        """The figures as plain data, per-position accuracy as a share."""
        return {
            "checked": self.checked,
            "wrong": self.wrong,
            "held_out": self.held_out,
            "held_out_wrong": self.held_out_wrong,
            "lowest_confidence": round(self.lowest_confidence, 6),
            "accuracy_per_position": [round(right / self.checked, 6) for right in self.right_per_position],
        }


def whole_domain(problem: Problem, seed: int) -> Iterator[IdArray]:
    """Every distinct problem once, then, where that is not every request, random requests, as batches of sources."""
    rng = np.random.default_rng(seed)
    yield from problem.distinct(rng, BATCH)
    if problem.domain_size is None:
        for start in range(0, RANDOM_REQUESTS, BATCH):
            yield problem.sample_sources(rng, min(BATCH, RANDOM_REQUESTS - start))


def evaluate(problem: Problem, network: Network, batches: Iterator[IdArray], *, hold_out: bool) -> Evaluation:
    """Decode every source and compare it with the truth, symbol by symbol.

    `hold_out` says whether the held-out half was kept out of training; else nothing counts as held out.
    """
    result = Evaluation(problem.target_length)
    for sources in batches:
        targets = problem.answer(sources)  # (B, T)
        decoded = network.greedy(sources)
        right = decoded.ids == targets  # (B, T)
        wrong = ~right.all(axis=1)  # (B,)
        held_out = in_split(problem.keys(sources), "held_out") & hold_out  # (B,)
        result.checked += len(sources)
        result.wrong += int(wrong.sum())
        result.held_out += int(held_out.sum())
        result.held_out_wrong += int((wrong & held_out).sum())
        result.lowest_confidence = min(result.lowest_confidence, *decoded.confidence)
        result.right_per_position = [a + int(b) for a, b in zip(result.right_per_position, right.sum(0), strict=True)]
        for row in np.flatnonzero(wrong)[: MISTAKES_KEPT - len(result.mistakes)]:
            result.mistakes.append(
                Mistake(
                    problem.source_vocabulary.decode(sources[row : row + 1])[0],
                    problem.decode(decoded.ids[row : row + 1])[0],
                    problem.decode(targets[row : row + 1])[0],
                )
            )
    return result


@dataclass(frozen=True)
class Agreement:
    """How many sequences two runtimes were both asked, and how many they answered alike."""

    compared: int
    agreed: int
    largest_difference: float

    def as_data(self) -> dict[str, Any]:
        """The figures as plain data; the difference is that of two probabilities."""
        return vars(self)


def agreement(one: Network, other: Network, batches: Iterator[IdArray]) -> Agreement:
    """Ask two networks the same and compare every answer."""
    compared = agreed = 0
    largest = 0.0
    for sources in batches:
        a, b = one.greedy(sources), other.greedy(sources)
        compared += len(sources)
        agreed += int((a.ids == b.ids).all(axis=1).sum())
        largest = max(largest, float(np.abs(a.probabilities - b.probabilities).max()))
    return Agreement(compared, agreed, largest)
