"""Expressions: a few small integers with operators between them, as text. What kinds that compute have in common.

Knows no network and no truth. It says which text is an expression, and which rule a text breaks that is none.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from seq2seq.problem import Field, Oracle, Problem, RuleBroken, kind_of, plural
from seq2seq.vocabulary import IdArray, Symbols, Vocabulary

BLANKS_ALLOWED = 4
"""A request may be this many times as long as the longest expression, blanks included."""
BLANK = " "
MINUS = "-"


class Expressions(Oracle):
    """Expressions of `min_terms` to `max_terms` integers from `smallest` to `largest`, joined by any of `operators`.

    `noun` is what a message calls one of the integers. Sources and targets have the same vocabulary.
    """

    min_terms: int
    max_terms: int
    smallest: int
    largest: int
    operators: str
    noun: ClassVar[str]
    vocabulary: ClassVar[Vocabulary]

    @property
    def source_vocabulary(self) -> Vocabulary:
        return self.vocabulary

    @property
    def target_vocabulary(self) -> Vocabulary:
        return self.vocabulary

    @cached_property
    def digits(self) -> int:
        """How many digits the largest term has."""
        return len(str(self.largest))

    @cached_property
    def longest_request(self) -> int:
        """The most characters a request may have, blanks included."""
        return BLANKS_ALLOWED * (self.max_terms * (self.digits + 1) - 1)

    def covers(self, other: Problem) -> bool:
        return (
            isinstance(other, type(self))
            and {*other.operators} <= {*self.operators}
            and self.min_terms <= other.min_terms <= other.max_terms <= self.max_terms
            and self.smallest <= other.smallest <= other.largest <= self.largest
        )

    def number_ids(self, numbers: npt.NDArray[np.int64]) -> IdArray:
        """Numbers (n,) → their padded target ids (n, T): a sign if they are negative, digits, blanks on the left."""
        ids = digit_ids(np.abs(numbers), self.target_length, self.target_vocabulary.padding_id)
        negative = np.flatnonzero(numbers < 0)
        if len(negative):
            first_digit = (ids[negative] != self.target_vocabulary.padding_id).argmax(axis=1)
            ids[negative, first_digit - 1] = self.target_vocabulary.symbols.index(MINUS)
        return ids

    def decode(self, targets: IdArray) -> list[Symbols]:
        return [text.strip(BLANK) for text in self.target_vocabulary.decode(targets)]

    def parse(self, value: object) -> str:
        """`" 10 + 6 "` → `"10+6"`. Raises `RuleBroken`."""
        if not isinstance(value, str):
            raise RuleBroken("text", f"an expression is text such as {self._example!r}, not {kind_of(value)}")
        if len(value) <= self.longest_request and self._accepted.fullmatch(value):
            expression = value.replace(BLANK, "")
            if self._takes_all_digits or all(
                self.smallest <= int(term) <= self.largest for term in self._between_terms.split(expression)
            ):
                return expression
        raise self._fault(value)

    @cached_property
    def input(self) -> Field:
        schema = {"type": "string", "maxLength": self.longest_request, "pattern": f"^{self._pattern}$"}
        terms = f"{self._count_of_terms} from {self.smallest} to {self.largest}"
        return Field(
            "expression", "expressions", schema, f"{terms}, joined by {self._operators}; in answers without blanks", str
        )

    def number_fields(self, name: str, names: str) -> tuple[Field, ...]:
        """An answer's fields: the number under this name, of which a batch has many, and what was written."""
        number = {"type": ["integer", "null"]}
        return (
            Field(name, names, number, "The number that the model wrote; null when it wrote none", number_of),
            Field("decoded", "decoded", {"type": "string"}, "What the model wrote", str),
        )

    # How a request is read

    @cached_property
    def _takes_all_digits(self) -> bool:
        """Whether the pattern alone keeps terms in range, as 0 to 99."""
        return self.smallest == 0 and self.largest == 10**self.digits - 1

    @property
    def _example(self) -> str:
        return self.operators[0].join(["10", "6", "7", "2"][: max(2, min(self.max_terms, 4))][: self.max_terms])

    @property
    def _pattern(self) -> str:
        more = ["", "[0-9]?"][self.digits - 1] if self.digits <= 2 else f"[0-9]{{0,{self.digits - 1}}}"
        term = rf"(?:0|[1-9]{more})"
        fewest, most = self.min_terms - 1, self.max_terms - 1
        count = f"{fewest}" if fewest == most else f"{fewest},{most}"
        return rf" *{term}(?: *{self._operator} *{term}){{{count}}} *"

    @property
    def _operator(self) -> str:
        """The pattern of an operator."""
        escaped = "".join(map(re.escape, self.operators))
        return escaped if len(self.operators) == 1 else f"[{escaped}]"

    @cached_property
    def _accepted(self) -> re.Pattern[str]:
        return re.compile(self._pattern)

    @cached_property
    def _between_terms(self) -> re.Pattern[str]:
        return re.compile(self._operator)

    def _fault(self, value: str) -> RuleBroken:
        """Why `value` is not accepted: the first fault that a reader would meet."""
        if len(value) > self.longest_request:
            return RuleBroken(
                "too_long", f"the expression has {len(value)} characters; at most {self.longest_request} are allowed"
            )
        for position, character in enumerate(value):
            if character not in f"0123456789{self.operators}{BLANK}":
                allowed = f"the digits 0 to 9, {', '.join(self.operators)} and blanks"
                return RuleBroken(
                    "character",
                    f"character {position + 1} is {character!a}; only {allowed} are allowed",
                    position=position,
                )
        if not value.strip(BLANK):
            return RuleBroken("empty", f"the expression is empty; write {self._count_of_terms}, as in {self._example}")
        start = 0
        parts = self._between_terms.split(value)
        for number, part in enumerate(parts, start=1):
            term = part.strip(BLANK)
            name = f"{self.noun} {number}"
            position = start + len(part) - len(part.lstrip(BLANK))
            start += len(part) + 1
            if not term:
                return RuleBroken(
                    "empty_term",
                    f"{name} is empty; write a number on each side of every {self._operators}",
                    position=position,
                )
            if BLANK in term:
                return RuleBroken(
                    "blank",
                    f"{name} has a blank inside, at character {position + term.index(BLANK) + 1};"
                    f" blanks may stand only around {self._operators} and at the ends",
                    position=position + term.index(BLANK),
                )
            if term[0] == "0" and len(term) > 1:
                return RuleBroken(
                    "leading_zero",
                    f"{name} is {term}; write it without leading zeros, as {term.lstrip('0') or 0}",
                    position=position,
                )
            if len(term) > self.digits or not self.smallest <= int(term) <= self.largest:
                return RuleBroken(
                    "range",
                    f"{name} is {term}; a {self.noun} is from {self.smallest} to {self.largest}",
                    position=position,
                )
        return RuleBroken("terms", f"{plural(len(parts), self.noun)}; write {self._count_of_terms}")

    @property
    def _operators(self) -> str:
        """The operators in words: `+`, or `+, - or *`."""
        others, last = ", ".join(self.operators[:-1]), self.operators[-1]
        return f"{others} or {last}" if others else last

    @property
    def _count_of_terms(self) -> str:
        if self.min_terms == self.max_terms:
            return plural(self.max_terms, self.noun)
        if self.min_terms + 1 == self.max_terms:
            return f"{self.min_terms} or {self.max_terms} {self.noun}s"
        return f"{self.min_terms} to {self.max_terms} {self.noun}s"


def number_of(written: Symbols) -> int | None:
    """`"-16"` → -16; None for what is no number."""
    text = str(written)
    return int(text) if text.removeprefix(MINUS).isdigit() else None


def digit_ids(numbers: npt.NDArray[np.int64], width: int, blank: int) -> IdArray:
    """Numbers (n,) → their digits' ids (n, width), on the left as many of `blank` as are needed."""
    powers = 10 ** np.arange(width - 1, -1, -1)  # (width,)
    quotients = numbers[:, None] // powers  # (n, width)
    ids = (quotients % 10).astype(np.int32)
    ids[:, :-1][quotients[:, :-1] == 0] = blank
    return ids
