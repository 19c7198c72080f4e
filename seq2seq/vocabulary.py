"""Vocabularies: which symbols there are, and which id each one has.

Knows nothing of problems. An id is a symbol's place in the vocabulary, so that `0 1 … 9 + space` gives:

    "3+10" padded to " 3+10"  →  ids [11, 3, 10, 1, 0]  →  one-hot, five rows of twelve  →  and back by arg-max
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

IdArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Symbol = str | int
Symbols = str | Sequence[int] | Sequence[str]
"""One sequence of symbols: text, one ASCII character a symbol, or a sequence of integers or of tokens."""

UTF_32 = f"utf-32-{sys.byteorder[0]}e"
"""How text is stored as ids are: a 32-bit integer for each code point."""

NO_ID = "\uffff"


class UnknownSymbol(ValueError):
    """A text holds something that its vocabulary does not."""


@dataclass(frozen=True)
class Vocabulary:
    """An ordered set of symbols, all ASCII characters, or integers, or tokens, and the one that pads.

    Only texts are encoded: an integer's id is the integer itself, see `integers`; tokens are their problem's business.
    Raises `ValueError` when made of symbols that repeat, have texts before integers, or leave out the padding.
    """

    symbols: tuple[Symbol, ...]
    padding: Symbol

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"a vocabulary's symbols must differ: {self.symbols!r}")
        kinds = [next((kind for kind in (int, str) if isinstance(each, kind)), None) for each in self.symbols]
        if kinds != [int] * kinds.count(int) + [str] * kinds.count(str):
            raise ValueError(f"symbols must be integers, texts, or integers and then texts: {self.symbols!r}")
        if self.padding not in self.symbols:
            raise ValueError(f"the padding symbol {self.padding!r} is not in the vocabulary {self.symbols!r}")

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def is_text(self) -> bool:
        """Whether each symbol is one ASCII character."""
        return all(isinstance(s, str) and len(s) == 1 and s.isascii() for s in self.symbols)

    @cached_property
    def padding_id(self) -> int:
        return self.symbols.index(self.padding)

    def encode(self, texts: Sequence[str]) -> IdArray:
        """Texts of one length S → ids (n, S). Raises `UnknownSymbol` naming the first offender.

        `str.translate` gives the characters whose code points are the ids, so no array is computed with.
        """
        length = len(texts[0]) if texts else 0
        if any(len(text) != length for text in texts):
            raise UnknownSymbol(f"sequences must be of one length, not {sorted(set(map(len, texts)))}")
        text = "".join(texts)
        ids = text.translate(self._ids_as_text)
        if not text.isascii() or NO_ID in ids:
            unknown = next(character for character in text if character not in self.symbols)
            raise UnknownSymbol(f"{unknown!r} is not in the vocabulary")
        return np.frombuffer(ids.encode(UTF_32), dtype=np.int32).reshape(len(texts), length)

    def decode(self, ids: IdArray) -> list[str]:
        """ids (n, S) → n texts, padding kept."""
        length = ids.shape[1]
        text = ids.astype(np.int32, copy=False).tobytes().decode(UTF_32).translate(self._symbols_as_text)
        return [text[start : start + length] for start in range(0, len(text), length)]

    def one_hot(self, ids: IdArray) -> FloatArray:
        """ids (…) → one-hot vectors (…, V)."""
        return np.eye(len(self), dtype=np.float32)[ids]

    def as_data(self) -> dict[str, Any]:
        """The vocabulary as plain data, in full."""
        return {"symbols": list(self.symbols), "padding": self.padding}

    @cached_property
    def _ids_as_text(self) -> str:
        """At each ASCII character's place the character whose code point is its id."""
        ids = [NO_ID] * 128
        for place, symbol in enumerate(self.symbols):
            ids[ord(str(symbol))] = chr(place)
        return "".join(ids)

    @cached_property
    def _symbols_as_text(self) -> str:
        return "".join(map(str, self.symbols))


def characters(symbols: Iterable[str], padding: str = " ") -> Vocabulary:
    """A vocabulary of characters, in the order given."""
    return Vocabulary(tuple(symbols), padding)


def integers(cardinality: int, *tokens: str) -> Vocabulary:
    """The integers from 1 to `cardinality`, and 0, which pads and starts a sequence, each its own id; then tokens."""
    return Vocabulary((*range(cardinality + 1), *tokens), 0)
