"""Greedy decoding and beam search: the loops that training's evaluation and the service both use.

Knows nothing of who computes: a network is two callables, so Keras, ONNX Runtime and a test's fake fit alike.

    repeat vector     encode: source ids (B, S) → (context (B, H),)        decode: states → probabilities (B, T, V)
    autoregressive    encode: source ids (B, S) → (h, c, h, c, …) (B, H)   step: symbol ids (B,), states
                                                                             → probabilities (B, V), states
    varying           the same; its states begin with the source ids (B, S) and the memory (B, S, 2H), which stay
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from seq2seq.problem import END_ID, Problem
from seq2seq.vocabulary import FloatArray, IdArray

Family = Literal["repeat_vector", "autoregressive", "hard_attention", "attention", "plain"]
VARYING: tuple[Family, ...] = ("hard_attention", "attention", "plain")
"""Families that read and write any length. An end of its own ends each sequence."""
States = Sequence[npt.NDArray[Any]]
Encode = Callable[[IdArray], States]
Decode = Callable[[States], FloatArray]
Step = Callable[[IdArray, States], tuple[FloatArray, States]]
Compute = Callable[[Sequence[IdArray | FloatArray]], Sequence[FloatArray]]
"""One file of a bundle as a function from arrays to arrays."""
Search = Callable[[IdArray, int], tuple[IdArray, FloatArray]]
"""Source ids (B, S), and a width → the likeliest answers, best first (B, width, T), and their probabilities."""


class Decoded(NamedTuple):
    """A batch's answers: ids (B, T), and the probability of each symbol chosen (B, T)."""

    ids: IdArray
    probabilities: FloatArray

    @property
    def confidence(self) -> list[float]:
        """For each of B answers the product of the probabilities of the symbols chosen."""
        return [math.prod(row) for row in self.probabilities.tolist()]


class Network(Protocol):
    """Anything that decodes greedily: source ids (B, S) → the ids it writes (B, T)."""

    def greedy(self, sources: IdArray) -> Decoded: ...


@dataclass(frozen=True)
class RepeatVector:
    """A network whose decoder writes the whole answer in one pass."""

    encode: Encode
    decode: Decode

    def greedy(self, sources: IdArray) -> Decoded:
        """Source ids (B, S) → the likeliest symbol at each of T places."""
        return _choose(self.decode(self.encode(sources)))


@dataclass(frozen=True)
class Autoregressive:
    """A network whose decoder is stepped up to `length` times with the symbol that it last chose, first with `start`.

    `end` is the symbol that ends an answer, if there is one; `start` fills what is left of it.
    """

    encode: Encode
    step: Step
    length: int
    start: int
    end: int | None = None

    def greedy(self, sources: IdArray) -> Decoded:
        """Source ids (B, S) → the likeliest symbol at each place, given those before it."""
        states = self.encode(sources)
        symbols = np.full(len(sources), self.start, dtype=np.int32)  # (B,)
        ended = np.zeros(len(sources), dtype=bool)
        chosen = []
        for _ in range(self.length):
            probabilities, states = self.step(symbols, states)  # (B, V)
            ids, best = _choose(probabilities)
            chosen.append(Decoded(np.where(ended, self.start, ids), np.where(ended, np.float32(1), best)))
            symbols = chosen[-1].ids
            ended |= symbols == self.end
            if ended.all():
                break
        return Decoded(
            np.stack([each.ids for each in chosen], axis=1),
            np.stack([each.probabilities for each in chosen], axis=1),
        )

    def beam(self, sources: IdArray, width: int) -> tuple[IdArray, FloatArray]:
        """Source ids (B, S) → the likeliest answers that a beam finds, best first.

        Their ids are (B, width, T), and the probabilities of the whole answers (B, width): 0 where there is no answer.
        A beam keeps the `width` likeliest beginnings at each step (Graves, 2012; Sutskever et al., 2014).
        """
        batch = len(sources)
        states = [np.repeat(state, width, axis=0) for state in self.encode(sources)]  # (B * width, …)
        symbols = np.full((batch, width), self.start, dtype=np.int32)
        ended = np.zeros((batch, width), dtype=bool)
        scores = np.full((batch, width), -np.inf)
        scores[:, 0] = 0.0
        written = np.zeros((batch, width, 0), dtype=np.int32)
        for _ in range(self.length):
            probabilities, following = self.step(symbols.reshape(-1), states)
            with np.errstate(divide="ignore"):
                steps = np.log(probabilities, dtype=np.float64).reshape(batch, width, -1)
            steps[ended] = -np.inf
            steps[ended, self.start] = 0.0  # an answer that has ended stays as likely as it is
            total = (scores[..., None] + steps).reshape(batch, -1)  # (B, width * V)
            best = np.argsort(-total, axis=1, kind="stable")[:, :width]
            parents, symbols = np.divmod(best, steps.shape[-1])
            scores = np.take_along_axis(total, best, axis=1)
            rows = (parents + np.arange(batch)[:, None] * width).reshape(-1)
            states = [np.asarray(state)[rows] for state in following]
            symbols = symbols.astype(np.int32)
            written = np.concatenate(
                [np.take_along_axis(written, parents[..., None], axis=1), symbols[..., None]], axis=2
            )
            ended = np.take_along_axis(ended, parents, axis=1) | (symbols == self.end)
            if ended[np.isfinite(scores)].all():
                break
        return written, np.exp(scores).astype(np.float32)


def wire(problem: Problem, family: Family, encoder: Compute, decoder: Compute) -> Network:
    """An encoder and a decoder as a network, whoever computes them.

    repeat vector     encoder: [ids (B, S)] → states    decoder: states → [probabilities (B, T, V)]
    autoregressive    encoder: [ids (B, S)] → states    decoder: [symbols (B, 1), *states] → [probabilities (B, V),
                                                                                              *states]
    varying           encoder: [ids (B, S)] → [memory, *states]
                      decoder: [symbols (B, 1), ids, memory, *states] → [probabilities (B, V), *states]
    """

    def encode(sources: IdArray) -> States:
        return encoder([sources])

    if family == "repeat_vector":
        return RepeatVector(encode, lambda states: decoder(states)[0])

    def step(previous: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, *following = decoder([previous[:, None], *states])
        return probabilities, following

    def step_with_memory(previous: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, following = step(previous, states)
        return probabilities, [*states[:2], *following]

    start = problem.target_vocabulary.padding_id
    if family in VARYING:
        return Autoregressive(
            lambda sources: [sources, *encode(sources)], step_with_memory, problem.target_length, start, END_ID
        )
    return Autoregressive(encode, step, problem.target_length, start)


def _choose(probabilities: FloatArray) -> Decoded:
    """Probabilities (…, V) → the likeliest ids (…) and how likely each is (…)."""
    ids = probabilities.argmax(axis=-1)
    best = np.take_along_axis(probabilities, ids[..., None], axis=-1)[..., 0]
    return Decoded(ids.astype(np.int32), best)
