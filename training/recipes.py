"""The recipes: everything a training run depends on, one frozen dataclass each, printed and saved with the results.

Knows nothing of Keras. The tutorials' recipes keep their networks, problem sizes and sample budgets; optimiser and
rates are ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from seq2seq.bundle import Family
from seq2seq.problem import Problem
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal

Optimizer = Literal["adam", "muon"]


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
    problem: Problem
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
    hold_out: bool = False
    margin: float = 0.0
    reversed_source: bool = False
    bound_weight: float = 0.0
    bound_rows: int = 64
    xla: bool = True
    ships: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if self.samples < self.batch_size * self.epochs:
            raise ValueError(f"{self.samples} samples are less than one batch of {self.batch_size} an epoch")
        if self.validation and self.examples is None:
            raise ValueError("a share for validation needs a fixed number of examples")

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


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="addition-three-terms",
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
        Recipe(
            name="addition-two-terms",
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
        Recipe(
            name="reversal-six-three",
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
        Recipe(
            name="addition",
            about="two or three terms of 0 to 99, half of all sums never trained on",
            problem=Addition(2, 3, 99, "term"),
            family="repeat_vector",
            encoder_units=(24,),
            decoder_units=(24,),
            samples=16_000_000,
            batch_size=256,
            learning_rate=1e-2,
            epochs=20,
            warm_up=0.02,
            weight_decay=0.01,
            rare=0.5,
            hold_out=True,
            ships=True,
        ),
        Recipe(
            name="reversal",
            about="the first three of six integers up to 50, half of all leading triples never trained on",
            problem=Reversal(6, 6, 50, 3),
            family="autoregressive",
            encoder_units=(16,),
            decoder_units=(16,),
            samples=2_000_000,
            batch_size=256,
            learning_rate=1e-2,
            epochs=20,
            warm_up=0.02,
            weight_decay=0.01,
            hold_out=True,
            ships=True,
        ),
    )
}
