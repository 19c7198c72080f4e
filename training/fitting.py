"""Fitting: a recipe in, trained models and the history of loss and accuracy out.

Knows nothing of bundles. Accuracy means whole sequences; per symbol is shown beside it. Under teacher forcing the
two notions of a right sequence agree: greedy decoding errs if and only if some arg-max errs given the true prefix.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seq2seq.bundle import NetworkSpec
from seq2seq.problem import Pair
from seq2seq.vocabulary import IdArray
from training import certified, data, environment, hard_examples, networks
from training.loss import cross_entropy
from training.progress import Progress
from training.recipes import Recipe
from training.stopping import Diverged

STEPS_PER_EXECUTION = 50
"""Batches that run as one call of the compiled graph, so that Python stands off the critical path."""
HOPELESS = 3
"""A run has diverged if its loss over an epoch is so many times that of blind guessing."""


@dataclass(frozen=True)
class Fit:
    """A finished run: the models, one entry an epoch for each figure, samples seen and seconds taken.

    `validation_seen` is the share of the validation pairs whose problem was trained on as well.
    """

    models: networks.Models
    spec: NetworkSpec
    history: dict[str, list[float]]
    samples: int
    seconds: float
    validation_seen: float | None = None


def fit(recipe: Recipe, *, verbose: int = 0, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Fit:
    """Train a network as a recipe says. The same recipe and seed on the same machine give the same weights.

    `verbose` is Keras': 0 is silent, 1 a progress bar with the time left, 2 a line an epoch. The weights are those
    after the last step; no figure chooses among them. Raises `Diverged`.
    """
    started = time.perf_counter()
    if not recipe.xla:
        environment.one_thread_an_operation()
    keras.utils.set_random_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    spec = NetworkSpec(recipe.family, recipe.encoder_units, recipe.decoder_units, 0, recipe.reversed_source)
    models = networks.build(recipe.problem, spec, unroll=True)
    training = models.training
    blind = math.log(len(recipe.problem.target_vocabulary)) + recipe.margin  # all logits the same

    def stop_if_hopeless(_: int, logs: dict[str, float]) -> None:
        if logs["loss"] > HOPELESS * blind:
            training.stop_training = True

    watching = [keras.callbacks.TerminateOnNaN(), keras.callbacks.LambdaCallback(on_epoch_end=stop_if_hopeless)]
    callbacks = [*watching, *callbacks]
    if recipe.bound_weight:
        training = certified.Certified(
            models,
            recipe.problem,
            weight=recipe.bound_weight,
            rows=recipe.bound_rows,
            margin=recipe.margin,
            seed=recipe.seed,
        )
        callbacks.append(certified.GrowingBox(recipe.steps))
    training.compile(
        optimizer=_optimizer(recipe),
        loss=partial(cross_entropy, margin=recipe.margin),
        metrics=[exact_sequences, per_symbol],
        jit_compile=recipe.xla,
        steps_per_execution=_largest_divisor(recipe.steps_per_epoch, STEPS_PER_EXECUTION),
    )
    examples, validation = data.fixed_examples(recipe, rng)
    validation_data = None if validation is None else _whole(recipe, validation)
    history: dict[str, list[float]] = defaultdict(list)
    hard: IdArray | None = None
    done = 0
    for until in range(recipe.epochs - recipe.hard_epochs, recipe.epochs + 1):
        if done:
            with closing(Progress("looking for hard examples")) as told:
                found = hard_examples.hardest(recipe, models.training, told if verbose else lambda *_: None)
            hard = found if hard is None else np.unique(np.concatenate([hard, found]), axis=0)
            rng = np.random.default_rng((recipe.seed, done))  # the last one was drawn from ahead of what was trained on
        ran = training.fit(
            _dataset(recipe, data.batches(recipe, rng, examples, hard)),
            initial_epoch=done,
            epochs=until,
            steps_per_epoch=recipe.steps_per_epoch,
            validation_data=validation_data,
            shuffle=False,
            verbose=verbose,
            callbacks=callbacks,
        )
        for name, values in ran.history.items():
            history[name] += map(float, values)
        loss = history["loss"][-1]
        if not math.isfinite(loss):
            raise Diverged
        if loss > HOPELESS * blind:
            raise Diverged(f"the loss has risen to {loss:.3g}, where blind guessing has {blind:.3g}")
        done = until
    return Fit(
        models=models,
        spec=replace(spec, parameters=models.parameters),
        history=dict(history),
        samples=int(training.optimizer.iterations) * recipe.batch_size,
        seconds=time.perf_counter() - started,
        validation_seen=data.share_seen(recipe.problem, examples, validation),
    )


def exact_sequences(targets: Any, logits: Any) -> Any:
    """Targets (B, T), logits (B, T, V) → 1 for each sequence that is right as a whole, else 0 (B,)."""
    return keras.ops.cast(keras.ops.all(_right(targets, logits), axis=-1), "float32")


def per_symbol(targets: Any, logits: Any) -> Any:
    """Targets (B, T), logits (B, T, V) → the share of right symbols in each sequence (B,)."""
    return keras.ops.mean(keras.ops.cast(_right(targets, logits), "float32"), axis=-1)


def _right(targets: Any, logits: Any) -> Any:
    return keras.ops.equal(keras.ops.cast(targets, "int32"), keras.ops.cast(keras.ops.argmax(logits, -1), "int32"))


def _optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """Muon (Jordan et al., 2024) for the recurrent and dense matrices, Adam for the rest; or Adam for all."""
    warm_up = max(1, round(recipe.warm_up * recipe.steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, recipe.steps - warm_up),
        warmup_target=recipe.learning_rate,
        warmup_steps=warm_up,
    )
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(
            rate,
            beta_2=recipe.beta_2,
            weight_decay=recipe.weight_decay or None,
            global_clipnorm=recipe.clip_norm,
        )
    return keras.optimizers.Muon(
        rate,
        adam_beta_2=recipe.beta_2,
        weight_decay=recipe.weight_decay or None,
        adam_weight_decay=None,
        global_clipnorm=recipe.clip_norm,
        exclude_layers=["logits", *_reads_one_hot(recipe)],
    )


def _reads_one_hot(recipe: Recipe) -> list[str]:
    """The kernels whose rows belong to a symbol each, which suit Adam as embeddings do."""
    sides = ["encoder"] if recipe.family == "repeat_vector" else ["encoder", "decoder"]
    return [f"{side}_lstm_0/lstm_cell/kernel" for side in sides]


def _largest_divisor(number: int, limit: int) -> int:
    """Keras runs whole executions only, so a number that does not divide an epoch would overrun the budget."""
    return max(divisor for divisor in range(1, limit + 1) if number % divisor == 0)


def _example(recipe: Recipe, pair: Pair) -> tuple[Any, IdArray]:
    """What the training model takes, and what it should give, for source and target ids."""
    return data.inputs(recipe.problem, recipe.family, *pair), pair[1]


def _dataset(recipe: Recipe, pairs: Iterator[Pair]) -> tf.data.Dataset:
    """Batches for Keras, made on a thread of their own while the last ones are trained on."""
    problem = recipe.problem
    source = tf.TensorSpec((recipe.batch_size, problem.source_length), tf.int32)
    target = tf.TensorSpec((recipe.batch_size, problem.target_length), tf.int32)
    signature = (source, target) if recipe.family == "repeat_vector" else ((source, target), target)
    dataset = tf.data.Dataset.from_generator(
        lambda: (_example(recipe, pair) for pair in pairs), output_signature=signature
    )
    return dataset.prefetch(4 * STEPS_PER_EXECUTION)


def _whole(recipe: Recipe, pair: Pair) -> tf.data.Dataset:
    """A fixed set of pairs in large batches."""
    return tf.data.Dataset.from_tensor_slices(_example(recipe, pair)).batch(4_096).cache()
