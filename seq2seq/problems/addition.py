"""Addition: a sum of small numbers, read and written as text.

Knows nothing of networks. One request on its way to a network and back, two terms of up to 10:

    "3 + 10"  →  parse "3+10"  →  pad " 3+10"  →  ids [11, 3, 10, 1, 0]  →  …  →  ids [1, 3]  →  "13"  →  13
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from seq2seq.expressions import Expressions, digit_ids
from seq2seq.problem import Field, Keys
from seq2seq.vocabulary import IdArray, Symbols, characters

Padding = Literal["left", "term", "column"]
Terms = npt.NDArray[np.int64]
"""Terms (n, max_terms), right-aligned; ABSENT where an expression has fewer."""

ABSENT = -1
PLUS = 10
BLANK = 11
VOCABULARY = characters("0123456789+ ")
MOST_TERMS = 100
LARGEST_SUM = 2**63 - 1
"""Terms and sums are computed in 64 bits."""


@dataclass(frozen=True)
class Addition(Expressions):
    """Sums of `min_terms` to `max_terms` integers, each from `smallest` to `largest`.

    `padding` says where blanks fill an expression up to the source length, for three terms up to 99:
    `left` gives `"    10+6"`, the whole text to the right; `term` gives `"   10+ 6"`, each term in its own columns;
    `column` gives `"  10 6"`, the same without the `+`, which the columns make needless.
    """

    min_terms: int
    max_terms: int
    largest: int
    padding: Padding
    smallest: int = 0

    kind: ClassVar[str] = "addition"
    operators = "+"
    noun = "term"
    vocabulary = VOCABULARY

    def __post_init__(self) -> None:
        for name in ("min_terms", "max_terms", "largest", "smallest"):
            if type(getattr(self, name)) is not int:
                raise TypeError(f"{name} must be an integer, not {getattr(self, name)!r}")
        if not 1 <= self.min_terms <= self.max_terms:
            raise ValueError(f"terms must be at least 1 and ordered, not {self.min_terms} to {self.max_terms}")
        if self.max_terms > MOST_TERMS:
            raise ValueError(f"there may be {MOST_TERMS} terms at most, not {self.max_terms}")
        if not 0 <= self.smallest <= self.largest:
            raise ValueError(f"a term's range must be non-negative and ordered, not {self.smallest} to {self.largest}")
        if self.max_terms * self.largest > LARGEST_SUM:
            raise ValueError(f"largest is too large: a sum of {self.max_terms} terms must fit into 64 bits")
        if self.padding not in get_args(Padding):
            raise ValueError(f"padding must be one of {', '.join(get_args(Padding))}, not {self.padding!r}")

    # What the network sees

    @cached_property
    def source_length(self) -> int:
        return self.max_terms * (self.digits + len(self._plus)) - len(self._plus)

    @property
    def _plus(self) -> str:
        """What stands between two terms in a source."""
        return "" if self.padding == "column" else "+"

    @cached_property
    def target_length(self) -> int:
        return len(str(self.max_terms * self.largest))

    # Data, step by step: terms → strings → ids; `Vocabulary.one_hot` makes the last step where it is wanted

    def sample_terms(self, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> Terms:
        """n random expressions' terms (n, max_terms): the number of terms uniform, then each term uniform.

        A share of `rare` has its digits drawn from windows of 0 to 9, their widths log-uniform. Half of the windows lie
        at either end. In half of the expressions all terms have the same window for their units, in the others each has
        its own; so for the tens, and so on. Few expressions are near the ends, have large carries, or small terms among
        large ones. These come more often so. In place of a term out of range, the uniform one stays.
        """
        windowed = self._windowed(rng, n) if rare else np.full((n, self.max_terms), ABSENT)
        uniform = rng.integers(self.smallest, self.largest + 1, size=windowed.shape)
        is_rare = (rng.random((n, 1)) < rare) & (self.smallest <= windowed) & (windowed <= self.largest)
        terms = np.where(is_rare, windowed, uniform)
        counts = rng.integers(self.min_terms, self.max_terms + 1, size=(n, 1))
        terms[np.arange(self.max_terms) < self.max_terms - counts] = ABSENT
        return terms

    def _windowed(self, rng: np.random.Generator, n: int) -> Terms:
        """Terms (n, max_terms) whose digits are drawn from windows; some may be out of range."""
        windows = rng.random((2, self.digits, n, self.max_terms))
        shared = rng.random((self.digits, n, 1)) < 0.5
        widths, places = np.where(shared, windows[..., :1], windows)
        width = (10**widths).astype(np.int64)
        lowest = np.rint(np.clip(places * 2 - 0.5, 0, 1) * (10 - width)).astype(np.int64)
        digits = rng.integers(lowest, lowest + width)  # (digits, n, max_terms), units first
        return np.tensordot(10 ** np.arange(self.digits), digits, axes=1)

    def source_ids(self, terms: Terms) -> IdArray:
        """Terms (n, max_terms) → padded source ids (n, S)."""
        columns = []
        for place in range(self.max_terms):
            term = terms[:, place]
            present = term != ABSENT
            columns.append(digit_ids(np.maximum(term, 0), self.digits, BLANK))
            columns[-1][~present] = BLANK
            if self._plus and place + 1 < self.max_terms:
                columns.append(np.where(present, PLUS, BLANK).astype(np.int32)[:, None])
        ids = np.concatenate(columns, axis=1)  # (n, S)
        if self.padding == "left":
            blanks_first = np.argsort(ids != BLANK, axis=1, kind="stable")
            ids = np.take_along_axis(ids, blanks_first, axis=1)
        return ids

    def target_ids(self, sums: npt.NDArray[np.int64]) -> IdArray:
        """Sums (n,) → padded target ids (n, T)."""
        return self.number_ids(sums)

    def terms(self, sources: IdArray) -> Terms:
        """Padded source ids (n, S) → terms (n, max_terms): the inverse of `source_ids`."""
        if self.padding == "column":
            digits = sources.reshape(len(sources), self.max_terms, self.digits)  # (n, max_terms, digits)
            numbers = np.where(digits == BLANK, 0, digits) @ 10 ** np.arange(self.digits - 1, -1, -1)
            return np.where(digits[:, :, -1] == BLANK, ABSENT, numbers)
        terms = np.full((len(sources), self.max_terms), ABSENT, dtype=np.int64)
        rows = np.arange(len(sources))
        place = self.max_terms - 1 - (sources == PLUS).sum(axis=1)  # (n,) the column of each row's first term
        terms[rows, place] = 0
        for column in sources.T:
            plus = column == PLUS
            place = place + plus
            terms[rows[plus], place[plus]] = 0
            digit = column < PLUS
            terms[rows[digit], place[digit]] = terms[rows[digit], place[digit]] * 10 + column[digit]
        return terms

    def sample_sources(self, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> IdArray:
        return self.source_ids(self.sample_terms(rng, n, rare=rare))

    def answer(self, sources: IdArray) -> IdArray:
        terms = self.terms(sources)
        return self.target_ids(np.where(terms == ABSENT, 0, terms).sum(axis=1))

    @cached_property
    def distinct_size(self) -> int:
        values = self.largest - self.smallest + 1
        return sum(values**count for count in range(self.min_terms, self.max_terms + 1))

    @property
    def domain_size(self) -> int:
        return self.distinct_size

    def distinct(self, rng: np.random.Generator, batch_size: int) -> Iterator[IdArray]:  # noqa: ARG002
        """Every expression once, in order; nothing about a sum is left to `rng`."""
        values = self.largest - self.smallest + 1
        for count in range(self.min_terms, self.max_terms + 1):
            for start in range(0, values**count, batch_size):
                number = np.arange(start, min(start + batch_size, values**count))
                terms = np.full((len(number), self.max_terms), ABSENT, dtype=np.int64)
                for place in range(self.max_terms - 1, self.max_terms - 1 - count, -1):
                    number, term = np.divmod(number, values)
                    terms[:, place] = term + self.smallest
                yield self.source_ids(terms)

    def keys(self, sources: IdArray) -> Keys:
        """A sum does not depend on the order of its terms, so neither does its key."""
        terms = np.sort(self.terms(sources), axis=1) + 1  # ABSENT becomes 0
        keys = np.zeros(len(terms), dtype=np.uint64)
        for column in terms.T:
            keys = keys * np.uint64(self.largest + 2) + column.astype(np.uint64)
        return keys

    # Requests and answers

    def requests(self, sources: IdArray) -> list[Any]:
        if self.padding == "column":
            return ["+".join(str(term) for term in row if term != ABSENT) for row in self.terms(sources).tolist()]
        return [text.replace(" ", "") for text in VOCABULARY.decode(sources)]

    def encode(self, sources: Sequence[Symbols]) -> IdArray:
        return VOCABULARY.encode([self.pad(str(source)) for source in sources])

    def pad(self, expression: str) -> str:
        """`"10+6"` → the source length."""
        if self.padding == "left":
            return expression.rjust(self.source_length)
        terms = expression.split("+")
        return self._forms[len(terms)] % tuple(terms)

    @cached_property
    def _forms(self) -> list[str]:
        """How so many terms are padded: `   %2s+%2s`. A format takes a quarter of `rjust`'s time."""
        forms = [self._plus.join([f"%{self.digits}s"] * count) for count in range(self.max_terms + 1)]
        lengths = [len(form % (("",) * count)) for count, form in enumerate(forms)]
        return [" " * (self.source_length - length) + form for form, length in zip(forms, lengths, strict=True)]

    def truth(self, symbols: Symbols) -> int:
        return sum(map(int, str(symbols).split("+")))

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        return self.number_fields("sum", "sums")
