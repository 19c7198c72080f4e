"""Runs networks over requests and holds every answer against the truth, whole sequences only.

Knows nothing of runtimes: a network is anything that decodes greedily, as the service does. One pass runs all networks
that are compared.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seq2seq.decoding import Decoded, Network
from seq2seq.holdout import in_split
from seq2seq.problem import Oracle
from seq2seq.proving.bounds import Progress
from seq2seq.proving.intervals import Array
from seq2seq.vocabulary import FloatArray, IdArray

BATCH = 1_024
MISTAKES_KEPT = 10
MOST_COMPARED = 2_000_000
"""Other networks are asked at most about this many requests, spread evenly over all."""
SURE, ROUNDING = 10.0, 0.1
"""Margins in logits: one up to `SURE` that is computed from a probability in float32 is right within `ROUNDING`."""


Logits = Callable[[IdArray, IdArray], FloatArray]
"""Source ids (B, S), the true answers' ids (B, T) → a network's logits (B, T, V)."""


@dataclass(frozen=True)
class Mistake:
    """A request whose answer is wrong: what it asks, what was written, what is right."""

    request: Any
    written: Any
    right: Any

    def __str__(self) -> str:
        return f"{self.request!r}: wrote {self.written!r}, right is {self.right!r}"


@dataclass
class Agreement:
    """How many requests two networks were asked, how many they answered alike, and how far probabilities differed."""

    compared: int = 0
    agreed: int = 0
    largest_difference: float = 0.0


@dataclass
class Run:
    """What came of running a network.

    held_out    of the requests checked, those whose problem was never trained on
    agreements  with each other network, by its name
    weakest     the sources (n, S) with the least margins, least first; none where no logits were given
    margins     these margins (n,), in logits
    mistakes    the first few
    """

    agreements: dict[str, Agreement]
    weakest: IdArray
    margins: Array
    checked: int = 0
    wrong: int = 0
    held_out: int = 0
    held_out_wrong: int = 0
    mistakes: list[Mistake] = field(default_factory=list)


def run(
    problem: Oracle,
    network: Network,
    batches: Iterable[IdArray],
    *,
    hold_out: bool,
    others: Mapping[str, Network] | None = None,
    logits: Logits | None = None,
    weakest: int = 1,
    progress: Progress = lambda *_: None,
    total: int = 0,
) -> Run:
    """Decode every source (B, S) of the batches and compare it with the truth, symbol by symbol.

    hold_out  whether the held-out half was kept out of training; if not, nothing counts as held out
    others    networks that are asked the same; if `total` is large, only some of the batches, spread evenly
    logits    of the network, if the `weakest` sources are wanted
    progress  told how many of `total` requests are done
    """
    others = others or {}
    stride = max(1, -(-total // MOST_COMPARED))
    nothing = np.zeros((0, problem.source_length), dtype=np.int32)
    result = Run({name: Agreement() for name in others}, weakest=nothing, margins=np.zeros(0))
    for number, (sources, decoded) in enumerate(_decoded(network, batches)):
        targets = problem.answer(sources)  # (B, T)
        wrong = (decoded.ids != targets).any(axis=1)  # (B,)
        held_out = in_split(problem.keys(sources), "held_out") & hold_out  # (B,)
        result.checked += len(sources)
        result.wrong += int(wrong.sum())
        result.held_out += int(held_out.sum())
        result.held_out_wrong += int((wrong & held_out).sum())
        rows = np.flatnonzero(wrong)[: MISTAKES_KEPT - len(result.mistakes)]
        result.mistakes += mistakes(problem, sources[rows], decoded.ids[rows])
        for name, other in others.items() if number % stride == 0 else ():
            agreement, answer = result.agreements[name], other.greedy(sources)
            agreement.compared += len(sources)
            agreement.agreed += int((answer.ids == decoded.ids).all(axis=1).sum())
            difference = float(np.abs(answer.probabilities - decoded.probabilities).max())
            agreement.largest_difference = max(agreement.largest_difference, difference)
        if logits is not None:
            doubtful = np.ones(len(sources), dtype=np.bool_)
            if len(result.margins) == weakest:
                doubtful = wrong | (least_possible_margins(decoded.probabilities) < result.margins[-1])
            _keep_weakest(result, sources[doubtful], targets[doubtful], logits, weakest)
        progress("requests", result.checked, total)
    return result


def _decoded(network: Network, batches: Iterable[IdArray]) -> Iterator[tuple[IdArray, Decoded]]:
    """Each batch (B, S) with its answers, in order. The next ones are decoded meanwhile, as many as there are cores."""
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        waiting: deque[tuple[IdArray, Future[Decoded]]] = deque()
        for sources in batches:
            waiting.append((sources, pool.submit(network.greedy, sources)))
            if len(waiting) > cores:
                sources, answer = waiting.popleft()
                yield sources, answer.result()
        for sources, answer in waiting:
            yield sources, answer.result()


def _keep_weakest(result: Run, sources: IdArray, targets: IdArray, logits: Logits, most: int) -> None:
    """Keep those with the least margins of the weakest known so far and these."""
    if len(sources):
        kept = np.concatenate([result.weakest, sources])
        least = np.concatenate([result.margins, margins(logits(sources, targets), targets)])
        order = np.argsort(least, kind="stable")[:most]
        result.weakest, result.margins = kept[order], least[order]


def least_possible_margins(probabilities: FloatArray) -> Array:
    """The probabilities of the symbols chosen (B, T) → what the least margin of each right answer cannot be below (B,).

    The other symbols of a place have the rest of the probability between them, so none has more than that.
    """
    least = probabilities.min(axis=1).astype(np.float64)
    with np.errstate(divide="ignore"):
        margins: Array = np.log(least / np.maximum(1 - least, 0))
    return np.minimum(margins, SURE) - ROUNDING


def mistakes(problem: Oracle, sources: IdArray, ids: IdArray) -> list[Mistake]:
    """Wrong answers (n, T) to sources (n, S), for reading."""
    rights = problem.decode(problem.answer(sources))
    return list(map(Mistake, problem.requests(sources), problem.decode(ids), rights))


def margins(logits: FloatArray, targets: IdArray) -> Array:
    """Logits (B, T, V), the true ids (B, T) → the least margin of a true logit over the others of its place (B,)."""
    places = targets[..., None].astype(np.int64)
    true = np.take_along_axis(logits, places, axis=-1)[..., 0].astype(np.float64)  # (B, T)
    others = logits.copy()
    np.put_along_axis(others, places, -np.inf, axis=-1)
    least: Array = (true - others.max(axis=-1)).min(axis=1)
    return least
