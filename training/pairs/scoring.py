"""How right a network's answers are on pairs: error rates with intervals, and how far its confidence can be trusted.

Knows nothing of Keras. An answer is right if it equals one of its source's targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seq2seq.decoding import Network
from seq2seq.problems.pairs import Pairs
from seq2seq.proving import listed
from seq2seq.proving.running import Agreement
from training.pairs.files import Text

BATCH = 256
RESAMPLES = 1_000
INTERVAL = 0.95
BINS = 15
"""Of the reliability diagram, equal in width (Guo et al., 2017)."""
SEED = 2026
CANDIDATES = np.geomspace(0.2, 5.0, 163)
"""Temperatures, each 2% above the last."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """What became of n sources.

    answers     the tokens that were written
    wrong       whether each answer is wrong (n,)
    errors      tokens to be inserted, deleted or replaced to reach the nearest target (n,); symbols: its length (n,)
    confidence  of each answer (n,)
    """

    problem: Pairs
    targets: Mapping[Text, Sequence[Text]]
    sources: list[Text]
    answers: list[Text]
    wrong: npt.NDArray[np.bool_]
    errors: Floats
    symbols: Floats
    confidence: Floats

    @property
    def wrong_rate(self) -> float:
        return float(self.wrong.mean())

    @property
    def symbol_rate(self) -> float:
        return float(self.errors.sum() / self.symbols.sum())

    def shown_source(self, place: int) -> str:
        return str(self.problem.input.value(self.sources[place]))

    def shown_answer(self, place: int) -> str:
        return str(self.problem.render(self.answers[place]))

    def shown_targets(self, place: int) -> list[str]:
        return [str(self.problem.render(target)) for target in self.targets[self.sources[place]]]

    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Both rates' 95% intervals."""
        return interval(self.wrong, np.ones_like(self.wrong)), interval(self.errors, self.symbols)

    def reliability(self) -> list[tuple[int, float, float]]:
        """For each bin of confidence: how many answers, their mean confidence, and the share that is right."""
        bins = np.minimum((self.confidence * BINS).astype(int), BINS - 1)
        found = []
        for place in range(BINS):
            inside = bins == place
            count = int(inside.sum())
            mean = float(self.confidence[inside].mean()) if count else 0.0
            found.append((count, mean, float(1 - self.wrong[inside].mean()) if count else 0.0))
        return found

    def rates(self) -> dict[str, Any]:
        """The fields of `ErrorRates` that tell of these answers."""
        wrong_interval, symbol_interval = self.intervals()
        return {
            "tested": len(self.sources),
            "wrong": int(self.wrong.sum()),
            "symbols": int(self.symbols.sum()),
            "symbol_errors": int(self.errors.sum()),
            "wrong_interval": _rounded(wrong_interval),
            "symbol_interval": _rounded(symbol_interval),
            "calibration_error": round(self.calibration_error, 6),
            "reliability": tuple((count, round(mean, 6), round(right, 6)) for count, mean, right in self.reliability()),
        }

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: how far confidence and accuracy are apart, in the mean over the answers."""
        return sum(count * abs(mean - right) for count, mean, right in self.reliability()) / len(self.wrong)


def interval(wrong: npt.NDArray[Any], of: npt.NDArray[Any]) -> tuple[float, float]:
    """The 95% interval of the share that is wrong, by a bootstrap over n sources: wrong (n,), of (n,).

    Where nothing is wrong, or all is, a bootstrap says nothing. Then a bound is a rate that would show itself in 19 of
    20 such runs.
    """
    rng = np.random.default_rng(SEED)
    n = len(wrong)
    hidden = 1 - (1 - INTERVAL) ** (1 / n)
    if not wrong.any():
        return 0.0, hidden
    if (wrong == of).all():
        return 1 - hidden, 1.0
    drawn = (rng.integers(0, n, n) for _ in range(RESAMPLES))
    low, high = np.quantile(
        [wrong[places].sum() / of[places].sum() for places in drawn], [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2]
    )
    return float(low), float(high)


def score(problem: Pairs, network: Network, targets: Mapping[Text, Sequence[Text]], batch: int = BATCH) -> Score:
    """Ask a network for every source."""
    sources = list(targets)
    answers: list[Text] = [()] * len(sources)
    confidence = np.zeros(len(sources))
    order = sorted(range(len(sources)), key=lambda place: len(sources[place]))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        decoded = network.greedy(problem.encode([sources[place] for place in places]))
        confidence[places] = decoded.confidence
        for place, written in zip(places, problem.decode(decoded.ids), strict=True):
            answers[place] = tuple(map(str, written))
    nearest = [
        (0, -len(answer))
        if answer in targets[source]
        else min((distance(answer, target), -len(target)) for target in targets[source])
        for source, answer in zip(sources, answers, strict=True)
    ]
    return Score(
        problem,
        targets,
        sources,
        answers,
        np.array([answer not in targets[source] for source, answer in zip(sources, answers, strict=True)]),
        np.array([errors for errors, _ in nearest], dtype=np.float64),
        np.array([-length for _, length in nearest], dtype=np.float64),
        confidence,
    )


def agreement(problem: Pairs, one: Network, other: Network, sources: Iterable[Text]) -> Agreement:
    """How two networks of the same weights agree over these sources."""
    found = Agreement()
    ordered = sorted(sources, key=len)
    for start in range(0, len(ordered), BATCH):
        ids = problem.encode(ordered[start : start + BATCH])
        listed.compare(found, one.greedy(ids), other.greedy(ids))
    return found


def _rounded(interval: tuple[float, float]) -> tuple[float, float]:
    return round(interval[0], 6), round(interval[1], 6)


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The fewest tokens to insert, delete or replace (Levenshtein, 1966)."""
    if one == other:
        return 0
    row = list(range(len(other) + 1))
    for place, token in enumerate(one, 1):
        above, row[0] = row[0], place
        for column, target in enumerate(other, 1):
            above, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, above + (token != target))
    return row[-1]


