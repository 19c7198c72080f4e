"""Pairs: texts to texts, as a file of pairs shows them. No truth can be computed, so there is no `Oracle`.

Knows nothing of networks or of how a file is read. One request on its way to a network and back, from spelling to
sound:

    " Cat"  →  tokens c a t  →  ids [4, 2, 21, 1], 1 for the end  →  …  →  ids [12, 3, 30, 1]  →  "K AE T"
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from seq2seq.acceptor import Acceptor
from seq2seq.problem import END_ID, Field, Problem, RuleBroken, kind_of, plural
from seq2seq.vocabulary import IdArray, Symbols, Vocabulary

Tokens = Literal["chars", "words"]
Normalization = Literal["NFC", "NFD", "NFKC", "NFKD", "none"]

PADDING, END = "", "\x03"
"""What fills a batch, and starts an answer; and what ends a source or an answer. No token of a text is like them."""
PADDING_ID = 0

MOST_TOKENS = 1_000
MOST_SYMBOLS = 100_000
LENIENCE = 8
"""A request may have this many times as many characters as its tokens need: blanks, and marks to be composed."""
MOST_IN_PATTERN = 200
"""A larger vocabulary is not written into the schema's pattern."""


@dataclass(frozen=True)
class Pairs(Problem):
    """Texts of up to `longest_source` tokens; answers have up to `longest_target`.

    source_tokens  what a token of a source is: a character, or a word; target_tokens of a target
    source_symbols the tokens that a source may hold, sorted; target_symbols those of a target
    normalization  the Unicode form that a text is brought into
    fold_case      whether a source's case is folded
    domain         the states of the automaton that accepts all sources there are, if the pairs were all there are;
                   a source that is not among them is refused (see `seq2seq.acceptor`)
    """

    source_tokens: Tokens
    target_tokens: Tokens
    source_symbols: tuple[str, ...]
    target_symbols: tuple[str, ...]
    longest_source: int
    longest_target: int
    normalization: Normalization = "NFC"
    fold_case: bool = False
    domain: tuple[tuple[int, ...], ...] | None = None

    kind: ClassVar[str] = "pairs"

    def __post_init__(self) -> None:
        for side in ("source", "target"):
            tokens, symbols = getattr(self, f"{side}_tokens"), tuple(getattr(self, f"{side}_symbols"))
            longest = getattr(self, f"longest_{side}")
            object.__setattr__(self, f"{side}_symbols", symbols)  # a list, if it comes from a manifest
            if tokens not in get_args(Tokens):
                raise ValueError(f"{side}_tokens are {' or '.join(get_args(Tokens))}, not {tokens!r:.60}")
            if not 1 <= len(symbols) <= MOST_SYMBOLS or list(symbols) != sorted(set(symbols)):
                raise ValueError(f"{side}_symbols are 1 to {MOST_SYMBOLS:,} different ones, sorted")
            for symbol in symbols:
                if not _is_token(symbol, tokens):
                    raise ValueError(f"{side}_symbols has {symbol!r:.60}, which is no token of {tokens}")
            if type(longest) is not int or not 1 <= longest <= MOST_TOKENS:
                raise ValueError(f"longest_{side} is from 1 to {MOST_TOKENS:,}, not {longest!r:.60}")
        if self.normalization not in get_args(Normalization):
            raise ValueError(f"normalization is one of {', '.join(get_args(Normalization))}")
        if type(self.fold_case) is not bool:
            raise TypeError(f"fold_case is true or false, not {self.fold_case!r:.60}")
        if self.domain is not None:
            object.__setattr__(self, "domain", tuple(map(tuple, self.domain)))
            acceptor = Acceptor(self.domain)
            if not acceptor.symbols <= set(self._source_ids.values()) or acceptor.longest != self.longest_source:
                raise ValueError("domain accepts other sources than source_symbols and longest_source allow")

    def spec(self) -> dict[str, Any]:
        domain = None if self.domain is None else list(map(list, self.domain))
        symbols = {side: list(getattr(self, side)) for side in ("source_symbols", "target_symbols")}
        return {**super().spec(), **symbols, "domain": domain}

    # What the network sees

    @cached_property
    def source_vocabulary(self) -> Vocabulary:
        return Vocabulary((PADDING, END, *self.source_symbols), PADDING)

    @cached_property
    def target_vocabulary(self) -> Vocabulary:
        return Vocabulary((PADDING, END, *self.target_symbols), PADDING)

    @property
    def source_length(self) -> int:
        return self.longest_source + 1

    @property
    def target_length(self) -> int:
        return self.longest_target + 1

    @cached_property
    def acceptor(self) -> Acceptor | None:
        """Accepts the ids of every source there is; None if any text may be a source."""
        return None if self.domain is None else Acceptor(self.domain)

    @property
    def domain_size(self) -> int | None:
        return None if self.acceptor is None else self.acceptor.size

    # Requests and answers

    def parse(self, value: object) -> tuple[str, ...]:
        """A text → its tokens. Raises `RuleBroken`."""
        if not isinstance(value, str):
            raise RuleBroken("text", f"a source is text, not {kind_of(value)}")
        if len(value) > (most := LENIENCE * self.longest_source * max(map(len, self.source_symbols))):
            raise RuleBroken("length", f"the source has {len(value):,} characters; up to {most:,} are read")
        tokens = self.tokens(value)
        unit = "character" if self.source_tokens == "chars" else "word"
        if not tokens:
            raise RuleBroken("empty", f"the source is empty; it needs 1 to {plural(self.longest_source, unit)}")
        for place, token in enumerate(tokens):
            if token not in self._source_ids:
                raise RuleBroken(
                    "symbol",
                    f"{unit} {place + 1} is {token!r:.60}, which the model does not know",
                    position=self._position(value, place),
                )
        if len(tokens) > self.longest_source:
            raise RuleBroken("length", f"the source has {plural(len(tokens), unit)}; the most is {self.longest_source}")
        if self.acceptor is not None:
            ids = [self._source_ids[token] for token in tokens]
            if (reached := self.acceptor.reach(ids)) < len(ids):
                fault = f"{unit} {reached + 1} is {tokens[reached]!r:.60}, and no source of the model goes on so"
                raise RuleBroken("domain", fault, position=self._position(value, reached))
            if reached == len(ids):
                raise RuleBroken("domain", "the source ends here, and no source of the model does", position=len(value))
        return tokens

    def tokens(self, text: str) -> tuple[str, ...]:
        """A source's tokens, once it is normalised."""
        return tokens_of(text, self.source_tokens, self.normalization, fold_case=self.fold_case)

    def _position(self, text: str, place: int) -> int:
        """Where in a text the token with this number begins: normalising may change how many characters there are."""
        after = "x" if self.source_tokens == "chars" else ""  # keeps a blank at the end from being cut off
        ends = range(1, len(text))
        return bisect_left(ends, place + len(after) + 1, key=lambda end: len(self.tokens(text[:end] + after)))

    def requests(self, sources: IdArray) -> list[Any]:
        return [self._join(row, self.source_tokens) for row in self._cut(sources, self.source_vocabulary)]

    def encode(self, sources: Sequence[Symbols]) -> IdArray:
        """What `parse` gave, n of them → source ids (n, S), S being that of the longest of them and its end."""
        return padded([self.source_ids(source) for source in sources])

    def source_ids(self, source: Symbols) -> list[int]:
        """A source's tokens → their ids and the end's."""
        return [*(self._source_ids[str(token)] for token in source), END_ID]

    def target_ids(self, target: Symbols) -> list[int]:
        """A target's tokens → their ids and the end's."""
        return [*(self._target_ids[str(token)] for token in target), END_ID]

    def covers(self, other: Problem) -> bool:
        """The same for texts that are read and written alike; what is right is up to the pairs."""
        return (
            isinstance(other, Pairs)
            and (self.source_tokens, self.target_tokens) == (other.source_tokens, other.target_tokens)
            and (self.normalization, self.fold_case) == (other.normalization, other.fold_case)
            and {*other.source_symbols} <= {*self.source_symbols}
            and other.longest_source <= self.longest_source
            and self.domain in (None, other.domain)
        )

    def decode(self, targets: IdArray) -> list[Symbols]:
        """Target ids (n, T) → the tokens before the end."""
        return self._cut(targets, self.target_vocabulary)

    @cached_property
    def input(self) -> Field:
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        symbols = self.source_symbols
        if self.source_tokens == "chars":
            schema["maxLength"] = self.longest_source
        if len(symbols) <= MOST_IN_PATTERN:
            if self.fold_case:
                symbols = tuple(sorted({form for each in symbols for form in (each, each.upper()) if len(form) == 1}))
            one = "|".join(map(_escaped, symbols))
            most = self.longest_source - 1
            apart = "" if self.source_tokens == "chars" else " "
            schema["pattern"] = f"^(?:{one})(?:{apart}(?:{one})){{0,{most}}}$"
        return Field(
            "source", "sources", schema, "The text to read", lambda tokens: self._join(tokens, self.source_tokens)
        )

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        schema = {"type": "string"}
        return (
            Field(
                "target",
                "targets",
                schema,
                "What the model wrote",
                lambda tokens: self._join(tokens, self.target_tokens),
            ),
        )

    @cached_property
    def _source_ids(self) -> dict[str, int]:
        return {symbol: place for place, symbol in enumerate(self.source_symbols, END_ID + 1)}

    @cached_property
    def _target_ids(self) -> dict[str, int]:
        return {symbol: place for place, symbol in enumerate(self.target_symbols, END_ID + 1)}

    def _cut(self, ids: IdArray, vocabulary: Vocabulary) -> list[Symbols]:
        """ids (n, T) → the tokens before the end of each; padding is none, wherever a network writes it."""
        found: list[Symbols] = []
        for row in ids.tolist():
            end = row.index(END_ID) if END_ID in row else len(row)
            found.append([str(vocabulary.symbols[place]) for place in row[:end] if place != PADDING_ID])
        return found

    @staticmethod
    def _join(tokens: Symbols, unit: Tokens) -> str:
        return ("" if unit == "chars" else " ").join(map(str, tokens))


