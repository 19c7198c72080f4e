"""Reversal: the first few items of a list, last one first.

Knows nothing of networks. One request on its way to a network and back, six items up to 50, three taken:

    [20, 36, 40, 10, 34, 28]  →  ids the same, for an integer's id is itself  →  …  →  ids [40, 36, 20]

In training the decoder reads its own target shifted right by one and started with 0, so [0, 40, 36].

Where a request says how many to take, what it says comes before the items, as an id after theirs. One to eight items:

    {"sequence": [20, 36, 40], "take": 2}  →  ids [52, 20, 36, 40, 0, 0, 0, 0, 0]  →  …  →  ids [0, 36, 20]

Padding comes first in such an answer, so that each item has its place, however many are taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from seq2seq.problem import Counts, Field, Keys, Oracle, Problem, RuleBroken, Tail, kind_of, plural
from seq2seq.vocabulary import IdArray, Symbols, Vocabulary, integers

MOST_ITEMS = 1_000
LARGEST_CARDINALITY = 10_000
"""Items are one-hot encoded, by tables of its square."""
MOST_TAILS = 2_000_000
"""More are not listed."""


@dataclass(frozen=True)
class Reversal(Oracle):
    """Lists of `shortest` to `longest` integers from 1 to `cardinality`; the answer is the first `take`, reversed.

    0 is no item: it pads shorter lists on the right, and starts a sequence. With `any_take` a request can ask for fewer
    than `take` items. Lists can then be shorter than that, and are reversed whole if the request does not ask.
    """

    shortest: int
    longest: int
    cardinality: int
    take: int
    any_take: bool = False

    kind: ClassVar[str] = "reversal"

    def __post_init__(self) -> None:
        for name in ("shortest", "longest", "cardinality", "take"):
            if type(getattr(self, name)) is not int:
                raise TypeError(f"{name} must be an integer, not {getattr(self, name)!r}")
        if type(self.any_take) is not bool:
            raise TypeError(f"any_take must be true or false, not {self.any_take!r}")
        if not (1 <= self.take <= self.longest and self._least <= self.shortest <= self.longest):
            ordered = "1 <= shortest, take <= longest" if self.any_take else "1 <= take <= shortest <= longest"
            raise ValueError(f"lengths must be ordered, {ordered}, not {self.take}, {self.shortest}, {self.longest}")
        if self.longest > MOST_ITEMS:
            raise ValueError(f"a list may have {MOST_ITEMS:,} items at most, not {self.longest}")
        if not 1 <= self.cardinality <= LARGEST_CARDINALITY:
            raise ValueError(f"cardinality must be from 1 to {LARGEST_CARDINALITY:,}, not {self.cardinality}")

    @property
    def _least(self) -> int:
        """The fewest items that a request can ask for."""
        return 1 if self.any_take else self.take

    def spec(self) -> dict[str, Any]:
        """The spec, without `any_take` where it is false: bundles from before it was there have none."""
        spec = super().spec()
        return spec if self.any_take else {name: value for name, value in spec.items() if name != "any_take"}

    # What the network sees

    @cached_property
    def source_vocabulary(self) -> Vocabulary:
        takes = range(1, self.take + 1) if self.any_take else ()
        return integers(self.cardinality, *(f"take {take}" for take in takes))

    @property
    def target_vocabulary(self) -> Vocabulary:
        return integers(self.cardinality)

    @property
    def source_length(self) -> int:
        return self.any_take + self.longest

    @property
    def target_length(self) -> int:
        return self.take

    # Data

    def sample_sources(self, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> IdArray:  # noqa: ARG002
        """n random lists (n, S); every answer is as common as any other, so `rare` changes nothing."""
        items = self._random_items(rng, n, self.longest)
        if not self.any_take:
            return self._cut(rng, items, self.shortest)
        counts, takes = np.array(self._heads).T  # (m,) each
        share = self.cardinality ** (counts / 2)  # or there would be next to no short list
        head = rng.choice(len(share), size=n, p=share / share.sum())
        whole = self._cut(rng, items, max(self.shortest, self.take))
        short = np.where(np.arange(self.longest) < counts[head][:, None], items, 0)
        return self._asking(takes[head], np.where(counts[head][:, None] < self.take, short, whole))

    def answer(self, sources: IdArray) -> IdArray:
        leading = sources[:, self.any_take :][:, : self.take]  # (n, T)
        if self.any_take:
            leading = np.where(np.arange(self.take) < sources[:, :1] - self.cardinality, leading, 0)
        return np.ascontiguousarray(leading[:, ::-1])

    @cached_property
    def _heads(self) -> list[tuple[int, int]]:
        """What decides an answer: how many leading items there are, `take` at most, and how many are to be taken."""
        if not self.any_take:
            return [(self.take, self.take)]
        counts = range(min(self.shortest, self.take), self.take + 1)
        return [(count, take) for count in counts for take in sorted({*range(1, count + 1), self.take})]

    def _tails_after(self, count: int) -> range:
        """How many items can follow so many leading ones."""
        return range(max(self.shortest - count, 0), self.longest - count + 1) if count == self.take else range(1)

    def _count(self, count: int) -> int:
        """How many lists begin with the same so many leading items."""
        return sum(int(self.cardinality**more) for more in self._tails_after(count))

    @property
    def distinct_size(self) -> int:
        return sum(int(self.cardinality**count) for count, _ in self._heads)

    @property
    def domain_size(self) -> int:
        return sum(int(self.cardinality**count) * self._count(count) for count, _ in self._heads)

    def counts(self, sources: IdArray) -> Counts:
        leading = (sources[:, self.any_take :][:, : self.take] != 0).sum(axis=1)  # (n,)
        found: Counts = np.array([self._count(count) for count in range(self.take + 1)])[leading]
        return found

    @cached_property
    def tail(self) -> Tail:
        """The items after those that can be taken, then padding in lists that are shorter."""
        length, symbols = self.longest - self.take, np.arange(self.cardinality + 1, dtype=np.int32)
        if self.any_take or self._count(self.take) > MOST_TAILS:
            return Tail(length, symbols, None)
        contents = []
        for count in self._tails_after(self.take):
            items = np.indices([self.cardinality] * count, dtype=np.int32).reshape(count, self.cardinality**count).T + 1
            contents.append(np.pad(items, ((0, 0), (0, length - count))))
        return Tail(length, symbols, np.concatenate(contents))

    def distinct(self, rng: np.random.Generator, batch_size: int) -> Iterator[IdArray]:
        """Every choice of leading items once, in order, each with a fresh random tail."""
        for count, take in self._heads:
            size = self.cardinality**count
            for start in range(0, size, batch_size):
                number = np.arange(start, min(start + batch_size, size))
                items = self._random_items(rng, len(number), self.longest)
                for place in range(count - 1, -1, -1):
                    number, item = np.divmod(number, self.cardinality)
                    items[:, place] = item + 1
                if count == self.take:
                    items = self._cut(rng, items, max(self.shortest, count))
                else:
                    items[:, count:] = 0
                yield self._asking(np.full(len(items), take), items) if self.any_take else items

    def keys(self, sources: IdArray) -> Keys:
        """Only the leading items matter: all that can be taken, however many are."""
        keys = np.zeros(len(sources), dtype=np.uint64)
        for column in sources[:, self.any_take :][:, : self.take].T:
            keys = keys * np.uint64(self.cardinality + 1) + column.astype(np.uint64)
        return keys

    def _random_items(self, rng: np.random.Generator, n: int, length: int) -> IdArray:
        return rng.integers(1, self.cardinality + 1, size=(n, length), dtype=np.int32)

    def _cut(self, rng: np.random.Generator, items: IdArray, shortest: int) -> IdArray:
        """Give each list a random length, at least `shortest`, the rest of it padding."""
        lengths = rng.integers(shortest, self.longest + 1, size=(len(items), 1))
        return np.where(np.arange(self.longest) < lengths, items, 0).astype(np.int32)

    def _asking(self, takes: IdArray, items: IdArray) -> IdArray:
        """Padded lists (n, longest), and how many items are to be taken of each (n,) → sources (n, S)."""
        return np.concatenate([takes[:, None] + self.cardinality, items], axis=1, dtype=np.int32)

    # Requests and answers

    def parse(self, value: object) -> Symbols:
        """A list of integers → itself. With `any_take`, what comes first says how many to take. Raises `RuleBroken`."""
        if not self.any_take:
            return self._parse_items(value)
        if not isinstance(value, dict):
            return [self._all, *self._parse_items(value)]
        given = self.fields_of(value)
        try:
            items = self._parse_items(given["sequence"])
        except RuleBroken as broken:
            raise broken.within("sequence") from None
        if "take" not in given:
            return [self._all, *items]
        return [self.cardinality + self._parse_take(given["take"], len(items)), *items]

    def _parse_items(self, value: object) -> list[int]:
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

    def _parse_take(self, take: object, count: int) -> int:
        """How many of `count` items to take."""
        if type(take) is not int:
            raise RuleBroken("integer", f"take is {_shown(take)}; it is an integer, written as 2", place=("take",))
        if not 1 <= take <= self.take:
            raise RuleBroken("range", f"take is {_shown(take)}; it is from 1 to {self.take}", place=("take",))
        if take > count:
            raise RuleBroken(
                "take",
                f"take is {take}, but the sequence has {plural(count, 'item')}; send a smaller take, or none to reverse"
                " the whole list",
                place=("take",),
            )
        return take

    def requests(self, sources: IdArray) -> list[Any]:
        rows = [[item for item in row if item != 0] for row in sources.tolist()]
        if not self.any_take:
            return rows
        requests = map(self.request, rows)
        return [request if "take" in request else request["sequence"] for request in requests]

    def encode(self, sources: Sequence[Symbols]) -> IdArray:
        if self.shortest == self.longest and not self.any_take:
            return np.array(sources, dtype=np.int32)
        padding = self._padding
        return np.array([[*source, *padding[len(source)]] for source in sources], dtype=np.int32)

    @cached_property
    def _padding(self) -> list[list[int]]:
        """What a source of each length lacks."""
        return [[0] * (self.source_length - length) for length in range(self.source_length + 1)]

    def decode(self, targets: IdArray) -> list[Symbols]:
        return [[item for item in row if item != 0] for row in targets.tolist()]

    def covers(self, other: Problem) -> bool:
        return (
            isinstance(other, Reversal)
            and self.take == other.take
            and self.any_take >= other.any_take
            and self.shortest <= other.shortest <= other.longest <= self.longest
            and self.cardinality >= other.cardinality
        )

    def truth(self, symbols: Symbols) -> list[int]:
        taken = symbols[1 : 1 + self._taken(symbols)] if self.any_take else symbols[: self.take]
        return [int(item) for item in taken[::-1]]

    @cached_property
    def _all(self) -> int:
        """The id that says to take as many as can be."""
        return self.cardinality + self.take

    def _taken(self, symbols: Symbols) -> int:
        return int(symbols[0]) - self.cardinality

    @cached_property
    def input(self) -> Field:
        value = list if not self.any_take else lambda symbols: list(symbols[1:])
        return Field("sequence", "sequences", self._lists(self.shortest, self.longest), "The list to reverse", value)

    @cached_property
    def options(self) -> tuple[Field, ...]:
        if not self.any_take:
            return ()
        schema = {"type": "integer", "minimum": 1, "maximum": self.take, "default": self.take}
        about = f"How many leading items to reverse; {self.take} if left out, or all of a shorter list"
        return (Field("take", "takes", schema, about, self._asked),)

    def _asked(self, symbols: Symbols) -> int | None:
        return None if symbols[0] == self._all else self._taken(symbols)

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        written = self._lists(0, self.take)
        return (Field("reversed", "reversed", written, "What the model wrote", list),)

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
