"""Sorting: a few digits, written as text, in ascending order. A kind that nothing but its tests knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from seq2seq.problem import Field, Keys, Oracle, RuleBroken, kind_of
from seq2seq.vocabulary import IdArray, Symbols, Vocabulary, characters


@dataclass(frozen=True)
class Sorting(Oracle):
    """Texts of `length` digits, each from 1 to `largest`."""

    length: int
    largest: int

    kind: ClassVar[str] = "sorting"

    @cached_property
    def source_vocabulary(self) -> Vocabulary:
        return characters("".join(str(digit) for digit in range(1, self.largest + 1)) + " ")

    @property
    def target_vocabulary(self) -> Vocabulary:
        return self.source_vocabulary

    @property
    def source_length(self) -> int:
        return self.length

    @property
    def target_length(self) -> int:
        return self.length

    # Requests and answers

    def parse(self, value: object) -> str:
        if not isinstance(value, str):
            raise RuleBroken("text", f"digits are text, not {kind_of(value)}")
        if len(value) != self.length:
            raise RuleBroken("length", f"there are {len(value)} digits; {self.length} are needed")
        for position, character in enumerate(value):
            if character not in self.source_vocabulary.symbols[: self.largest]:
                raise RuleBroken("digit", f"{character!a} is no digit from 1 to {self.largest}", position=position)
        return value

    def requests(self, sources: IdArray) -> list[Any]:
        return list(self.source_vocabulary.decode(sources))

    def encode(self, sources: Sequence[Symbols]) -> IdArray:
        return self.source_vocabulary.encode([str(source) for source in sources])

    def decode(self, targets: IdArray) -> list[Symbols]:
        return [text.strip() for text in self.target_vocabulary.decode(targets)]

    @cached_property
    def input(self) -> Field:
        schema = {"type": "string", "pattern": f"^[1-{self.largest}]{{{self.length}}}$"}
        return Field("digits", "rows", schema, "The digits to sort", str)

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        return (
            Field("ascending", "ascending", {"type": "string"}, "The digits in order", str),
            Field("items", "items", {"type": "array", "maxItems": self.length}, "The same as a list", _items),
            Field("last", "last", {"type": ["integer", "null"]}, "The largest digit", _last),
        )

    # The truth

    def sample_sources(self, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> IdArray:  # noqa: ARG002
        return rng.integers(0, self.largest, size=(n, self.length), dtype=np.int32)

    def answer(self, sources: IdArray) -> IdArray:
        return np.sort(sources, axis=1)

    @property
    def distinct_size(self) -> int:
        return int(self.largest**self.length)

    @property
    def domain_size(self) -> int:
        return self.distinct_size

    def distinct(self, rng: np.random.Generator, batch_size: int) -> Iterator[IdArray]:  # noqa: ARG002
        places = np.indices([self.largest] * self.length, dtype=np.int32).reshape(self.length, -1).T
        for start in range(0, len(places), batch_size):
            yield np.ascontiguousarray(places[start : start + batch_size])

    def keys(self, sources: IdArray) -> Keys:
        powers = np.array([(self.largest + 1) ** place for place in range(self.length)], dtype=np.uint64)
        keys: Keys = (np.sort(sources, axis=1).astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64)
        return keys

    def truth(self, symbols: Symbols) -> str:
        return "".join(sorted(str(symbols)))


def _items(written: Symbols) -> list[int]:
    return [int(digit) for digit in str(written)]


def _last(written: Symbols) -> int | None:
    return int(str(written)[-1]) if str(written) else None
