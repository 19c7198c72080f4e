"""Fits a network to pairs of texts: batches bucketed by length, averaged weights, the best of them by validation.

Knows nothing of files or bundles. Validation decodes with the graph that will be served, so what is chosen is what is
shipped. A run leaves a checkpoint after each round, from which it goes on as if it had not been stopped.
"""

from __future__ import annotations

import json
import math
import time
import zipfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from seq2seq.bundle import NetworkSpec
from seq2seq.problem import END_ID
from seq2seq.problems.pairs import PADDING_ID, Pairs
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import IdArray
from training import data, environment, lstm
from training.pairs import graphs, networks, scoring, teacher_forcing
from training.pairs.files import Text, sha256_of
from training.pairs.recipes import PairsRecipe
from training.progress import Progress
from training.stopping import Diverged

CHUNK_BATCHES = 100
"""From so many batches' pairs, sorted by length, batches are cut: enough to pad little, few enough to stay random."""
ROUND_STEPS = 200
"""A round, after which is validated, has this many steps at least, and whole epochs."""
SEEN_AN_EPOCH = 500
"""Each token and each length of a whole domain is seen in about so many pairs an epoch, or in 1% of all. Of a million
numbers one is called zero, and ten have one digit.
"""
BETA_2 = 0.99
CLIP_NORM = 1.0

Targets = Mapping[Text, Sequence[Text]]


class WrongCheckpoint(Exception):
    """A checkpoint that this run cannot go on from. The message says why."""


class Ragged:
    """Sequences of ids of different lengths, in one array."""

    def __init__(self, rows: Iterable[Sequence[int]]):
        lengths, ids = array("q"), array("i")
        for row in rows:
            lengths.append(len(row))
            ids.extend(row)
        self.lengths = np.array(lengths, dtype=np.int64)  # (n,)
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._ids = np.array(ids, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, places: npt.NDArray[np.int64]) -> IdArray:
        """The sequences at these places, padded to the longest of them."""
        lengths = self.lengths[places]
        columns = np.arange(lengths.max())
        is_filled = columns < lengths[:, None]
        found = np.full(is_filled.shape, PADDING_ID, dtype=np.int32)
        found[is_filled] = self._ids[(self._starts[places][:, None] + columns)[is_filled]]
        return found


@dataclass
class PairsFit:
    """A finished run: the layers with the best weights, and how it went, one entry a round for each figure."""

    layers: networks.Layers
    spec: NetworkSpec
    history: dict[str, list[float]] = field(default_factory=dict)
    samples: int = 0
    seconds: float = 0.0
    best_round: int = 0


def fit(
    recipe: PairsRecipe,
    train: Targets,
    validation: Targets,
    *,
    checkpoint: Path | None = None,
    say: Callable[[str], None] = print,
) -> PairsFit:
    """Train a network on pairs. The same recipe, pairs and seed on the same machine give the same weights.

    checkpoint  a file to go on from if it is there, and to leave after each round

    Raises `Diverged` or `WrongCheckpoint`.
    """
    environment.one_thread_an_operation()
    keras.utils.set_random_seed(recipe.seed)
    run = _Run(recipe, train, validation, checkpoint)
    run.resume()
    progress = Progress(f"training {recipe.name}")
    resumed_at = run.epochs_done
    for epoch in range(resumed_at, recipe.epochs):
        if run.rounds_without_gain >= recipe.patience:
            say(f"no gain in {recipe.patience} rounds, so training ends here")
            break
        run.train_epoch(epoch, progress, resumed_at)
        if (epoch + 1) % run.epochs_a_round and epoch + 1 < recipe.epochs:
            continue
        exact, symbols = run.validate()
        progress.close()
        say(
            f"epoch {epoch + 1} of {recipe.epochs}: loss {run.history['loss'][-1]:.4f}, of {len(validation):,} to"
            f" validate {exact:.2%} wrong, {symbols:.2%} of symbols"
        )
    return run.finish()


