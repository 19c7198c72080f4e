"""Hard examples: those that a half-trained network gets wrong, or right by the least, of all it may be trained on.

A large problem has kinds of request that random draws hardly ever meet. So the network goes through all of it, which
takes as long as one or two of the epochs of `addition`. What it finds is trained on more often (Shrivastava et al.,
2016).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from seq2seq.problem import Pair
from seq2seq.proving import running
from seq2seq.proving.bounds import Progress
from seq2seq.vocabulary import IdArray
from training import data
from training.recipes import Recipe

KEPT, SHARE = 100_000, 0.1
"""How many are found at once: so many, or that share of the distinct problems if these are few."""
BATCH = 16_384


def hardest(recipe: Recipe, training: keras.Model, progress: Progress) -> IdArray:
    """The sources (n, S) with the least margins, of all distinct ones that the recipe may train on.

    `training` gives logits under teacher forcing. See `running.margins`: where the answer is wrong, its margin is
    negative.
    """
    problem = recipe.problem
    wanted = min(KEPT, math.ceil(SHARE * problem.distinct_size))
    logits = tf.function(partial(training, training=False), jit_compile=recipe.xla)  # inputs → (B, T, V)

    def pairs() -> Iterator[Pair]:
        done = 0
        for listed in problem.distinct(np.random.default_rng(recipe.seed), data.CHUNK):
            done += len(listed)
            progress("problems", done, problem.distinct_size)
            sources = data.trainable(recipe, listed)
            yield sources, problem.answer(sources)

    found = np.zeros((0, problem.source_length), dtype=np.int32)
    found_margins: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
    for sources, targets in data.batched(BATCH, pairs()):
        shown = logits(data.inputs(problem, recipe.family, sources, targets)).numpy()
        more = running.margins(shown, targets).astype(np.float32)
        found, found_margins = np.concatenate([found, sources]), np.concatenate([found_margins, more])
        if len(found) >= 4 * wanted:
            kept = np.argpartition(found_margins, wanted)[:wanted]
            found, found_margins = found[kept], found_margins[kept]
    return found[np.argsort(found_margins, kind="stable")[:wanted]]