def tokens_of(text: str, unit: Tokens, normalization: Normalization, *, fold_case: bool = False) -> tuple[str, ...]:
    """A text's tokens: its characters less the blanks around them, or its words."""
    if normalization != "none":
        text = unicodedata.normalize(normalization, text)
        if fold_case:  # folding may undo the form
            text = unicodedata.normalize(normalization, text.casefold())
    elif fold_case:
        text = text.casefold()
    return tuple(text.strip()) if unit == "chars" else tuple(text.split())


def padded(rows: Sequence[Sequence[int]]) -> IdArray:
    """Rows of ids → an array (n, S), as wide as the longest of them."""
    longest = max(map(len, rows), default=0)
    filled = [[*row, *[PADDING_ID] * (longest - len(row))] for row in rows]
    return np.array(filled, dtype=np.int32).reshape(len(rows), longest)


def _is_token(symbol: object, unit: Tokens) -> bool:
    """Whether a symbol is one character, or a word, that a text can hold."""
    if not isinstance(symbol, str) or not symbol or (unit == "chars" and len(symbol) > 1):
        return False
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in symbol):
        return False
    return unit == "chars" or not any(map(str.isspace, symbol))


def _escaped(symbol: str) -> str:
    """A symbol in a pattern that JSON Schema's dialect reads: only what has a meaning there is escaped."""
    return re.sub(r"([\\^$.|?*+()\[\]{}/-])", r"\\\1", symbol)
