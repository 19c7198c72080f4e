"""The tutorials' recipes as given (S1: sums of three terms, S2: reversed heads of lists), in code of our own.

Data is made in Python, sample by sample, as one-hot arrays. Plain Keras, batches of 32, Adam with its default constant
rate, one epoch. Knows nothing of how this project trains.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

BATCH = 32
SETTLED = 200
"""Batches before the rate of examples a second is measured."""

TERMS, LARGEST = 3, 10
ALPHABET = "0123456789+ "
SUM_SAMPLES, SUM_UNITS = 75_000, (75, 50)

LIST_LENGTH, TAKEN, CARDINALITY = 6, 3, 50
LIST_SAMPLES, LIST_UNITS = 100_000, 128


@dataclass(frozen=True)
class Outcome:
    """A finished run: seconds for data and fit, examples a second once settled, and the number of wrong answers."""

    seconds: float
    data_seconds: float
    examples_per_second: float
    samples: int
    wrong: int
    of: int


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes when each batch ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.ends.append(time.perf_counter())

    @property
    def examples_per_second(self) -> float:
        settled = self.ends[SETTLED:]
        return (len(settled) - 1) * BATCH / (settled[-1] - settled[0])


# S1 -------------------------------------------------------------------------------------------------------

SOURCE_LENGTH = TERMS * math.ceil(math.log10(LARGEST + 1)) + TERMS - 1
TARGET_LENGTH = math.ceil(math.log10(TERMS * (LARGEST + 1)))


def random_sums(count: int) -> tuple[list[list[int]], list[int]]:
    terms = [[random.randint(1, LARGEST) for _ in range(TERMS)] for _ in range(count)]  # noqa: S311
    return terms, [sum(each) for each in terms]


def as_text(terms: Sequence[Sequence[int]], sums: Sequence[int]) -> tuple[list[str], list[str]]:
    sources = ["+".join(str(term) for term in each).rjust(SOURCE_LENGTH) for each in terms]
    return sources, [str(each).rjust(TARGET_LENGTH) for each in sums]


def as_one_hot(texts: Sequence[str]) -> Array:
    ids = {symbol: place for place, symbol in enumerate(ALPHABET)}
    rows = []
    for text in texts:
        row = []
        for symbol in text:
            vector = [0 for _ in range(len(ALPHABET))]
            vector[ids[symbol]] = 1
            row.append(vector)
        rows.append(row)
    return np.array(rows, dtype=np.float32)


def sum_model() -> keras.Model:
    """One model that writes the whole sum at once, compiled."""
    model = keras.Sequential([
        keras.Input((SOURCE_LENGTH, len(ALPHABET))),
        keras.layers.LSTM(SUM_UNITS[0]),
        keras.layers.RepeatVector(TARGET_LENGTH),
        keras.layers.LSTM(SUM_UNITS[1], return_sequences=True),
        keras.layers.TimeDistributed(keras.layers.Dense(len(ALPHABET), activation="softmax")),
    ])  # fmt: skip
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def sums(seed: int) -> Outcome:
    """Train on sums of three terms, and try all 1,000 of them."""
    keras.utils.set_random_seed(seed)
    started = time.perf_counter()
    texts = as_text(*random_sums(SUM_SAMPLES))
    x, y = (as_one_hot(each) for each in texts)
    data_ready = time.perf_counter()
    model = sum_model()
    clock = Clock()
    model.fit(x, y, epochs=1, batch_size=BATCH, verbose=0, callbacks=[clock])
    seconds = time.perf_counter() - started

    numbers = range(1, LARGEST + 1)
    every = [[a, b, c] for a in numbers for b in numbers for c in numbers]
    x, y = (as_one_hot(each) for each in as_text(every, [sum(each) for each in every]))
    wrong = (model.predict(x, verbose=0).argmax(-1) != y.argmax(-1)).any(axis=1)
    return Outcome(seconds, data_ready - started, clock.examples_per_second, SUM_SAMPLES, int(wrong.sum()), len(every))


# S2 -------------------------------------------------------------------------------------------------------

SYMBOLS = CARDINALITY + 1


def random_lists(count: int) -> tuple[Array, Array, Array]:
    """Sources, targets shifted right behind a 0, and targets, one-hot."""
    sources, shifted, targets = [], [], []
    for _ in range(count):
        source = [random.randint(1, CARDINALITY) for _ in range(LIST_LENGTH)]  # noqa: S311
        target = source[:TAKEN]
        target.reverse()
        sources.append(keras.utils.to_categorical(source, num_classes=SYMBOLS))
        shifted.append(keras.utils.to_categorical([0, *target[:-1]], num_classes=SYMBOLS))
        targets.append(keras.utils.to_categorical(target, num_classes=SYMBOLS))
    x, before, y = (np.array(each, dtype=np.float32) for each in (sources, shifted, targets))
    return x, before, y


def list_models() -> tuple[keras.Model, keras.Model, keras.Model]:
    """The training model, and the encoder and decoder that share its layers."""
    source = keras.Input((None, SYMBOLS))
    _, h, c = keras.layers.LSTM(LIST_UNITS, return_state=True)(source)
    shifted = keras.Input((None, SYMBOLS))
    lstm = keras.layers.LSTM(LIST_UNITS, return_sequences=True, return_state=True)
    dense = keras.layers.Dense(SYMBOLS, activation="softmax")
    outputs, _, _ = lstm(shifted, initial_state=[h, c])
    training = keras.Model([source, shifted], dense(outputs))
    encoder = keras.Model(source, [h, c])
    states = [keras.Input((LIST_UNITS,)), keras.Input((LIST_UNITS,))]
    stepped, *following = lstm(shifted, initial_state=states)
    decoder = keras.Model([shifted, *states], [dense(stepped), *following])
    return training, encoder, decoder


def lists(seed: int) -> Outcome:
    """Train on lists, and try all 125,000 leading triples, each with a random tail.

    Answers are decoded as they should be, each step fed the one-hot symbol chosen: as given, more come out wrong.
    """
    keras.utils.set_random_seed(seed)
    started = time.perf_counter()
    x, before, y = random_lists(LIST_SAMPLES)
    data_ready = time.perf_counter()
    training, encoder, decoder = list_models()
    training.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    clock = Clock()
    training.fit([x, before], y, epochs=1, batch_size=BATCH, verbose=0, callbacks=[clock])
    seconds = time.perf_counter() - started

    numbers = np.arange(CARDINALITY**TAKEN)
    heads = np.stack(np.unravel_index(numbers, (CARDINALITY,) * TAKEN), axis=1) + 1
    tails = np.random.default_rng(seed).integers(1, SYMBOLS, size=(len(heads), LIST_LENGTH - TAKEN))
    one_hot = np.eye(SYMBOLS, dtype=np.float32)
    wrong = 0
    for start in range(0, len(heads), 5_000):
        head, tail = heads[start : start + 5_000], tails[start : start + 5_000]
        states = encoder.predict_on_batch(one_hot[np.concatenate([head, tail], axis=1)])
        symbol = np.zeros(len(head), dtype=np.int64)
        written = []
        for _ in range(TAKEN):
            probabilities, *states = decoder.predict_on_batch([one_hot[symbol[:, None]], *states])
            symbol = probabilities[:, 0].argmax(-1)
            written.append(symbol)
        wrong += int((np.stack(written, axis=1) != head[:, ::-1]).any(axis=1).sum())
    return Outcome(seconds, data_ready - started, clock.examples_per_second, LIST_SAMPLES, wrong, len(heads))
