"""The study's cells: one small training run each, all of them with the same budget.

Knows nothing of Keras, nor of where a cell runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal

from seq2seq.decoding import Family
from seq2seq.problem import Oracle
from seq2seq.problems.addition import Addition, Padding
from seq2seq.problems.reversal import Reversal
from training.recipes import Recipe

PADDINGS: tuple[Padding, ...] = ("left", "term")
FAMILIES: tuple[Family, ...] = ("repeat_vector", "autoregressive")
BATCH, STEPS, EPOCHS = 128, 3_000, 10
"""The budget of a cell: so many steps of so many samples, with figures after each of so many parts."""
LEARNING_RATE = 2e-2


@dataclass(frozen=True)
class Task:
    """A problem of the study, by its size.

    length   how many terms a sum has, or how many items a list, all of which are to be reversed
    symbols  digits of a term, or how many different items there are
    """

    kind: Literal["sums", "lists"]
    length: int
    symbols: int

    def problem(self, padding: Padding = "term") -> Oracle:
        """The problem itself."""
        if self.kind == "lists":
            return Reversal(self.length, self.length, self.symbols, self.length)
        return Addition(self.length, self.length, 10**self.symbols - 1, padding)

    def longer(self, padding: Padding, length: int) -> Oracle:
        """The same with another length."""
        return replace(self, length=length).problem(padding)

    def __str__(self) -> str:
        if self.kind == "lists":
            return f"{self.length} items, {self.symbols} values"
        return f"{self.length} terms, {self.symbols} digit{'s' * (self.symbols > 1)}"


@dataclass(frozen=True)
class Cell:
    """One network on one task, with one seed.

    padding  of sums only; lists have none to choose
    beyond   how many lengths beyond the one that is trained on are asked as well
    """

    task: Task
    family: Family
    units: int
    layers: int = 1
    padding: Padding = "term"
    reversed_source: bool = False
    beyond: int = 0
    seed: int = 1

    def recipe(self, steps: int = STEPS) -> Recipe:
        """How the cell is trained."""
        units = (self.units,) * self.layers
        return Recipe(
            name="cell",
            about="a cell of the study",
            problem=self.task.problem(self.padding),
            family=self.family,
            encoder_units=units,
            decoder_units=units,
            samples=steps * BATCH,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            epochs=min(EPOCHS, steps),
            warm_up=0.05,
            weight_decay=0.01,
            rare=0.5,
            margin=1.0,
            reversed_source=self.reversed_source,
            hold_out=True,
            xla=False,
            seed=self.seed,
        )

    @property
    def name(self) -> str:
        """What the cell's file is called."""
        task = f"{self.task.kind}-{self.task.length}x{self.task.symbols}"
        order = "reversed" if self.reversed_source else "in-order"
        return f"{task}-{self.family}-{self.units}x{self.layers}-{self.padding}-{order}-{self.seed}"

    def as_json(self) -> str:
        """The cell as a line of text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """The cell that `as_json` gave."""
        data: dict[str, Any] = json.loads(text)
        return cls(**{**data, "task": Task(**data["task"])})


SMALL_SUMS, SUMS, LISTS = Task("sums", 3, 1), Task("sums", 2, 2), Task("lists", 5, 6)
SEEDS = (1, 2, 3)


def grid() -> list[Cell]:
    """The cells of docs/study.md: every size with every seed, all else with the first one."""
    return list(
        dict.fromkeys([*_sizes(SEEDS[0]), *_readings(), *_larger(), *(c for s in SEEDS[1:] for c in _sizes(s))])
    )


def _sizes(seed: int) -> Iterator[Cell]:
    for units, task, family in product((4, 8, 16, 32), (SMALL_SUMS, SUMS, LISTS), FAMILIES):
        yield Cell(task, family, units, beyond=2 if (task, units) == (LISTS, 32) else 0, seed=seed)


def _readings() -> Iterator[Cell]:
    for family, padding, reverse in product(FAMILIES, PADDINGS, (False, True)):
        yield Cell(SUMS, family, 32, padding=padding, reversed_source=reverse)
    for family in FAMILIES:
        yield Cell(LISTS, family, 32, reversed_source=True, beyond=2)


def _larger() -> Iterator[Cell]:
    for family in FAMILIES:
        yield Cell(SUMS, family, 16, layers=2)
        yield Cell(SUMS, family, 64)
    yield Cell(SUMS, "repeat_vector", 128)


def large() -> list[Cell]:
    """Networks of up to 256 units on every task, minutes for each of the largest."""
    return [
        Cell(task, family, units)
        for task, family, units in product((SMALL_SUMS, SUMS, LISTS), FAMILIES, (64, 128, 256))
    ]


def quick() -> list[Cell]:
    """A grid that takes seconds, for a first look and for tests."""
    return [Cell(task, family, 4, beyond=1) for task in (SMALL_SUMS, Task("lists", 3, 4)) for family in FAMILIES]
