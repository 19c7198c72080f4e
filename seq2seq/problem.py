"""The contract of a problem: everything that training and serving must agree on, in one object.

Knows no kind of problem by name; those are the modules of `seq2seq.problems`, one file a kind. Alphabet,
padding, lengths, limits and how a request is read come from here and from nowhere else, so the API's validation
and the training data cannot drift apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2seq.vocabulary import IdArray, Symbols, Vocabulary

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]
Pair = tuple[IdArray, IdArray]
"""Source ids (n, S) and target ids (n, T)."""

END_ID = 1
"""What ends a source and an answer in problems whose sequences have any length; 0 pads."""


class RuleBroken(ValueError):
    """A request's value that a problem does not accept: which rule it broke, where, and what would be right.

    `place` is the path inside the value (an item's index in a list, a field's name); `position` counts characters of a
    text from 0. Either is empty where the whole value is at fault.
    """

    def __init__(self, rule: str, message: str, *, place: tuple[int | str, ...] = (), position: int | None = None):
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.place = place
        self.position = position

    def within(self, name: str) -> RuleBroken:
        """The same of an object that holds the value in the field `name`."""
        return RuleBroken(self.rule, self.message, place=(name, *self.place), position=self.position)


class SpecError(ValueError):
    """A problem's spec from which no problem can be rebuilt."""


@dataclass(frozen=True)
class Field:
    """A value that a client sends or gets.

    name         what it is called in requests and answers; `plural` is what a batch calls many of them
    schema       JSON Schema: a text, an integer (perhaps null), or a list of integers
    value        symbols → the value: of what `parse` gave for an input, of what the model wrote for an output; None for
                 an option that need not be given
    """

    name: str
    plural: str
    schema: dict[str, Any]
    description: str
    value: Callable[[Symbols], Any]


class Tail(NamedTuple):
    """The last places of a source, if no answer depends on them.

    length    how many places
    symbols   ids that can stand there (n,)
    contents  what can stand there (n, length), each content once; None where that is too much to list, or depends on
              the places before
    """

    length: int
    symbols: IdArray
    contents: IdArray | None


