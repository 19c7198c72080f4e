"""A model of texts, written by hand: it writes what it reads in capitals, is not quite sure, and can search.

Of each letter it is sure with 0.9; the other two letters share the rest.
"""

from __future__ import annotations

from dataclasses import replace

import fakes
import numpy as np

from app.serving.models import Model
from seq2seq.bundle import Golden, Manifest, NetworkSpec
from seq2seq.decoding import Autoregressive, States
from seq2seq.evidence import ErrorRates
from seq2seq.problem import END_ID
from seq2seq.problems.pairs import Pairs
from seq2seq.vocabulary import FloatArray, IdArray

PROBLEM = Pairs("chars", "words", tuple("abc"), tuple("ABC"), 4, 4)
FIRST_LETTER, LETTERS = END_ID + 1, 3
RATES = ErrorRates(20, 5, 100, 7, (0.1, 0.5), (0.03, 0.15), 1.1, 0.02, 0.05, (), (1, 7, 64), "", "", "by hand")


def _encode(sources: IdArray) -> States:
    return [sources, np.zeros(len(sources), dtype=np.int32)]  # (B, S), and which place is next (B,)


def _step(_: IdArray, states: States) -> tuple[FloatArray, States]:
    sources, places = states
    ids = np.take_along_axis(sources, np.minimum(places, sources.shape[1] - 1)[:, None], axis=1)[:, 0]  # (B,)
    probabilities = np.zeros((len(sources), FIRST_LETTER + LETTERS), dtype=np.float32)  # (B, V)
    rows = np.arange(len(sources))
    is_letter = ids >= FIRST_LETTER
    probabilities[rows[is_letter], FIRST_LETTER:] = 0.1 / (LETTERS - 1)
    probabilities[rows, ids] = np.where(is_letter, 0.9, 1.0)
    return probabilities, [sources, places + 1]


NETWORK = Autoregressive(_encode, _step, PROBLEM.target_length, 0, END_ID)


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
