"""Greedy decoding: the one loop that training's evaluation and the service both use.

Knows nothing of who computes: a network is two callables, so Keras, ONNX Runtime and a test's fake fit alike.

    repeat vector     encode: source ids (B, S) → (context (B, H),)        decode: states → probabilities (B, T, V)
    autoregressive    encode: source ids (B, S) → (h, c, h, c, …) (B, H)   step: symbol ids (B,), states
                                                                             → probabilities (B, V), states
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from seq2seq.problem import Problem
from seq2seq.vocabulary import FloatArray, IdArray

Family = Literal["repeat_vector", "autoregressive"]
States = Sequence[FloatArray]
Encode = Callable[[IdArray], States]
Decode = Callable[[States], FloatArray]
Step = Callable[[IdArray, States], tuple[FloatArray, States]]
Compute = Callable[[Sequence[IdArray | FloatArray]], Sequence[FloatArray]]
"""One file of a bundle as a function from arrays to arrays."""


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
    """A network whose decoder is stepped `length` times with the symbol that it last chose, first with `start`."""

    encode: Encode
    step: Step
    length: int
    start: int

    def greedy(self, sources: IdArray) -> Decoded:
        """Source ids (B, S) → the likeliest symbol at each of T places, given those before it."""
        states = self.encode(sources)
        symbols = np.full(len(sources), self.start, dtype=np.int32)  # (B,)
        chosen = []
        for _ in range(self.length):
            probabilities, states = self.step(symbols, states)  # (B, V)
            chosen.append(_choose(probabilities))
            symbols = chosen[-1].ids
        return Decoded(
            np.stack([each.ids for each in chosen], axis=1),
            np.stack([each.probabilities for each in chosen], axis=1),
        )


def wire(problem: Problem, family: Family, encoder: Compute, decoder: Compute) -> Network:
    """An encoder and a decoder as a network, whoever computes them.

    repeat vector     encoder: [ids (B, S)] → states    decoder: states → [probabilities (B, T, V)]
    autoregressive    encoder: [ids (B, S)] → states    decoder: [symbols (B, 1), *states] → [probabilities (B, V),
                                                                                              *states]
    """

    def encode(sources: IdArray) -> States:
        return encoder([sources])

    if family == "repeat_vector":
        return RepeatVector(encode, lambda states: decoder(states)[0])

    def step(previous: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, *following = decoder([previous[:, None], *states])
        return probabilities, following

    return Autoregressive(encode, step, problem.target_length, problem.target_vocabulary.padding_id)


def _choose(probabilities: FloatArray) -> Decoded:
    """Probabilities (…, V) → the likeliest ids (…) and how likely each is (…)."""
    ids = probabilities.argmax(axis=-1)
    best = np.take_along_axis(probabilities, ids[..., None], axis=-1)[..., 0]
    return Decoded(ids.astype(np.int32), best)
