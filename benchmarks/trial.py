"""One training run in a process of its own: `python -m benchmarks.trial given|ours|sustained|peak sums|lists SEED`.

Prints a line of JSON. Imports are timed separately. Trying the trained network is not timed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import asdict, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from seq2seq.decoding import Compute

Problem = Literal["sums", "lists"]
RECIPES: dict[str, str] = {"sums": "addition-three-terms", "lists": "reversal-six-three"}
SUSTAINED_BATCH = 1_024
SUSTAINED_STEPS = 50
SUSTAINED_EPOCHS = 9
"""The first one compiles, and does not count."""
PEAK_REPEATS = 200


def given(problem: str, seed: int) -> dict[str, Any]:
    """The tutorial's recipe."""
    from benchmarks import recipes_as_given

    recipe = {"sums": recipes_as_given.sums, "lists": recipes_as_given.lists}[problem]
    return asdict(recipe(seed))


def ours(problem: str, seed: int) -> dict[str, Any]:
    """Our recipe: same network, no more samples."""
    from seq2seq.decoding import wire
    from seq2seq.proving import running
    from training import fitting
    from training.recipes import RECIPES as ALL

    recipe = replace(ALL[RECIPES[problem]], seed=seed)
    started = time.perf_counter()
    fitted = fitting.fit(recipe)
    seconds = time.perf_counter() - started

    models, task = fitted.models, recipe.problem
    network = wire(task, recipe.family, _compute(models.encoder), _compute(models.decoder))
    import numpy as np

    every = task.distinct(np.random.default_rng(seed), 4_096)
    result = running.run(task, network, every, hold_out=False)
    return {"seconds": seconds, "samples": fitted.samples, "wrong": result.wrong, "of": result.checked}


def _compute(model: Any) -> Compute:
    return lambda arrays: model.predict_on_batch(arrays if len(arrays) > 1 else arrays[0])


def sustained(problem: str, seed: int) -> dict[str, Any]:
    """Our examples a second in a long run: in large batches, once all is compiled."""
    import keras

    from training import fitting
    from training.recipes import RECIPES as ALL

    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    samples = SUSTAINED_EPOCHS * SUSTAINED_STEPS * SUSTAINED_BATCH
    recipe = replace(
        ALL[RECIPES[problem]],
        seed=seed,
        batch_size=SUSTAINED_BATCH,
        samples=samples,
        epochs=SUSTAINED_EPOCHS,
    )
    fitting.fit(recipe, callbacks=[clock])
    seconds = median(later - earlier for earlier, later in pairwise(ends))
    return {"examples_per_second": SUSTAINED_STEPS * SUSTAINED_BATCH / seconds, "batch_size": SUSTAINED_BATCH}


def peak(problem: str, seed: int) -> dict[str, Any]:
    """What NumPy's matrix product reaches on all cores: GFLOPS for large factors, and for one of the network's own."""
    import numpy as np

    from benchmarks.networks import LISTS, SUMS

    rng = np.random.default_rng(seed)
    units = {"sums": SUMS, "lists": LISTS}[problem].encoder

    def gflops(rows: int, inner: int, columns: int) -> float:
        a, b = (rng.random(shape, dtype=np.float32) for shape in ((rows, inner), (inner, columns)))
        ends = [time.perf_counter()]
        while len(ends) < PEAK_REPEATS:
            a @ b
            ends.append(time.perf_counter())
        return 2e-9 * rows * inner * columns / median(later - earlier for earlier, later in pairwise(ends))

    return {"gflops": gflops(2_048, 2_048, 2_048), "gflops_of_its_size": gflops(SUSTAINED_BATCH, units, 4 * units)}


def main(arguments: list[str]) -> int:
    """Do the run that the arguments name, and print its result."""
    kind, problem, seed = arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    started = time.perf_counter()
    import training.fitting  # noqa: F401  so that Keras and TensorFlow are there before any clock runs

    imported = time.perf_counter() - started
    outcome = {"given": given, "ours": ours, "sustained": sustained, "peak": peak}[kind](problem, int(seed))
    sys.stdout.write(json.dumps({"import_seconds": round(imported, 2), **outcome}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