class _Run:
    """A run under way."""

    def __init__(self, recipe: PairsRecipe, train: Targets, validation: Targets, checkpoint: Path | None):
        self.recipe, self.validation = recipe, validation
        self.data = [sha256_of(train), sha256_of(validation)]
        problem = recipe.problem
        again = _rare([*_pairs(train)]) if recipe.hold_out else []
        self.sources = Ragged(problem.source_ids(source) for source, _ in chain(_pairs(train), again))
        self.targets = Ragged(problem.target_ids(target) for _, target in chain(_pairs(train), again))
        self.checkpoint = checkpoint
        self.rng = np.random.default_rng(recipe.seed)
        self.layers = networks.Layers(problem, recipe.spec, dropout=recipe.dropout)
        self.model = self.layers.training
        self.steps_an_epoch = math.ceil(len(self.sources) / recipe.batch_size)
        self.epochs_a_round = math.ceil(ROUND_STEPS / self.steps_an_epoch)
        self.optimizer = made_optimizer(recipe, self.steps_an_epoch * recipe.epochs)
        self.optimizer.build(self.model.trainable_variables)
        self.step = step(recipe, self.layers, self.optimizer)
        self.history: dict[str, list[float]] = {"loss": [], "wrong": [], "symbols_wrong": [], "confidence": []}
        self.epochs_done = 0
        self.seconds = 0.0
        self.best: list[Any] = self.model.get_weights()
        self.best_round = 0

    @property
    def rounds_without_gain(self) -> int:
        return len(self.history["wrong"]) - self.best_round

    def train_epoch(self, epoch: int, progress: Progress, resumed_at: int) -> None:
        """Every pair once. Raises `Diverged`."""
        started = time.perf_counter()
        losses = np.zeros(2)
        total = self.steps_an_epoch * (self.recipe.epochs - resumed_at)
        for place, rows in enumerate(
            _bucketed(self.sources.lengths, self.targets.lengths, self.recipe.batch_size, self.rng)
        ):
            targets = self.targets.padded(rows)
            shifted = data.shifted(targets, PADDING_ID)
            if self.recipe.noise:
                shifted = _with_noise(shifted, self.recipe, self.rng)
            losses += self.step(self.sources.padded(rows), shifted, targets).numpy()
            if not np.isfinite(losses[0]):
                raise Diverged
            progress("steps", (epoch - resumed_at) * self.steps_an_epoch + place + 1, total)
        self.epochs_done = epoch + 1
        self.seconds += time.perf_counter() - started
        self._loss = losses[0] / losses[1]

    def validate(self) -> tuple[float, float]:
        """The shares of wrong answers and of wrong symbols, with averaged weights. The best are kept.

        On a small file many rounds are equal in both; of these the one that is surest of its answers is the best.
        """
        last = self.model.get_weights()
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        averaged = graphs.rounded(self.model.get_weights())
        self.model.set_weights(averaged)
        network = served(self.recipe.problem, self.recipe.spec, self.layers)
        score = scoring.score(self.recipe.problem, network, self.validation)
        self.model.set_weights(last)
        figures = self._loss, score.wrong_rate, score.symbol_rate, score.confidence.mean()
        for name, figure in zip(self.history, figures, strict=True):
            self.history[name].append(float(figure))
        *before, last_round = zip(
            self.history["wrong"],
            self.history["symbols_wrong"],
            [-each for each in self.history["confidence"]],
            strict=True,
        )
        if all(last_round < each for each in before):
            self.best, self.best_round = averaged, len(before) + 1
        self._save()
        return score.wrong_rate, score.symbol_rate

    def finish(self) -> PairsFit:
        self.model.set_weights(self.best)
        spec = replace(self.recipe.spec, parameters=int(self.model.count_params()))
        samples = self.epochs_done * len(self.sources)
        return PairsFit(self.layers, spec, self.history, samples, self.seconds, self.best_round)

    # Checkpoints

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one. Raises `WrongCheckpoint`."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            with self.checkpoint.open("rb") as file, np.load(file, allow_pickle=False) as held:
                state = json.loads(str(held["state"]))
                arrays = [held[f"array_{place}"] for place in range(len(held.files) - 1)]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise WrongCheckpoint(f"{self.checkpoint} is no checkpoint: {error}; run without --resume") from error
        if state["run"] != self._identity():
            raise WrongCheckpoint(f"{self.checkpoint} is of other pairs or settings; run without --resume")
        for variable, held_array in zip(self._variables(), arrays, strict=False):
            variable.assign(held_array)
        self.best = arrays[len(self._variables()) :]
        self.rng.bit_generator.state = state["random"]
        for name in ("history", "epochs_done", "seconds", "best_round"):
            setattr(self, name, state[name])

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "run": self._identity(),
            "random": self.rng.bit_generator.state,
            **{name: getattr(self, name) for name in ("history", "epochs_done", "seconds", "best_round")},
        }
        arrays = [*(variable.numpy() for variable in self._variables()), *self.best]
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        draft = self.checkpoint.with_suffix(".part.npz")
        np.savez(draft, state=json.dumps(state), **{f"array_{place}": each for place, each in enumerate(arrays)})
        draft.replace(self.checkpoint)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables]

    def _identity(self) -> dict[str, Any]:
        """What must be the same in a run that goes on: its recipe, and the pairs to train on and to validate with."""
        found: dict[str, Any] = json.loads(json.dumps({"recipe": self.recipe.as_data(), "data": self.data}))
        return found


