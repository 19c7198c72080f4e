"""Reversal: the first few items of a list, last one first.

Knows nothing of networks. One request on its way to a network and back, six items up to 50, three taken:

    [20, 36, 40, 10, 34, 28]  →  ids the same, for an integer's id is itself  →  …  →  ids [40, 36, 20]

In training the decoder reads its own target shifted right by one and started with 0, so [0, 40, 36].
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from seq2seq.problem import Field, Keys, Oracle, Problem, RuleBroken, kind_of, plural
from seq2seq.vocabulary import IdArray, Symbols, Vocabulary, integers

MOST_ITEMS = 1_000
LARGEST_CARDINALITY = 10_000
"""Items are one-hot encoded, by tables of its square."""


@dataclass(frozen=True)
class Reversal(Oracle):
    """Lists of `shortest` to `longest` integers from 1 to `cardinality`; the answer is the first `take`, reversed.

    0 is no item: it pads shorter lists on the right, and starts a sequence.
    """

    shortest: int
    longest: int
    cardinality: int
    take: int

    kind: ClassVar[str] = "reversal"

    def __post_init__(self) -> None:
        for name in ("shortest", "longest", "cardinality", "take"):
            if type(getattr(self, name)) is not int:
                raise TypeError(f"{name} must be an integer, not {getattr(self, name)!r}")
        if not 1 <= self.take <= self.shortest <= self.longest:
            raise ValueError(
                f"lengths must be ordered, 1 <= take <= shortest <= longest, not {self.take}, {self.shortest}, "
                f"{self.longest}"
            )
        if self.longest > MOST_ITEMS:
            raise ValueError(f"a list may have {MOST_ITEMS:,} items at most, not {self.longest}")
        if not 1 <= self.cardinality <= LARGEST_CARDINALITY:
            raise ValueError(f"cardinality must be from 1 to {LARGEST_CARDINALITY:,}, not {self.cardinality}")

    # What the network sees

    @cached_property
    def source_vocabulary(self) -> Vocabulary:
        return integers(self.cardinality)

    @property
    def target_vocabulary(self) -> Vocabulary:
        return self.source_vocabulary

    @property
    def source_length(self) -> int:
        return self.longest

    @property
    def target_length(self) -> int:
        return self.take

    # Data

    def sample_sources(self, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> IdArray:  # noqa: ARG002
        """n random lists (n, S); every answer is as common as any other, so `rare` changes nothing."""
        sources = self._random_items(rng, n, self.longest)
        return self._cut(rng, sources)

    def answer(self, sources: IdArray) -> IdArray:
        return np.ascontiguousarray(sources[:, : self.take][:, ::-1])

    @property
    def distinct_size(self) -> int:
        return int(self.cardinality**self.take)

    @property
    def domain_size(self) -> int:
        return sum(self.cardinality**length for length in range(self.shortest, self.longest + 1))

    def tails(self) -> IdArray:
        """The items after those taken, each from 1 to `cardinality`, then padding in lists that are shorter."""
        tails = []
        for length in range(self.shortest - self.take, self.longest - self.take + 1):
            count = self.cardinality**length
            items = np.indices([self.cardinality] * length, dtype=np.int32).reshape(length, count).T + 1  # (n, length)
            tails.append(np.pad(items, ((0, 0), (0, self.longest - self.take - length))))
        return np.concatenate(tails)

    def distinct(self, rng: np.random.Generator, batch_size: int) -> Iterator[IdArray]:
        """Every choice of leading items once, in order, each with a fresh random tail."""
        for start in range(0, self.distinct_size, batch_size):
            number = np.arange(start, min(start + batch_size, self.distinct_size))
            sources = self._random_items(rng, len(number), self.longest)
            for place in range(self.take - 1, -1, -1):
                number, item = np.divmod(number, self.cardinality)
                sources[:, place] = item + 1
            yield self._cut(rng, sources)

    def keys(self, sources: IdArray) -> Keys:
        """Only the leading items matter."""
        keys = np.zeros(len(sources), dtype=np.uint64)
        for column in sources[:, : self.take].T:
            keys = keys * np.uint64(self.cardinality + 1) + column.astype(np.uint64)
        return keys

    def _random_items(self, rng: np.random.Generator, n: int, length: int) -> IdArray:
        return rng.integers(1, self.cardinality + 1, size=(n, length), dtype=np.int32)

    def _cut(self, rng: np.random.Generator, sources: IdArray) -> IdArray:
        """Give each list a random length, the rest of it padding."""
        lengths = rng.integers(self.shortest, self.longest + 1, size=(len(sources), 1))
        return np.where(np.arange(self.longest) < lengths, sources, 0).astype(np.int32)

    # Requests and answers

    def parse(self, value: object) -> list[int]:
        """A list of integers → itself. Raises `RuleBroken`."""
        if not isinstance(value, list):
            raise RuleBroken("list", f"a sequence is a list of integers, not {kind_of(value)}")
        if not self.shortest <= len(value) <= self.longest:
            count = f"exactly {self.longest}" if self.shortest == self.longest else f"{self.shortest} to {self.longest}"
            raise RuleBroken("length", f"the sequence has {plural(len(value), 'item')}; {count} are needed")
        for index, item in enumerate(value):
            if type(item) is not int:
                raise RuleBroken(
                    "integer",
                    f"item {index + 1} is {_shown(item)}; an item is an integer, written as 7",
                    place=(index,),
                )
            if not 1 <= item <= self.cardinality:
                raise RuleBroken(
                    "range",
                    f"item {index + 1} is {_shown(item)}; an item is from 1 to {self.cardinality}",
                    place=(index,),
                )
        return value

    def requests(self, sources: IdArray) -> list[Any]:
        return [[item for item in row if item != 0] for row in sources.tolist()]

    def encode(self, sources: Sequence[Symbols]) -> IdArray:
        if self.shortest == self.longest:
            return np.array(sources, dtype=np.int32)
        return np.array([[*source, *[0] * (self.longest - len(source))] for source in sources], dtype=np.int32)

    def decode(self, targets: IdArray) -> list[Symbols]:
        return [[item for item in row if item != 0] for row in targets.tolist()]

    def covers(self, other: Problem) -> bool:
        return (
            isinstance(other, Reversal)
            and self.take == other.take
            and self.shortest <= other.shortest <= other.longest <= self.longest
            and self.cardinality >= other.cardinality
        )

    def truth(self, symbols: Symbols) -> list[int]:
        return [int(item) for item in symbols[self.take - 1 :: -1]]

    @cached_property
    def input(self) -> Field:
        return Field("sequence", "sequences", self._lists(self.shortest, self.longest), "The list to reverse", list)

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("reversed", "reversed", self._lists(0, self.take), "What the model wrote", list),)

    def _lists(self, shortest: int, longest: int) -> dict[str, Any]:
        items = {"type": "integer", "minimum": 1, "maximum": self.cardinality}
        return {"type": "array", "items": items, "minItems": shortest, "maxItems": longest}


def _shown(item: object) -> str:
    """An offending item as JSON has it, clipped; what cannot be shown so is named by its kind."""
    if isinstance(item, int) and abs(item) > 10**18:
        return "a number of more than 18 digits"
    if isinstance(item, list | dict):
        return kind_of(item)
    return json.dumps(item)[:40]