def temperature(
    batches: Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]], wrong: npt.NDArray[np.bool_]
) -> float:
    """The temperature at which confidence fits best to what is right, by the likelihood of right and wrong answers.

    batches  logits (n, T, V) along the answers that were written, and their ids (n, T), padding 0 after their end
    wrong    whether each answer of all batches is wrong

    Answers that are all right would be fitted best by boundless confidence. So the truth is drawn a little towards the
    middle, the more the fewer answers there are (Platt, 1999).
    """
    sure = np.concatenate([_log_confidence(logits, ids) for logits, ids in batches], axis=1)  # (C, n)
    sure = np.minimum(sure, -1e-9)
    right = np.where(wrong, 1 / (wrong.sum() + 2), ((~wrong).sum() + 1) / ((~wrong).sum() + 2))
    costs = -(right * sure + (1 - right) * np.log(-np.expm1(sure))).mean(axis=1)  # (C,)
    return float(CANDIDATES[costs.argmin()])


def _log_confidence(logits: npt.NDArray[np.float32], ids: npt.NDArray[np.int32]) -> Floats:
    """The logarithm of each answer's confidence (n,) at each of C temperatures (C, n)."""
    is_real = ids != 0
    rows = logits[is_real].astype(np.float64)  # (m, V), without padding
    rows -= rows.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(rows, ids[is_real][:, None], axis=-1)[:, 0]  # (m,)
    answers = np.nonzero(is_real)[0]  # of which answer each row is a symbol
    found = np.empty((len(CANDIDATES), len(ids)))
    for place, value in enumerate(CANDIDATES):
        symbols = chosen / value - np.log(np.exp(rows / value).sum(axis=-1))
        found[place] = np.bincount(answers, weights=symbols, minlength=len(ids))
    return found
