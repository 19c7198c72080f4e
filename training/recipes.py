"""The recipes: everything a training run depends on, one frozen dataclass each, printed and saved with the results.

Knows nothing of Keras. The tutorials' recipes keep their networks, problem sizes and sample budgets; optimiser and
rates are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from seq2seq.bundle import MOST_FILE_BYTES, PLAIN_NAME, Family, count_parameters
from seq2seq.holdout import BUCKETS, in_split
from seq2seq.problem import Oracle
from seq2seq.problems import from_spec
from seq2seq.problems.addition import Addition
from seq2seq.problems.arithmetic import Arithmetic
from seq2seq.problems.reversal import Reversal

Optimizer = Literal["adam", "muon"]

MOST_SAMPLES = 10**12
"""Keras counts steps in 64 bits, and no run is ever that long."""
MOST_IN_BATCH = 2**16
"""A batch is one piece of memory, and each of its symbols becomes a vector there."""
MOST_LAYERS = 16
MOST_UNITS = 2**16
MOST_DISTINCT = 20_000_000
"""How many problems are kept in memory, where each is trained on in turn; a proof goes through `BUCKETS` times more."""
FEW_DISTINCT = 1_000
"""Up to this many, chance may have held out all of them."""


def _are_units(units: tuple[int, ...]) -> bool:
    return 1 <= len(units) <= MOST_LAYERS and min(units) >= 1 and max(units) <= MOST_UNITS


RANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "name": (PLAIN_NAME.fullmatch, "at most 100 letters, digits, '-', '_' and '.'"),
    "encoder_units": (_are_units, f"1 to {MOST_LAYERS} numbers from 1 to {MOST_UNITS:,}"),
    "decoder_units": (_are_units, f"1 to {MOST_LAYERS} numbers from 1 to {MOST_UNITS:,}"),
    "samples": (lambda value: 1 <= value <= MOST_SAMPLES, f"from 1 to {MOST_SAMPLES:,}"),
    "batch_size": (lambda value: 1 <= value <= MOST_IN_BATCH, f"from 1 to {MOST_IN_BATCH:,}"),
    "learning_rate": (lambda value: 0 < value < math.inf, "a positive number"),
    "epochs": (lambda value: 1 <= value <= MOST_SAMPLES, f"from 1 to {MOST_SAMPLES:,}"),
    "warm_up": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "beta_2": (lambda value: 0 <= value < 1, "from 0 to less than 1"),
    "clip_norm": (lambda value: 0 < value < math.inf, "a positive number"),
    "weight_decay": (lambda value: 0 <= value < math.inf, "0 or a positive number"),
    "examples": (lambda value: value is None or 1 <= value <= MOST_DISTINCT, f"from 1 to {MOST_DISTINCT:,}, or none"),
    "validation": (lambda value: 0 <= value < 1, "from 0 to less than 1"),
    "rare": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "hard_epochs": (lambda value: value >= 0, "0 or more"),
    "margin": (lambda value: 0 <= value < math.inf, "0 or a positive number"),
    "bound_weight": (lambda value: 0 <= value < math.inf, "0 or a positive number"),
    "bound_rows": (lambda value: 1 <= value <= MOST_IN_BATCH, f"from 1 to {MOST_IN_BATCH:,}"),
    "seed": (lambda value: 0 <= value < 2**32, "from 0 to 4,294,967,295"),
}
"""What a field's value must be, as a check and in words."""