@dataclass(frozen=True)
class Problem(ABC):
    """A sequence-to-sequence task, as training and serving must agree on it.

    Subclasses are frozen dataclasses whose fields are the spec. B or n is the batch, S the source length, T the
    target length.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Problem]]] = {}
    """Every kind whose module is loaded, by its name."""

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            cls.kinds[cls.kind] = cls

    # What the network sees --------------------------------------------------------------------------------

    @property
    @abstractmethod
    def source_vocabulary(self) -> Vocabulary: ...

    @property
    @abstractmethod
    def target_vocabulary(self) -> Vocabulary: ...

    @property
    @abstractmethod
    def source_length(self) -> int:
        """S, the length every source is padded to."""

    @property
    @abstractmethod
    def target_length(self) -> int:
        """T, the length every target is padded to; never shorter than the longest answer."""

    # Requests and answers ---------------------------------------------------------------------------------

    @abstractmethod
    def parse(self, value: object) -> Symbols:
        """A request's value → its symbols, unpadded, in their one canonical form. Raises `RuleBroken`.

        The value is that of the input. Where there are options, it can be an object that holds them beside the input.
        """

    @abstractmethod
    def requests(self, sources: IdArray) -> list[Any]:
        """Padded source ids (n, S) → the requests' values that `parse` and `encode` turn into them."""

    @abstractmethod
    def encode(self, sources: Sequence[Symbols]) -> IdArray:
        """What `parse` gave, n of them → padded source ids (n, S)."""

    @abstractmethod
    def decode(self, targets: IdArray) -> list[Symbols]:
        """Target ids (n, T) → the symbols that were written, padding dropped."""

    @property
    @abstractmethod
    def input(self) -> Field:
        """What a request holds. Its schema says what `parse` accepts."""

    @property
    def options(self) -> tuple[Field, ...]:
        """What a request can hold besides the input."""
        return ()

    def request(self, source: Symbols) -> dict[str, Any]:
        """What `parse` gave → the fields of its request: the input, and the options that have to be given."""
        request = {self.input.name: self.input.value(source)}
        for option in self.options:
            if (value := option.value(source)) is not None:
                request[option.name] = value
        return request

    def fields_of(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """A request's fields, if they are the input and some of the options. Raises `RuleBroken`."""
        if self.input.name not in request:
            raise RuleBroken("missing_field", f"the field {self.input.name} is missing")
        if len(request) > 1:
            known = [self.input.name, *(option.name for option in self.options)]
            for name in request:
                if name not in known:
                    raise RuleBroken("unknown_field", f'the field "{name:.40}" is unknown; send {" and ".join(known)}')
        return request

    @property
    @abstractmethod
    def outputs(self) -> tuple[Field, ...]:
        """What an answer holds, all of it from the symbols that the model wrote; the first one is the answer itself."""

    def covers(self, other: Problem) -> bool:
        """Whether all that `other` accepts is accepted here as well, and right answers to it are the same."""
        return self == other

    def render(self, symbols: Symbols) -> Any:
        """The symbols that a model wrote → the first output's value."""
        return self.outputs[0].value(symbols)

    @property
    def domain_size(self) -> int | None:
        """How many requests are acceptable; None if they are not to be counted."""
        return None

    # The spec ---------------------------------------------------------------------------------------------

    def spec(self) -> dict[str, Any]:
        """The problem as plain data, from which `seq2seq.problems.from_spec` rebuilds it."""
        return {"kind": self.kind, **{each.name: getattr(self, each.name) for each in fields(self)}}


@dataclass(frozen=True)
class Oracle(Problem):
    """A problem whose truth can be computed.

    Proofs, live quality and training on the fly need it. Serving does not, and no answer comes from it.
    """

    @abstractmethod
    def sample_sources(self, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> IdArray:
        """n random sources (n, S), each an acceptable request.

        `rare` is the share of them drawn so that answers which few requests have come more often; 0 is uniform.
        """

    @abstractmethod
    def answer(self, sources: IdArray) -> IdArray:
        """The truth: sources (n, S) → targets (n, T)."""

    @abstractmethod
    def distinct(self, rng: np.random.Generator, batch_size: int) -> Iterator[IdArray]:
        """Every distinct problem once, as batches of sources; what the answer does not depend on comes from `rng`."""

    @property
    @abstractmethod
    def distinct_size(self) -> int:
        """How many sources `distinct` gives."""

    @property
    @abstractmethod
    def domain_size(self) -> int:
        """How many requests are acceptable."""

    def counts(self, sources: IdArray) -> Counts:
        """How many requests each of these sources (n, S) of `distinct` stands for (n,)."""
        return np.full(len(sources), self.domain_size // self.distinct_size)

    @cached_property
    def tail(self) -> Tail:
        """The last places of a source, if no answer depends on them."""
        return Tail(0, np.zeros(0, dtype=np.int32), np.zeros((1, 0), dtype=np.int32))

    @abstractmethod
    def keys(self, sources: IdArray) -> Keys:
        """One number (n,) for what each answer depends on: equal for requests that are the same problem."""

    @abstractmethod
    def truth(self, symbols: Symbols) -> Any:
        """What `parse` gave → the first output's value in a right answer."""


def oracle(problem: Problem) -> Oracle:
    """The same problem, as one whose truth can be computed. Raises `TypeError` for any other."""
    if not isinstance(problem, Oracle):
        raise TypeError(f"the truth of the kind {problem.kind} cannot be computed")
    return problem


def kind_of(value: object) -> str:
    """What a JSON value is, in words for a message."""
    words = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list"}
    return words.get(type(value), "an object")


def plural(count: int, noun: str) -> str:
    """`1 term`, `2 terms`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
