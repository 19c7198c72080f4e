"""Arithmetic: two small integers and an operator, read and written as text. A difference may be negative.

Knows nothing of networks. One request on its way to a network and back, with numbers up to 99:

    "3 - 10"  →  parse "3-10"  →  pad "- 310"  →  ids [11, 13, 3, 1, 0]  →  …  →  ids [13, 13, 11, 7]  →  "-7"  →  -7

The operator comes first, so that a network reads the numbers with what to do in mind.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from seq2seq.expressions import Expressions, digit_ids
from seq2seq.problem import Field, Keys
from seq2seq.vocabulary import IdArray, Symbols, characters

Integers = npt.NDArray[np.int64]
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
VOCABULARY = characters("0123456789+-* ")
BLANK_ID = VOCABULARY.padding_id
LARGEST = 999_999_999
"""Products are computed in 64 bits."""


@dataclass(frozen=True)
class Arithmetic(Expressions):
    """One of `operators` between two integers from 0 to `largest`."""

    operators: str
    largest: int

    kind: ClassVar[str] = "arithmetic"
    min_terms = max_terms = 2
    smallest = 0
    noun = "number"
    vocabulary = VOCABULARY

    def __post_init__(self) -> None:
        if type(self.largest) is not int or not 0 <= self.largest <= LARGEST:
            raise ValueError(f"largest must be an integer from 0 to {LARGEST:,}, not {self.largest!r:.40}")
        given = self.operators
        if type(given) is not str or not given or len({*given}) < len(given) or not {*given} <= {*OPERATORS}:
            raise ValueError(f"operators must be some of {''.join(OPERATORS)}, each once, not {given!r:.40}")

    # What the network sees

    @cached_property
    def source_length(self) -> int:
        return 2 * self.digits + 1

    @cached_property
    def target_length(self) -> int:
        ends = [OPERATORS[each](one, self.largest) for each in self.operators for one in (0, self.largest)]
        return max(len(str(end)) for end in ends)

    # Data

    def source_ids(self, operators: Integers, one: Integers, other: Integers) -> IdArray:
        """Ids of the operators (n,), and the numbers on either side of them (n,) → padded source ids (n, S)."""
        numbers = [digit_ids(each, self.digits, BLANK_ID) for each in (one, other)]
        return np.concatenate([operators.astype(np.int32)[:, None], *numbers], axis=1)

    def parts(self, sources: IdArray) -> tuple[Integers, Integers, Integers]:
        """Padded source ids (n, S) → what `source_ids` took."""
        digits = np.where(sources == BLANK_ID, 0, sources)[:, 1:].reshape(len(sources), 2, self.digits)
        numbers = digits @ 10 ** np.arange(self.digits - 1, -1, -1)  # (n, 2)
        return sources[:, 0].astype(np.int64), numbers[:, 0], numbers[:, 1]

    def sample_sources(self, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> IdArray:  # noqa: ARG002
        """n random expressions; the ids of the operators, then either number, each uniform."""
        one, other = rng.integers(0, self.largest + 1, size=(2, n))
        return self.source_ids(rng.choice(self._operator_ids, n), one, other)

    @cached_property
    def _operator_ids(self) -> Integers:
        return np.array([VOCABULARY.symbols.index(each) for each in self.operators])

    def answer(self, sources: IdArray) -> IdArray:
        operators, one, other = self.parts(sources)
        results = [compute(one, other) for compute in OPERATORS.values()]
        return self.number_ids(np.choose(operators - VOCABULARY.symbols.index("+"), results))

    @property
    def distinct_size(self) -> int:
        return len(self.operators) * (self.largest + 1) ** 2

    @property
    def domain_size(self) -> int:
        return self.distinct_size

    def distinct(self, rng: np.random.Generator, batch_size: int) -> Iterator[IdArray]:  # noqa: ARG002
        """Every expression once, in order."""
        for start in range(0, self.distinct_size, batch_size):
            number = np.arange(start, min(start + batch_size, self.distinct_size))
            number, other = np.divmod(number, self.largest + 1)
            place, one = np.divmod(number, self.largest + 1)
            yield self.source_ids(self._operator_ids[place], one, other)

    def keys(self, sources: IdArray) -> Keys:
        """The operator and its two numbers in either order: `3-10` is held out if and only if `10-3` is."""
        operators, one, other = self.parts(sources)
        low, high = np.minimum(one, other), np.maximum(one, other)
        keys: Keys = ((operators * (self.largest + 1) + low) * (self.largest + 1) + high).astype(np.uint64)
        return keys

    # Requests and answers

    def requests(self, sources: IdArray) -> list[Any]:
        parts = zip(*(part.tolist() for part in self.parts(sources)), strict=True)
        return [f"{one}{VOCABULARY.symbols[sign]}{other}" for sign, one, other in parts]

    def encode(self, sources: Sequence[Symbols]) -> IdArray:
        return VOCABULARY.encode([self.pad(str(source)) for source in sources])

    def pad(self, expression: str) -> str:
        """`"3-10"` → `"- 310"`."""
        one, sign, other = self._split(expression)
        return sign + one.rjust(self.digits) + other.rjust(self.digits)

    def _split(self, expression: str) -> tuple[str, str, str]:
        (sign,) = set(expression) & set(self.operators)
        return expression.partition(sign)

    def truth(self, symbols: Symbols) -> int:
        one, sign, other = self._split(str(symbols))
        return int(OPERATORS[sign](int(one), int(other)))

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        return self.number_fields("solution", "solutions")
