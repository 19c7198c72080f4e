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
ATTENDING: tuple[Family, ...] = ("hard_attention", "attention")
"""Families whose decoder weighs the source's symbols at each step."""
CANDIDATES = 5
"""How many of the likeliest symbols a trace keeps at each place."""
States = Sequence[npt.NDArray[Any]]
Encode = Callable[[IdArray], States]
Decode = Callable[[States], FloatArray]
Step = Callable[[IdArray, States], tuple[FloatArray, States]]
Compute = Callable[[Sequence[IdArray | FloatArray]], Sequence[Any]]
"""One file of a bundle as a function from arrays to arrays; None for an output that an older file does not have."""


class Search(Protocol):
    """Source ids (B, S), and a width → the likeliest answers, best first (B, width, T), and their probabilities.

    Every answer begins with the ids of `prefix`.
    """

    def __call__(self, sources: IdArray, width: int, prefix: Sequence[int] = ()) -> tuple[IdArray, FloatArray]: ...


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


class TracedStep(NamedTuple):
    """What a network computed on the way to one symbol.

    symbol       the id that was written, and `probability` how likely it was
    candidates   ids of the likeliest symbols, best first, each with how likely it was
    attention    the weight of each source symbol (S,); None in families that do not attend
    state        what the decoder's last layer gave (D,)
    """

    symbol: int
    probability: float
    candidates: list[tuple[int, float]]
    attention: FloatArray | None
    state: FloatArray


class Trace(NamedTuple):
    """A step for each symbol of an answer, its end too; and what the encoder's last layer gave at each place (S, H)."""

    steps: list[TracedStep]
    encoder_states: FloatArray


@dataclass(frozen=True)
class Tracer:
    """Shows what an encoder and a decoder compute on the way to an answer. See `wire` for what they take and give."""

    family: Family
    encoder: Compute
    decoder: Compute
    length: int
    start: int

    def embed(self, sources: IdArray) -> FloatArray:
        """Source ids (B, S) → the states that the encoder hands to the decoder, side by side (B, N)."""
        _, *states = self.encoder([sources])
        return np.concatenate(states, axis=1)

    def trace(self, source: IdArray, prefix: Sequence[int] = ()) -> Trace | None:
        """Source ids (1, S), and the ids with which the answer begins → what led to it; the rest is decoded greedily.

        None where the bundle was exported before its graphs gave all that.
        """
        outputs, *states = self.encoder([source])
        if outputs is None:
            return None
        steps: list[TracedStep] = []

        def take(probabilities: FloatArray, attention: FloatArray | None, state: FloatArray) -> None:
            best = np.argsort(-probabilities, kind="stable")[:CANDIDATES].tolist()
            symbol = prefix[len(steps)] if len(steps) < len(prefix) else best[0]
            likely = [(each, float(probabilities[each])) for each in best]
            steps.append(TracedStep(symbol, float(probabilities[symbol]), likely, attention, state))

        if self.family == "repeat_vector":
            probabilities, decoded = self.decoder(states)
            if decoded is None:
                return None
            for each, state in zip(probabilities[0], decoded[0], strict=True):
                take(each, None, state)
            return Trace(steps, outputs[0])
        kept, symbol = [source, outputs] if self.family in VARYING else [], self.start
        while len(steps) < self.length and not (self.family in VARYING and symbol == END_ID):
            probabilities, *found = self.decoder([np.array([[symbol]], dtype=np.int32), *kept, *states])
            attention, *states = found if self.family in ATTENDING else (None, *found)
            if self.family in ATTENDING and attention is None:
                return None
            take(probabilities[0], None if attention is None else attention[0], states[-2][0])  # h; c comes after it
            symbol = steps[-1].symbol
        return Trace(steps, outputs[0])


@dataclass(frozen=True)
class RepeatVector:
    """A network whose decoder writes the whole answer in one pass."""

    encode: Encode
    decode: Decode
    tracer: Tracer | None = None

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
    tracer: Tracer | None = None

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

    def beam(self, sources: IdArray, width: int, prefix: Sequence[int] = ()) -> tuple[IdArray, FloatArray]:
        """Source ids (B, S) → the likeliest answers that a beam finds, best first.

        Their ids are (B, width, T), and the probabilities of the whole answers (B, width): 0 where there is no answer.
        A beam keeps the `width` likeliest beginnings at each step (Graves, 2012; Sutskever et al., 2014). Answers begin
        with the ids of `prefix`, which count as certain.
        """
        batch = len(sources)
        states = [np.repeat(state, width, axis=0) for state in self.encode(sources)]  # (B * width, …)
        symbols = np.full((batch, width), self.start, dtype=np.int32)
        ended = np.zeros((batch, width), dtype=bool)
        scores = np.full((batch, width), -np.inf)
        scores[:, 0] = 0.0
        written = np.zeros((batch, width, 0), dtype=np.int32)
        for place in range(self.length):
            probabilities, following = self.step(symbols.reshape(-1), states)
            if place < len(prefix):
                probabilities = np.zeros_like(probabilities)
                probabilities[:, prefix[place]] = 1.0
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


def wire(problem: Problem, family: Family, encoder: Compute, decoder: Compute) -> RepeatVector | Autoregressive:
    """An encoder and a decoder as a network, whoever computes them.

    repeat vector     encoder: [ids (B, S)] → [outputs (B, S, H), state (B, H)]
                      decoder: [state] → [probabilities (B, T, V), outputs (B, T, D)]
    autoregressive    encoder: [ids (B, S)] → [outputs (B, S, H), *states]
                      decoder: [symbols (B, 1), *states] → [probabilities (B, V), *states]
    varying           encoder: [ids (B, S)] → [memory, *states]
                      decoder: [symbols (B, 1), ids, memory, *states] → [probabilities (B, V), *states]
                      where it attends, the attention (B, S) comes after the probabilities
    """
    start, length = problem.target_vocabulary.padding_id, problem.target_length
    tracer = Tracer(family, encoder, decoder, length, start)

    def encode(sources: IdArray) -> States:
        return encoder([sources])[1:]

    if family == "repeat_vector":
        return RepeatVector(encode, lambda states: decoder(states)[0], tracer)

    def step(previous: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, *following = decoder([previous[:, None], *states])
        return probabilities, following

    def step_with_memory(previous: IdArray, states: States) -> tuple[FloatArray, States]:
        probabilities, following = step(previous, states)
        return probabilities, [*states[:2], *following[family in ATTENDING :]]

    if family in VARYING:
        return Autoregressive(
            lambda sources: [sources, *encoder([sources])], step_with_memory, length, start, END_ID, tracer
        )
    return Autoregressive(encode, step, length, start, tracer=tracer)


def _choose(probabilities: FloatArray) -> Decoded:
    """Probabilities (…, V) → the likeliest ids (…) and how likely each is (…)."""
    ids = probabilities.argmax(axis=-1)
    best = np.take_along_axis(probabilities, ids[..., None], axis=-1)[..., 0]
    return Decoded(ids.astype(np.int32), best)
