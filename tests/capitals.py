"""A model of texts, written by hand: it writes what it reads in capitals, is not quite sure, and can search.

Of each letter it is sure with 0.9; the other two letters share the rest. It attends to the place that it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import fakes
import numpy as np

from app.serving.models import Model
from seq2seq.bundle import Golden, Manifest, NetworkSpec
from seq2seq.decoding import Autoregressive, wire
from seq2seq.evidence import ErrorRates
from seq2seq.problem import END_ID
from seq2seq.problems.pairs import Pairs
from seq2seq.vocabulary import FloatArray

PROBLEM = Pairs("chars", "words", tuple("abc"), tuple("ABC"), 4, 4)
FIRST_LETTER, LETTERS = END_ID + 1, 3
RATES = ErrorRates(20, 5, 100, 7, (0.1, 0.5), (0.03, 0.15), 1.1, 0.02, 0.05, (), (1, 7, 64), "", "", "by hand")


def _encoder(arrays: Sequence[Any]) -> list[FloatArray]:
    """[source (B, S)] → a memory that holds each id four times, (B, S, 4), and which place is next, twice (B, 2)."""
    (sources,) = arrays
    return [np.repeat(sources[..., None], 4, axis=2).astype(np.float32), *np.zeros((2, len(sources), 2), np.float32)]


def _decoder(arrays: Sequence[Any]) -> list[FloatArray]:
    _, sources, _, h, c = arrays
    places = np.minimum(h[:, 0].astype(int), sources.shape[1] - 1)
    ids = np.take_along_axis(sources, places[:, None], axis=1)[:, 0]  # (B,)
    probabilities = np.zeros((len(sources), FIRST_LETTER + LETTERS), dtype=np.float32)  # (B, V)
    rows = np.arange(len(sources))
    is_letter = ids >= FIRST_LETTER
    probabilities[rows[is_letter], FIRST_LETTER:] = 0.1 / (LETTERS - 1)
    probabilities[rows, ids] = np.where(is_letter, 0.9, 1.0)
    return [probabilities, np.eye(sources.shape[1], dtype=np.float32)[places], h + 1, c + 1]


NETWORK = cast("Autoregressive", wire(PROBLEM, "attention", _encoder, _decoder))


def manifest(version: str = "1") -> Manifest:
    return replace(
        fakes.addition_manifest(version),
        name="capitals",
        problem=PROBLEM,
        network=NetworkSpec("attention", (2,), (2,), 100, embedding_units=3),
        evaluation=RATES,
        golden=(Golden("abc", ["A", "B", "C"], 0.729), Golden("b", ["B"], 0.9)),
    )


def model(version: str = "1", *, is_large: bool = False) -> Model:
    return Model(manifest(version), NETWORK, NETWORK.beam, is_large)
