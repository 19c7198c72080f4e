"""Searches for the requests that a network is least sure of: random samples show nothing, these show what is wrong.

A greedy search over symbols: of all the requests that differ in one symbol, go on with the one of the least margin.
Knows nothing of runtimes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seq2seq.problem import Problem, RuleBroken
from seq2seq.proving.intervals import Array, Integers
from seq2seq.vocabulary import IdArray

ROUNDS = 30
BATCH = 4_096


def search(problem: Problem, margins: Callable[[IdArray], Array], starts: IdArray) -> tuple[IdArray, Array]:
    """From each start (n, S), go downhill as far as one symbol at a time leads. Least margin first, (n, S) and (n,).

    `margins` gives each source's least margin in logits (B,); below 0 the network errs. Every source that is tried is
    an acceptable request.
    """
    sources, least = starts.copy(), margins(starts)
    moving: Integers = np.arange(len(starts), dtype=np.int64)
    for _ in range(ROUNDS):
        candidates = _one_symbol_apart(problem, sources[moving])  # (n, S * V, S)
        flat = candidates.reshape(-1, candidates.shape[-1])
        found: Array = np.full(len(flat), np.inf)
        tried = np.flatnonzero(_acceptable(problem, flat))
        for start in range(0, len(tried), BATCH):
            rows = tried[start : start + BATCH]
            found[rows] = margins(flat[rows])
        found = found.reshape(candidates.shape[:2])
        best = found.argmin(axis=1)
        rows = np.arange(len(moving))
        lower = found[rows, best] < least[moving]
        sources[moving[lower]] = candidates[rows, best][lower]
        least[moving[lower]] = found[rows, best][lower]
        moving = moving[np.flatnonzero(lower)]
        if not len(moving):
            break
    sources, first = np.unique(sources, axis=0, return_index=True)
    order = np.argsort(least[first], kind="stable")
    return sources[order], least[first][order]


def _one_symbol_apart(problem: Problem, sources: IdArray) -> IdArray:
    """Sources (n, S) → each with each symbol at each place (n, S * V, S)."""
    length, symbols = sources.shape[1], len(problem.source_vocabulary)
    candidates = np.repeat(sources[:, None], length * symbols, axis=1)
    for place in range(length):
        candidates[:, place * symbols : (place + 1) * symbols, place] = np.arange(symbols)
    return candidates


def _acceptable(problem: Problem, sources: IdArray) -> npt.NDArray[np.bool_]:
    """Which sources (n, S) are those of a request that the problem accepts (n,)."""
    accepted = np.zeros(len(sources), dtype=np.bool_)
    for row, request in enumerate(problem.requests(sources)):
        try:
            accepted[row] = np.array_equal(problem.encode([problem.parse(request)])[0], sources[row])
        except RuleBroken:
            continue
    return accepted