def score(fit: PairsFit, recipe: PairsRecipe, targets: Targets) -> scoring.Score:
    """How right the network's answers are, with the graph that will be served."""
    return scoring.score(recipe.problem, served(recipe.problem, fit.spec, fit.layers), targets)


def served(problem: Pairs, spec: NetworkSpec, layers: networks.Layers) -> onnx_runtime.Varying:
    """The network as it will be served, with the weights that the layers have now."""
    content = graphs.build(problem, spec, layers)["greedy.onnx"].SerializeToString()
    return onnx_runtime.Varying.of(content)


def _pairs(targets: Targets) -> Iterator[tuple[Text, Text]]:
    return ((source, target) for source, found in targets.items() for target in found)


def _rare(pairs: list[tuple[Text, Text]]) -> list[tuple[Text, Text]]:
    """Pairs with a token or a length that hardly any other has, again and again, so that each is seen so often."""
    counts = Counter(each for pair in pairs for each in _features(pair))
    least = min(SEEN_AN_EPOCH, len(pairs) // 100)
    scarce = {each: count for each, count in counts.items() if count < least}
    rarest = ((pair, min((scarce[each] for each in _features(pair) if each in scarce), default=0)) for pair in pairs)
    return [pair for pair, count in rarest if count for _ in range(least // count)]


def _features(pair: tuple[Text, Text]) -> set[tuple[int, object]]:
    """The tokens of source and target, and their lengths, each with its side."""
    return {(side, each) for side, text in enumerate(pair) for each in (*text, len(text))}


def step(recipe: PairsRecipe, layers: networks.Layers, optimizer: keras.optimizers.Optimizer) -> Any:
    """One step over a batch, compiled once for all lengths: the sum of its symbols' losses, and their number."""
    ids = tf.TensorSpec((None, None), tf.int32)
    variables = layers.training.trainable_variables

    def losses(source: Any, shifted: Any, target: Any) -> Any:
        logs = tf.nn.log_softmax(teacher_forcing.logits(layers, source, shifted, recipe.precision))
        is_real = tf.cast(target != PADDING_ID, tf.float32)
        true = -tf.gather(logs, target, batch_dims=2)  # (B, T)
        spread = -tf.reduce_mean(logs[..., PADDING_ID + 1 :], axis=-1)
        smoothed = (1 - recipe.label_smoothing) * true + recipe.label_smoothing * spread
        return tf.stack([tf.reduce_sum(is_real * each) for each in (smoothed, true, tf.ones_like(true))])

    def train(*batch: Any) -> Any:
        parts = lstm.parts(tf.shape(batch[0])[0], recipe.batch_size)
        with tf.GradientTape() as tape:
            smoothed, true, symbols = tf.unstack(
                tf.add_n([losses(*(each[start:end] for each in batch)) for start, end in parts])
            )
            loss = smoothed / symbols
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        return tf.stack([true, symbols])

    return tf.function(train, input_signature=[ids, ids, ids])


def made_optimizer(recipe: PairsRecipe, steps: int) -> keras.optimizers.Optimizer:
    """AdamW whose rate rises for a while and falls by half a cosine, and which keeps an average of the weights."""
    warm_up = max(1, min(500, steps // 20))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - warm_up),
        warmup_target=recipe.learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=recipe.weight_decay,
        beta_2=BETA_2,
        global_clipnorm=CLIP_NORM,
        use_ema=True,
        ema_momentum=min(recipe.averaging, 1 - 20 / max(steps, 40)),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _bucketed(
    sources: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], size: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """The places of all pairs, in batches of similar lengths and random order."""
    order = rng.permutation(len(sources))
    batches: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(order), CHUNK_BATCHES * size):
        chunk = order[start : start + CHUNK_BATCHES * size]
        chunk = chunk[np.lexsort((targets[chunk], sources[chunk]))]
        batches += [chunk[at : at + size] for at in range(0, len(chunk), size)]
    for place in rng.permutation(len(batches)):
        yield batches[place]


def _with_noise(shifted: IdArray, recipe: PairsRecipe, rng: np.random.Generator) -> IdArray:
    """Replace some of the symbols that the decoder is told, so that it learns to go on after an error of its own."""
    symbols = rng.integers(END_ID + 1, len(recipe.problem.target_vocabulary), shifted.shape, dtype=np.int32)
    is_hit = (rng.random(shifted.shape) < recipe.noise) & (shifted > END_ID)
    return np.where(is_hit, symbols, shifted)
