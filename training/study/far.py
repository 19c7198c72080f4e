"""How far beyond its training a network goes: the same weights on longer problems.

B is the batch, S the source length, T the target length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq import bundle
from seq2seq.bundle import NetworkSpec
from seq2seq.problem import Oracle, oracle
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from seq2seq.runtimes.onnx import Varying
from training import export, fused, networks

SAMPLE = 10_000
"""How many random requests of each length are asked."""

Lengthen = Callable[[int], Oracle]


def exactness(
    problems: Lengthen, lengths: Iterable[int], spec: NetworkSpec, weights: list[Any]
) -> Iterator[dict[str, Any]]:
    """For each length, how many answers of a network rebuilt for it are wrong. No weight depends on a length."""
    for length in lengths:
        problem = problems(length)
        models = networks.build(problem, spec)
        models.training.set_weights(weights)
        network = Varying.of(fused.build(problem, spec, models).SerializeToString())
        sources = problem.sample_sources(np.random.default_rng(length), SAMPLE)  # (B, S)
        wrong = (network.greedy(sources).ids != problem.answer(sources)).any(axis=1)  # (B,)
        yield {"length": length, "asked": SAMPLE, "wrong": int(wrong.sum())}


def _terms(problem: Oracle, length: int) -> Oracle:
    assert isinstance(problem, Addition)  # noqa: S101
    return replace(problem, min_terms=length, max_terms=length)


def _digits(problem: Oracle, length: int) -> Oracle:
    assert isinstance(problem, Addition)  # noqa: S101
    return replace(problem, smallest=10 ** (length - 1), largest=10**length - 1)


def _items(problem: Oracle, length: int) -> Oracle:
    assert isinstance(problem, Reversal)  # noqa: S101
    return replace(problem, shortest=length, longest=length)


def _taken(problem: Oracle, length: int) -> Oracle:
    assert isinstance(problem, Reversal)  # noqa: S101
    return replace(problem, take=length)


SHIPPED: list[tuple[str, str, Callable[[Oracle, int], Oracle], list[int], list[int]]] = [
    ("models/addition/2", "terms", _terms, [4], [4, 5, 6, 7, 8]),
    ("models/addition/2", "digits of a term", _digits, [2], [2, 3, 4]),
    ("models/reversal/3", "items in the list", _items, [8], [8, 9, 10, 12, 16, 24, 32]),
    ("models/reversal/2", "items to reverse", _taken, [3], [1, 2, 3, 4, 5, 6]),
]
"""A model, what of its problem is varied and how, the longest that it was trained on, and those that it is asked."""


def of_shipped() -> Iterator[dict[str, Any]]:
    """What the models that ship answer to other lengths."""
    for directory, varied, change, trained, lengths in SHIPPED:
        loaded = bundle.read(Path(directory))
        problem = oracle(loaded.manifest.problem)
        weights = export.weights_of(loaded)
        for row in exactness(partial(change, problem), lengths, loaded.manifest.network, weights):
            yield {"network": directory, "varied": varied, "trained": row["length"] in trained, **row}
