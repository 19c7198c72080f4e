"""Reads a file of pairs: what it holds, what is wrong with it and in which line, and how it is split.

Knows nothing of Keras. Four formats are read: TSV, CSV, JSON Lines, and the lexicons of the speech tools, which have a
word and its phonemes in a line. A source may come in several lines; each of its targets counts as right.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
import unicodedata
from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal

from seq2seq.acceptor import Acceptor
from seq2seq.problem import END_ID
from seq2seq.problems.pairs import MOST_SYMBOLS, MOST_TOKENS, Normalization, Pairs, Tokens, tokens_of

Format = Literal["tsv", "csv", "jsonl", "lexicon"]
SUFFIXES: dict[str, Format] = {
    ".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".dict": "lexicon", ".lex": "lexicon",
}  # fmt: skip
HEADER = ("source", "target")
"""A first line that says this is no pair."""

COMMENT = ";;;"
"""A line of a lexicon that begins so says nothing."""
ALTERNATIVE = re.compile(r"\(\d+\)$")
"""How a lexicon marks another pronunciation of a word: `read(2)`."""

LOOKED_AT = 1_000
"""From how many pairs the kind of tokens is guessed."""
FEW_WORDS = 3.0
"""A side whose texts have fewer words, in the mean, is read as characters."""
LONGEST_LINE = 1_000_000

TEST, VALIDATION = 26, 39
"""The first byte of a source's SHA-256 decides: below the one it tests, below the other it validates (of 256)."""
HELD_OUT, HELD_OUT_VALIDATION = 128, 141
"""The same where the file is the whole domain: half is never trained on, and the rest has its own validation."""
FEWEST_OF_A_LENGTH = 50
"""If fewer sources of a whole domain, and fewer than 1% of all, have a length, all of them are trained on."""
FEWEST = 5
"""A part of a small file gets so many sources, or a quarter of them, if the first byte leaves it fewer."""

Split = Literal["train", "validation", "test"]
Text = tuple[str, ...]


class PairsError(Exception):
    """A file of pairs that cannot be used. The message says which line, what is wrong, and what would be right."""