@dataclass(frozen=True)
class Recipe:
    """One way to train one network.

    samples         pairs seen in training, repeats counted
    epochs          how often loss and accuracy are reported
    learning_rate   the peak, reached after `warm_up` of the steps and let down to 0 by half a cosine
    weight_decay    pulls what the optimizer steps (of Muon, its matrices) towards 0, in proportion to the learning rate
    examples        draw this many pairs once and repeat them; None draws fresh ones all along
    validation      the share of `examples` that is set aside
    passes          draw by going through all distinct problems, shuffled anew each time, not at random
    rare            the share of draws in which rare answers are made common (see the problem)
    hold_out        never train on the held-out half of the distinct problems
    hard_epochs     in so many of the last epochs, half of the samples are hard ones, looked for before each (see
                    `training.hard_examples`)
    margin          by how much the loss lowers each true logit, so that it ends that much higher (see `training.loss`)
    reversed_source  the encoder reads the source's last place first
    bound_weight    of the cross-entropy on the worst logits over all tails (see `training.certified`); 0 for none
    bound_rows      how many heads of each batch that cross-entropy is computed for
    xla             compile by XLA, which takes seconds more at the start, and pays in long runs of the smallest steps;
                    without it TensorFlow runs operations side by side, each on one thread
    ships           saved under models/ unless told otherwise
    """

    name: str
    about: str
    problem: Oracle
    family: Family
    encoder_units: tuple[int, ...]
    decoder_units: tuple[int, ...]
    samples: int
    batch_size: int
    learning_rate: float
    epochs: int
    optimizer: Optimizer = "muon"
    warm_up: float = 0.1
    beta_2: float = 0.99
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    examples: int | None = None
    validation: float = 0.0
    passes: bool = False
    rare: float = 0.0
    hard_epochs: int = 0
    hold_out: bool = False
    margin: float = 0.0
    reversed_source: bool = False
    bound_weight: float = 0.0
    bound_rows: int = 64
    xla: bool = True
    ships: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what could only fail later. Raises `ValueError`."""
        for name, (is_right, words) in RANGES.items():
            if not is_right(value := getattr(self, name)):
                raise ValueError(f"{name} is {words}, not {str(value)[:40]}")
        if self.samples < self.batch_size * self.epochs:
            raise ValueError(
                f"{self.samples} samples are less than one batch of {self.batch_size} in each of {self.epochs} epochs"
            )
        if self.hard_epochs >= self.epochs:
            raise ValueError(f"hard_epochs must be fewer than the {self.epochs} epochs, not {self.hard_epochs}")
        if self.hard_epochs and (self.examples is not None or self.passes):
            raise ValueError("hard_epochs needs samples that are drawn at random, not fixed examples or passes")
        if self.validation and self.examples is None:
            raise ValueError("a share for validation needs a fixed number of examples")
        if self.family == "autoregressive" and self.encoder_units != self.decoder_units:
            raise ValueError("encoder_units and decoder_units must be the same in an autoregressive network")
        if self.bound_weight and not (self.family == "autoregressive" and self.reversed_source):
            raise ValueError("bound_weight needs an autoregressive network that reads the source's last place first")
        parameters = count_parameters(self.problem, self.family, self.encoder_units, self.decoder_units)
        if 4 * parameters > MOST_FILE_BYTES:
            raise ValueError(f"{parameters:,} parameters do not fit into a file of {MOST_FILE_BYTES:,} bytes")
        self._check_data()

    def _check_data(self) -> None:
        """Refuse what data cannot be made for: too many problems to go through, or none left to train on."""
        problem = self.problem
        most = MOST_DISTINCT if self.passes else MOST_DISTINCT * BUCKETS
        if problem.distinct_size > most:  # the proof goes through all of them, even where training does not
            raise ValueError(f"the problem is too large: it has more than {most:,} distinct problems to go through")
        if self.hold_out and problem.distinct_size <= FEW_DISTINCT:
            sources = np.concatenate(list(problem.distinct(np.random.default_rng(0), FEW_DISTINCT)))
            if not in_split(problem.keys(sources), "train").any():
                raise ValueError(f"{problem.distinct_size} distinct problems are too few to hold out half of them")

    @property
    def steps(self) -> int:
        """Batches in the whole run, the same number in each epoch."""
        return self.steps_per_epoch * self.epochs

    @property
    def steps_per_epoch(self) -> int:
        return self.samples // self.epochs // self.batch_size

    def as_data(self) -> dict[str, Any]:
        """The recipe as plain data."""
        units = {"encoder_units": list(self.encoder_units), "decoder_units": list(self.decoder_units)}
        return {**asdict(self), **units, "problem": self.problem.spec()}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Recipe:
        """The recipe that `as_data` gave. Fields that an older release did not have take their defaults.

        Raises `KeyError`, `TypeError` or `ValueError`.
        """
        units = {name: tuple(data[name]) for name in ("encoder_units", "decoder_units")}
        return cls(**{**data, **units, "problem": from_spec(data["problem"])})


class RecipeError(Exception):
    """A recipe that cannot be built. The message, one line, names it and says why."""


class Recipes(Mapping[str, Recipe]):
    """Recipes by name, each built when it is asked for, so that one that cannot be built breaks only itself."""

    def __init__(self, builders: dict[str, Callable[[str], Recipe]]):
        self.builders = builders

    def __getitem__(self, name: str) -> Recipe:
        build = self.builders[name]
        try:
            return build(name)
        except Exception as error:
            raise RecipeError(f"{name}: the recipe cannot be built: {' '.join(str(error).split())}") from error

    def __contains__(self, name: object) -> bool:
        return name in self.builders

    def __iter__(self) -> Iterator[str]:
        return iter(self.builders)

    def __len__(self) -> int:
        return len(self.builders)


RECIPES = Recipes(
    {
        "addition-three-terms": lambda name: Recipe(
            name=name,
            about="S1: three terms of 1 to 10, 75,000 pairs, trained on the whole domain",
            problem=Addition(3, 3, 10, "left", smallest=1),
            family="repeat_vector",
            encoder_units=(75,),
            decoder_units=(50,),
            samples=75_000,
            batch_size=250,
            learning_rate=3e-2,
            epochs=5,
            warm_up=0.03,
            weight_decay=0.1,
            passes=True,
            xla=False,
        ),
        "addition-two-terms": lambda name: Recipe(
            name=name,
            about="S3: two terms of 1 to 10, 1,000 examples for 50 epochs, a fifth of them for validation",
            problem=Addition(2, 2, 10, "left", smallest=1),
            family="repeat_vector",
            encoder_units=(75,),
            decoder_units=(50,),
            samples=40_000,
            batch_size=32,
            learning_rate=5e-3,
            epochs=50,
            examples=1_000,
            validation=0.2,
        ),
        "reversal-six-three": lambda name: Recipe(
            name=name,
            about="S2: the first three of six integers up to 50, 80,000 of 100,000 pairs, trained on the whole domain",
            problem=Reversal(6, 6, 50, 3),
            family="autoregressive",
            encoder_units=(128,),
            decoder_units=(128,),
            samples=80_000,
            batch_size=160,
            learning_rate=4e-2,
            epochs=5,
            optimizer="adam",
            beta_2=0.95,
            weight_decay=0.1,
            passes=True,
            xla=False,
        ),
        "addition": lambda name: Recipe(
            name=name,
            about="two to four terms of 0 to 99, half of all sums never trained on",
            problem=Addition(2, 4, 99, "column"),
            family="repeat_vector",
            encoder_units=(32,),
            decoder_units=(32,),
            samples=64_000_000,
            batch_size=256,
            learning_rate=1e-2,
            epochs=10,
            warm_up=0.02,
            weight_decay=0.01,
            rare=0.5,
            hard_epochs=2,
            margin=3.0,
            hold_out=True,
            ships=True,
        ),
        "arithmetic": lambda name: Recipe(
            name=name,
            about="one of +, - and * between two numbers of 0 to 99, trained on the whole domain",
            problem=Arithmetic("+-*", 99),
            family="repeat_vector",
            encoder_units=(64,),
            decoder_units=(64,),
            samples=16_000_000,
            batch_size=256,
            learning_rate=1e-2,
            epochs=10,
            warm_up=0.02,
            weight_decay=0.1,
            passes=True,
            margin=3.0,
            ships=True,
        ),
        "reversal": lambda name: Recipe(
            name=name,
            about="the first three of one to eight integers up to 50, or as many as asked for, half of all leading"
            " items never trained on",
            problem=Reversal(1, 8, 50, 3, any_take=True),
            family="autoregressive",
            encoder_units=(24,),
            decoder_units=(24,),
            samples=6_144_000,
            batch_size=512,
            learning_rate=2e-2,
            epochs=12,
            optimizer="adam",
            warm_up=0.02,
            clip_norm=0.1,
            reversed_source=True,
            bound_weight=0.3,
            hold_out=True,
            ships=True,
        ),
    }
)
