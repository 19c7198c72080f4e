"""Trains our network for some seconds: `-m benchmarks.fitting_trial "ours|ours, bfloat16|Keras" BATCHES SECONDS`.

Prints the words a second. What compiles does not count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

WARM_UP = 10
LETTERS, PHONEMES = 26, 39


def main(name: str, path: str, seconds: float) -> float:
    """Words a second."""
    from training import environment

    environment.load_keras()
    if name != "Keras":
        environment.one_thread_an_operation()
    from seq2seq.problems.pairs import Pairs
    from training.pairs import fitting, networks, teacher_forcing
    from training.pairs.recipes import PairsRecipe

    problem = Pairs(
        "chars",
        "words",
        tuple(map(chr, range(97, 97 + LETTERS))),
        tuple(f"P{number:02}" for number in range(PHONEMES)),
        100,
        100,
    )
    recipe = PairsRecipe("x", problem, precision="bfloat16" if "bfloat16" in name else "float32")
    layers = networks.Layers(problem, recipe.spec, dropout=recipe.dropout)
    if name == "Keras":
        environment.CORES = 1  # all cores share each product, as by default
        keras_model = layers.training

        def logits(_layers: Any, source: Any, shifted: Any, _precision: str) -> Any:
            return keras_model([source, shifted], training=True)

        teacher_forcing.logits = logits  # type: ignore[assignment]
    optimizer = fitting.made_optimizer(recipe, 10_000)
    optimizer.build(layers.training.trainable_variables)
    step = fitting.step(recipe, layers, optimizer)
    held = np.load(path)
    batches = [(held[f"source_{place}"], held[f"target_{place}"]) for place in range(len(held.files) // 2)]

    def train(source: Any, target: Any) -> None:
        step(source, np.pad(target[:, :-1], ((0, 0), (1, 0))), target).numpy()

    return words_per_second(train, batches, seconds)


def words_per_second(train: Callable[[Any, Any], None], batches: list[tuple[Any, Any]], seconds: float) -> float:
    """How many rows of batches are trained on in a second, after some that do not count."""
    for batch in batches[:WARM_UP]:
        train(*batch)
    words, place, started = 0, 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        source, target = batches[place % len(batches)]
        train(source, target)
        words, place = words + len(source), place + 1
    return words / passed


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], sys.argv[2], float(sys.argv[3]))}\n")