@dataclass(frozen=True)
class Reading:
    """How a file is to be read. Raises `PairsError` where it cannot be read so.

    format   None to tell by its name, or by its first line
    columns  the source's and the target's, by name or number, counted from 1
    tokens   of source and target; None to guess
    longest  how many tokens a source or a target may have
    swap     whether source and target change places
    """

    format: Format | None = None
    columns: tuple[str, str] | None = None
    source_tokens: Tokens | None = None
    target_tokens: Tokens | None = None
    normalization: Normalization = "NFC"
    fold_case: bool = False
    longest: int = 100
    swap: bool = False

    def as_data(self) -> dict[str, Any]:
        """The reading as plain data, less the format, which is another in another file of the same pairs."""
        fields = {key: value for key, value in vars(self).items() if key != "format"}
        return {**fields, "columns": self.columns and list(self.columns)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Reading:
        """The reading that `as_data` gave. Raises `TypeError`."""
        columns = data.get("columns")
        return cls(**{**data, "columns": columns and tuple(columns)})

    def __post_init__(self) -> None:
        if not 1 <= self.longest <= MOST_TOKENS:
            raise PairsError(f"--longest is from 1 to {MOST_TOKENS:,}, not {self.longest:,}")
        if self.columns is not None and "0" in self.columns:
            raise PairsError("columns are counted from 1")


@dataclass
class Table:
    """The pairs of a file: for each source its targets, in the order of their first lines.

    lines       how many pairs were read
    duplicates  how many of these were there before
    """

    name: str
    source_tokens: Tokens
    target_tokens: Tokens
    targets: dict[Text, list[Text]] = field(default_factory=dict)
    lines: int = 0

    @property
    def pairs(self) -> int:
        return sum(map(len, self.targets.values()))

    @property
    def duplicates(self) -> int:
        return self.lines - self.pairs

    @property
    def contradictions(self) -> int:
        """How many sources have several targets."""
        return sum(len(targets) > 1 for targets in self.targets.values())


def read(path: str, reading: Reading) -> Table:
    """The pairs of a file; `-` is standard input. Raises `PairsError`."""
    name = "standard input" if path == "-" else path
    with _named(name), _opened(path) as file:
        lines = _lines(file, name)
        first = list(islice(lines, LOOKED_AT))
        form = _format_of(path, first, reading)
        texts = _swapped(_rows(chain(first, lines), reading, form, name), swap=reading.swap)
        looked_at = list(islice(texts, LOOKED_AT))
        guesses = [_guessed(source for _, source, _ in looked_at), _guessed(target for _, _, target in looked_at)]
        if form == "lexicon":
            guesses = ["words", "chars"] if reading.swap else ["chars", "words"]
        table = Table(name, reading.source_tokens or guesses[0], reading.target_tokens or guesses[1])
        for line, source, target in chain(looked_at, texts):
            _add(table, reading, line, source, target)
    if not table.targets:
        raise PairsError(f"{name} holds no pair; a line holds a source and a target")
    for known, found in table.targets.items():
        table.targets[known] = list(dict.fromkeys(found))
    return table


def _add(table: Table, reading: Reading, line: int, source: str, target: str) -> None:
    pair = []
    for side, text, unit, fold in (
        ("source", source, table.source_tokens, reading.fold_case),
        ("target", target, table.target_tokens, False),
    ):
        tokens = tokens_of(text, unit, reading.normalization, fold_case=fold)
        if not tokens:
            raise PairsError(f"{table.name}, line {line:,}: the {side} is empty")
        if len(tokens) > reading.longest:
            unit_name = "characters" if unit == "chars" else "words"
            more = f", or allow more by --longest {len(tokens)}" if len(tokens) <= MOST_TOKENS else ""
            raise PairsError(
                f"{table.name}, line {line:,}: the {side} has {len(tokens):,} {unit_name}, and {reading.longest:,} are"
                f" allowed; drop the line{more}"
            )
        allowed = "\t" if unit == "words" else ""
        if bad := next((each for each in text.strip() if _is_control(each) and each not in allowed), None):
            raise PairsError(f"{table.name}, line {line:,}: the {side} holds the control character {bad!r}")
        pair.append(tuple(map(sys.intern, tokens)))
    table.lines += 1
    table.targets.setdefault(pair[0], []).append(pair[1])


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def problem_of(tables: Sequence[Table], reading: Reading, *, complete: bool) -> Pairs:
    """The problem that these pairs are examples of: their tokens and lengths, and their sources if they are all.

    Raises `PairsError`.
    """
    first = tables[0]
    sources = [source for table in tables for source in table.targets]
    targets = [target for table in tables for each in table.targets.values() for target in each]
    symbols = [tuple(sorted({token for text in texts for token in text})) for texts in (sources, targets)]
    for side, found in zip(("source", "target"), symbols, strict=True):
        if len(found) > MOST_SYMBOLS:
            raise PairsError(
                f"{first.name} has {len(found):,} different {side} tokens; the most is {MOST_SYMBOLS:,}. Try"
                f" --{side}-tokens chars"
            )
    domain = None
    if complete:
        if first.contradictions:
            twice, several = next((source, each) for source, each in first.targets.items() if len(each) > 1)
            raise PairsError(
                f"{first.name}: --complete needs one target for each source, but"
                f" {_shown(twice, first.source_tokens)!r} has {len(several)}:"
                f" {', '.join(repr(_shown(each, first.target_tokens)) for each in several):.200}"
            )
        ids = {symbol: place for place, symbol in enumerate(symbols[0], END_ID + 1)}
        domain = Acceptor.of(sorted([ids[token] for token in source] for source in first.targets)).states
    return Pairs(
        first.source_tokens,
        first.target_tokens,
        symbols[0],
        symbols[1],
        max(map(len, sources)),
        max(map(len, targets)),
        reading.normalization,
        reading.fold_case,
        domain,
    )


Parts = dict[Split, dict[Text, list[Text]]]
"""The sources of each part, with their targets."""


def split(table: Table, others: Mapping[Split, Table] = MappingProxyType({}), *, complete: bool = False) -> Parts:
    """The parts of a file; those that have a file of their own, among `others`, are that.

    Raises `PairsError` where there are too few sources, or where a source is in two parts.
    """
    cut_off: list[Split] = [part for part in ("test", "validation") if part not in others]
    if len(table.targets) <= len(cut_off):
        raise PairsError(
            f"{table.name} has too few different sources, {len(table.targets)}; {len(cut_off) + 1} are the least, one"
            f" each for {', '.join([*cut_off, 'training'])}"
        )
    parts: Parts = {"train": {}, "validation": {}, "test": {}}
    for source, part in _divided(table, cut_off, complete=complete):
        parts[part][source] = table.targets[source]
    if complete:
        _show_what_is_rare(parts)
        if empty := [part for part in cut_off if not parts[part]]:
            raise PairsError(
                f"{table.name}: every source that was held out has a token or a length of its own, so all are trained"
                f" on, and none is left for {empty[0]}"
            )
    for given, other in others.items():
        if twice := next((source for source in other.targets if source in table.targets), None):
            raise PairsError(
                f"{other.name}: {_shown(twice, other.source_tokens)!r} is in {table.name} as well; no source may be in"
                " both"
            )
        parts[given] = other.targets
    if {"validation", "test"} <= others.keys() and (
        twice := next(iter(parts["validation"].keys() & parts["test"]), None)
    ):
        raise PairsError(
            f"{others['test'].name}: {_shown(twice, table.source_tokens)!r} is in {others['validation'].name} too"
        )
    for other in others.values():
        _check_tokens(parts["train"], table.name, other)
    return parts


def _check_tokens(trained_on: Mapping[Text, Sequence[Text]], name: str, other: Table) -> None:
    """Check that a file to validate or to test with has no token that is never trained on. Raises `PairsError`."""
    known = {token for source in trained_on for token in source}
    written = {token for targets in trained_on.values() for target in targets for token in target}
    for source, targets in other.targets.items():
        for side, tokens, seen in (("source", source, known), *(("target", each, written) for each in targets)):
            if unknown := next((token for token in tokens if token not in seen), None):
                raise PairsError(
                    f"{other.name}: the source {_shown(source, other.source_tokens)!r} has the {side} token"
                    f" {unknown!r}, which nothing that is trained on has; add pairs with it to {name}, or drop this one"
                )


def _show_what_is_rare(parts: Parts) -> None:
    """Train on a held-out source after all if nothing else shows what it has: a token, or a length that few have.

    `zero`, say, names one number only, and ten of a million numbers have one digit.
    """
    lengths = Counter(len(source) for part in parts.values() for source in part)
    least = min(FEWEST_OF_A_LENGTH, lengths.total() // 100)
    known: set[tuple[str, str]] = set()
    for part in (parts["train"], parts["validation"], parts["test"]):
        for source in sorted(part):
            shown = {("source", token) for token in source}
            shown |= {("target", token) for target in part[source] for token in target}
            if part is parts["train"]:
                known |= shown
            elif not shown <= known or lengths[len(source)] < least:
                known |= shown
                parts["train"][source] = part.pop(source)


def sha256_of(targets: Mapping[Text, Sequence[Text]]) -> str:
    """The SHA-256 of pairs, sorted; the same whatever the format and the order of their file."""
    digest = hashlib.sha256()
    for source in sorted(targets):
        for target in sorted(targets[source]):
            digest.update(("\x1f".join(source) + "\t" + "\x1f".join(target) + "\n").encode())
    return digest.hexdigest()


class Joined(ChainMap[Text, list[Text]]):
    """All sources with their targets, of parts that share none. Nothing is copied: of a million it would be 80 MB."""

    def __init__(self, parts: Parts):
        super().__init__(*parts.values())

    def __iter__(self) -> Iterator[Text]:
        return chain.from_iterable(self.maps)

    def __len__(self) -> int:
        return sum(map(len, self.maps))


def _divided(table: Table, cut_off: Sequence[Split], *, complete: bool) -> Iterator[tuple[Text, Split]]:
    """Each source, in the file's order, with its part: what is not cut off to test or to validate is trained on.

    In a file so small that a part would get too few, the sources with the lowest SHA-256 are cut off instead.
    """
    sources, unit = table.targets, table.source_tokens
    counts = Counter(part_of(source, unit, complete=complete) for source in sources)
    least = max(1, min(FEWEST, len(sources) // 4))
    if all(counts[part] >= least for part in (*cut_off, "train")):
        for source in sources:
            part = part_of(source, unit, complete=complete)
            yield source, part if part in cut_off else "train"
        return
    order = sorted(sources, key=lambda source: _digest(source, unit))
    chosen: dict[Text, Split] = {}
    for place, part in enumerate(cut_off):
        most = len(sources) - len(chosen) - least * (len(cut_off) - place)  # the others get theirs
        size = min(max(counts[part], least), most)
        chosen |= dict.fromkeys(order[len(chosen) : len(chosen) + size], part)
    for source in sources:
        yield source, chosen.get(source, "train")


def part_of(source: Text, unit: Tokens, *, complete: bool) -> Split:
    """The part that a source belongs to, by the SHA-256 of its text in UTF-8: the same in every run, on any machine.

    Small files are divided otherwise, see `split`.
    """
    byte = _digest(source, unit)[0]
    test, validation = (HELD_OUT, HELD_OUT_VALIDATION) if complete else (TEST, VALIDATION)
    return "test" if byte < test else "validation" if byte < validation else "train"


def _digest(source: Text, unit: Tokens) -> bytes:
    return hashlib.sha256(_shown(source, unit).encode()).digest()


def described(table: Table, parts: Parts) -> str:
    """What a file holds, in a few lines for a person."""
    sources = list(table.targets)
    targets = [target for each in table.targets.values() for target in each]
    lines = [
        f"{table.name}: {table.lines:,} pairs, {table.pairs:,} of them different, of {len(sources):,} sources",
        f"  {table.duplicates:,} repeated pairs were dropped",
        f"  {table.contradictions:,} sources have several targets; each of them counts as right",
    ]
    for side, unit, texts in (("sources", table.source_tokens, sources), ("targets", table.target_tokens, targets)):
        counts = Counter(token for text in texts for token in text)
        shown = " ".join(f"{token!r:.30} {_share(count, counts.total())}" for token, count in counts.most_common(8))
        lines += [
            f"  {side} are read as {unit}: {len(counts):,} different, most of them {shown}",
            f"    lengths {_histogram(Counter(map(len, texts)))}",
        ]
    names = {"train": "to train on", "validation": "to validate", "test": "to test"}
    shares = [f"{len(part):,} {names[name]}" for name, part in parts.items()]
    lines.append(
        f"  sources {', '.join(shares)}; no source is in two parts, and its SHA-256 decides where no file does"
    )
    return "\n".join(lines)


def _share(count: int, total: int) -> str:
    return f"{count / total:.0%}" if 100 * count >= total else "<1%"


BARS = " ▁▂▃▄▅▆▇█"


def _histogram(counts: Counter[int]) -> str:
    """How often each length comes, as a row of bars from the least to the largest; a bar may stand for several."""
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // 40)
    sums = [sum(counts[start + step] for step in range(width)) for start in range(low, high + 1, width)]
    bars = "".join(BARS[-(-8 * each // max(sums))] for each in sums)
    return f"{low} {bars} {high}"


# Lines and columns


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Each line with its number, from 1. Raises `PairsError`."""
    number = 0
    while content := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(content) > LONGEST_LINE:
            raise PairsError(f"{name}, line {number:,}: is longer than {LONGEST_LINE:,} bytes; is this a file of text?")
        if b"\0" in content:
            raise PairsError(f"{name}, line {number:,}: holds a zero byte, so this is no text file; save it as UTF-8")
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise PairsError(
                f"{name}, line {number:,}: byte {error.start + 1} is {content[error.start]:#04x}, which is not UTF-8;"
                " save the file as UTF-8"
            ) from error
        yield number, (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")


def _rows(
    lines: Iterator[tuple[int, str]], reading: Reading, form: Format, name: str
) -> Iterator[tuple[int, str, str]]:
    """Line, source and target of each pair."""
    if form == "jsonl":
        return _json_rows(lines, reading.columns, name)
    if form == "lexicon":
        return _lexicon_rows(lines, name)
    return _table_rows(lines, reading.columns, form, name)


def _table_rows(
    lines: Iterator[tuple[int, str]], columns: tuple[str, str] | None, form: Format, name: str
) -> Iterator[tuple[int, str, str]]:
    cells = _csv_cells(lines, name) if form == "csv" else ((line, text.split("\t")) for line, text in lines)
    filled = ((line, row) for line, row in cells if any(map(str.strip, row)))
    line, first = next(filled, (0, []))
    if not first:
        return
    if columns is None or all(map(str.isdecimal, columns)):
        places = [int(column) - 1 for column in columns or ("1", "2")]
        if len(first) <= max(places):
            raise PairsError(
                f"{name}, line {line:,}: has {_columns(first)}, and column {max(places) + 1} is wanted; columns of"
                f" {form.upper()} are parted by a {'comma' if form == 'csv' else 'tab'}"
            )
        is_header = tuple(cell.strip().lower() for cell in first[:2]) == HEADER
    else:
        if missing := [column for column in columns if column not in first]:
            raise PairsError(
                f"{name}, line {line:,}: there is no column {missing[0]!r}; there are {', '.join(first):.200}"
            )
        places = [first.index(column) for column in columns]
        is_header = True
    if not is_header:
        yield line, first[places[0]], first[places[1]]
    for line, row in filled:
        if len(row) != len(first):
            raise PairsError(
                f"{name}, line {line:,}: has {_columns(row)}, and the first line has {len(first)};"
                + (" a text with a comma needs quotes around it" if form == "csv" else " a text cannot hold a tab")
            )
        yield line, row[places[0]], row[places[1]]


def _columns(row: list[str]) -> str:
    return "1 column" if len(row) == 1 else f"{len(row):,} columns"


def _csv_cells(lines: Iterator[tuple[int, str]], name: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line that it begins in."""
    reader = csv.reader((text + "\n" for _, text in lines), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        is_open = reader.line_num > line or "end of data" in str(error)
        fault = "a quote opens here and is not closed" if is_open else f"is no CSV: {error}"
        raise PairsError(f"{name}, line {line:,}: {fault}") from error


def _json_rows(
    lines: Iterator[tuple[int, str]], columns: tuple[str, str] | None, name: str
) -> Iterator[tuple[int, str, str]]:
    source, target = columns or HEADER
    for line, text in lines:
        if not text.strip():
            continue
        try:
            row: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PairsError(f"{name}, line {line:,}: is no JSON: {error}") from error
        if not isinstance(row, dict) or source not in row or target not in row:
            raise PairsError(f'{name}, line {line:,}: must be an object such as {{"{source}": "…", "{target}": "…"}}')
        for each in row[target] if isinstance(row[target], list) else [row[target]]:
            if not isinstance(row[source], str) or not isinstance(each, str):
                raise PairsError(
                    f"{name}, line {line:,}: {source} must be text, and {target} a text or a list of texts"
                )
            yield line, row[source], each


def _lexicon_rows(lines: Iterator[tuple[int, str]], name: str) -> Iterator[tuple[int, str, str]]:
    for line, text in lines:
        if not text.strip() or text.startswith(COMMENT):
            continue
        word, *phonemes = text.partition(" #")[0].split()
        if not phonemes:
            raise PairsError(f"{name}, line {line:,}: has a word and no phonemes; a line is such as `cat  K AE T`")
        yield line, ALTERNATIVE.sub("", word), " ".join(phonemes)


def _format_of(path: str, first: list[tuple[int, str]], reading: Reading) -> Format:
    if reading.format is not None:
        return reading.format
    if (found := SUFFIXES.get(Path(path).suffix.lower())) is not None:
        return found
    line = next((text for _, text in first if text.strip()), "")
    if line.startswith(COMMENT):
        return "lexicon"
    return "tsv" if "\t" in line else "jsonl" if line.lstrip().startswith("{") else "csv" if "," in line else "lexicon"


def _guessed(texts: Iterable[str]) -> Tokens:
    """Words if texts have several, else characters."""
    counts = [len(text.split()) for text in texts]
    return "words" if counts and sum(counts) / len(counts) >= FEW_WORDS else "chars"


def _swapped(rows: Iterator[tuple[int, str, str]], *, swap: bool) -> Iterator[tuple[int, str, str]]:
    return ((line, target, source) if swap else (line, source, target) for line, source, target in rows)


def _shown(tokens: Text, unit: Tokens) -> str:
    return ("" if unit == "chars" else " ").join(tokens)


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        yield file


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PairsError(f"{name} cannot be read: {error.strerror}") from error
