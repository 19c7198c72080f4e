"""Files of pairs: four formats, what is wrong with a file and where, and how it is split."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.pairs import files
from training.pairs.files import PairsError, Reading, Split, Table

CHARS = Reading(source_tokens="chars", target_tokens="chars")


def shown(table: Table) -> dict[str, list[str]]:
    """A table's pairs as texts."""
    apart = [("" if unit == "chars" else " ") for unit in (table.source_tokens, table.target_tokens)]
    return {
        apart[0].join(source): [apart[1].join(each) for each in targets] for source, targets in table.targets.items()
    }


def read(folder: Path, content: str | bytes, reading: Reading = CHARS, name: str = "pairs.tsv") -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return files.read(str(path), reading)


NEW = ("source-1", "source-2")
"""A source that `table_of` does not have, of its tokens."""


def table_of(sources: int) -> Table:
    return Table("pairs.tsv", "words", "words", {(f"source-{place}",): [("x",)] for place in range(sources)}, sources)


# Formats

WANTED = {"cat": ["K", "C"], "dog": ["D"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.tsv", "cat\tK\ndog\tD\ncat\tC\n"),
        ("pairs.tsv", "source\ttarget\ncat\tK\ndog\tD\ncat\tC\n"),
        ("pairs.tsv", "\ufeffSource\tTarget\tnote\ncat\tK\t\ndog\tD\t\ncat\tC\tx"),
        ("pairs.tsv", "cat\tK\r\n\r\n  \ndog\tD\r\ncat\tC\r\n"),
        ("pairs.csv", 'cat,K\n"dog","D"\n\ncat,C'),
        ("pairs.csv", "source,target\r\ncat,K\r\ndog,D\r\ncat,C\r\n"),
        ("pairs.jsonl", '{"source": "cat", "target": ["K", "C"]}\n\n{"target": "D", "source": "dog", "more": 1}\n'),
        ("pairs.ndjson", '\ufeff{"source": "cat", "target": ["K", "C"]}\n{"source": "dog", "target": "D"}'),
        ("pairs.txt", "cat\tK\ndog\tD\ncat\tC\n"),
        ("pairs.txt", '\n{"source": "cat", "target": ["K", "C"]}\n{"source": "dog", "target": "D"}'),
        ("pairs", "cat,K\ndog,D\ncat,C\n"),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_pairs(tmp_path: Path, name: str, content: str) -> None:
    table = read(tmp_path, content, name=name)
    assert shown(table) == WANTED
    assert (table.lines, table.pairs, table.duplicates, table.contradictions) == (3, 3, 0, 1)


@pytest.mark.parametrize("name", ["words.dict", "words.lex", "words.txt", "words"])
def test_a_lexicon_has_words_and_phonemes(tmp_path: Path, name: str) -> None:
    content = ";;; a comment, with a comma\ncat  K AE1 T\nread  R EH D\nread(2)  R IY D # seldom\n\na AH\n"
    table = read(tmp_path, content, Reading(), name)
    assert shown(table) == {"cat": ["K AE1 T"], "read": ["R EH D", "R IY D"], "a": ["AH"]}
    assert (table.source_tokens, table.target_tokens) == ("chars", "words")


def test_a_lexicon_of_short_words_is_no_text_of_characters(tmp_path: Path) -> None:
    """Its phonemes are tokens, however few a word has, and stay so if the direction is swapped."""
    content = "a  AH\nto  T UW\n"
    assert read(tmp_path, content, Reading(), "words.dict").target_tokens == "words"
    swapped = read(tmp_path, content, Reading(swap=True), "words.dict")
    assert (swapped.source_tokens, swapped.target_tokens) == ("words", "chars")
    assert shown(swapped) == {"AH": ["a"], "T UW": ["to"]}


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"cat\tK\ndog\tD\n")))
    table = files.read("-", CHARS)
    assert (table.name, shown(table)) == ("standard input", {"cat": ["K"], "dog": ["D"]})


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("pairs.tsv", "1\tK\tcat\n2\tD\tdog\n", ("3", "2")),
        ("pairs.tsv", "id\tsound\tword\n1\tK\tcat\n2\tD\tdog\n", ("word", "sound")),
        ("pairs.csv", 'id,"a sound",word\n1,K,cat\n2,D,dog\n', ("word", "a sound")),
        ("pairs.jsonl", '{"word": "cat", "sound": "K"}\n{"word": "dog", "sound": "D"}', ("word", "sound")),
    ],
)
def test_columns_are_named_or_numbered(tmp_path: Path, name: str, content: str, columns: tuple[str, str]) -> None:
    assert shown(read(tmp_path, content, replace(CHARS, columns=columns), name)) == {"cat": ["K"], "dog": ["D"]}


def test_the_format_that_is_told_counts(tmp_path: Path) -> None:
    assert shown(read(tmp_path, "a,b\n", replace(CHARS, format="csv"))) == {"a": ["b"]}


def test_swapping_learns_the_other_direction(tmp_path: Path) -> None:
    assert shown(read(tmp_path, "cat\tK\nkat\tK\n", replace(CHARS, swap=True))) == {"K": ["cat", "kat"]}


def test_texts_are_normalised(tmp_path: Path) -> None:
    content = "e\u0301\tA\n\u00e9\tB\n"
    assert shown(read(tmp_path, content)) == {"\u00e9": ["A", "B"]}
    assert len(read(tmp_path, content, replace(CHARS, normalization="none")).targets) == 2


def test_case_is_kept_unless_it_is_folded(tmp_path: Path) -> None:
    content = "Cat\tA\ncat\ta\n"
    assert shown(read(tmp_path, content)) == {"Cat": ["A"], "cat": ["a"]}
    assert shown(read(tmp_path, content, replace(CHARS, fold_case=True))) == {"cat": ["A", "a"]}


@pytest.mark.parametrize(
    ("content", "units"),
    [
        ("cat\tK AE T\n", ("chars", "words")),
        ("how are you\tand you there\n", ("words", "words")),
        ("New York\tNY\n", ("chars", "chars")),
    ],
)
def test_tokens_are_guessed(tmp_path: Path, content: str, units: tuple[str, str]) -> None:
    table = read(tmp_path, content, Reading())
    assert (table.source_tokens, table.target_tokens) == units


def test_repeated_pairs_are_dropped_and_counted(tmp_path: Path) -> None:
    table = read(tmp_path, "a\t1\na\t1\nb\t1\na\t2\na\t1\n")
    assert shown(table) == {"a": ["1", "2"], "b": ["1"]}
    assert (table.lines, table.pairs, table.duplicates, table.contradictions) == (5, 3, 2, 1)


def test_a_source_with_very_many_targets_is_read_in_a_moment(tmp_path: Path) -> None:
    content = "".join(f"a\t{place}\n" for place in range(30_000))
    assert read(tmp_path, content).pairs == 30_000


def test_the_sum_is_of_the_pairs_and_not_of_their_file(tmp_path: Path) -> None:
    def sha256(content: str, name: str = "x.tsv") -> str:
        return files.sha256_of(read(tmp_path, content, name=name).targets)

    one = sha256("a\t1\nb\t2\n")
    assert sha256('{"source": "b", "target": "2"}\n{"source": "a", "target": "1"}', name="x.jsonl") == one
    assert sha256("a\t1\nb\t2\nb\t2\n") == one
    assert sha256("a\t1\nb\t3\n") != one
    assert sha256("a1\t\u00b7\nb\t2\n") != one


# What is wrong with a file

WRONG: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("a.tsv", "", "a.tsv holds no pair; a line holds a source and a target"),
    "blank": ("a.csv", "\n \n", "holds no pair"),
    "header alone": ("a.tsv", "source\ttarget\n", "holds no pair"),
    "one column": ("a.tsv", "a\tb\nab\n", "line 2: has 1 column, and the first line has 2; a text cannot hold a tab"),
    "three columns": ("a.tsv", "a\tb\na\tb\tc\n", "line 2: has 3 columns, and the first line has 2"),
    "commas": ("a.csv", "a,b\na,b,c\n", "line 2: has 3 columns, and the first line has 2; a text with a comma needs"),
    "no tab": ("a.tsv", "\na,b\n", "line 2: has 1 column, and column 2 is wanted; columns of TSV are parted by a tab"),
    "no comma": ("a.csv", "a;b\n", "line 1: has 1 column, and column 2 is wanted; columns of CSV are parted by a"),
    "no source": ("a.tsv", "a\tb\n\tb\n", "line 2: the source is empty"),
    "no target": ("a.csv", "a,b\na, \n", "line 2: the target is empty"),
    "no text in JSON": ("a.jsonl", '{"source": "", "target": "b"}', "line 1: the source is empty"),
    "encoding": ("a.tsv", b"a\tb\nk\xe4se\tb\n", "line 2: byte 2 is 0xe4, which is not UTF-8; save the file as UTF-8"),
    "encoding after a mark": ("a.tsv", b"\xef\xbb\xbfk\xe4se\tb\n", "line 1: byte 5 is 0xe4"),
    "UTF-16": ("a.tsv", "a\tb\n".encode("utf-16"), "line 1: holds a zero byte, so this is no text file"),
    "binary": ("a.tsv", b"\x7fELF\x02\x01\x01\0\0", "line 1: holds a zero byte, so this is no text file"),
    "picture": ("a.tsv", b"\x89PNG\r\n\x1a\n", "line 1: byte 1 is 0x89, which is not UTF-8"),
    "no lines": ("a.tsv", "a" * 1_000_001, "line 1: is longer than 1,000,000 bytes"),
    "control": ("a.tsv", "a\tb\na\x07b\tb\n", "line 2: the source holds the control character '\\x07'"),
    "control in words": ("a.tsv", "a\tb c\x1fd e\n", "line 1: the target holds the control character '\\x1f'"),
    "old Macs": ("a.tsv", "a\tb\rc\td\r", "line 1: the target holds the control character '\\r'"),
    "lines in CSV": ("a.csv", 'a,b\n"a\nb",c\n', "line 2: the source holds the control character '\\n'"),
    "a tab in CSV": ("a.csv", "a\tb,c\n", "line 1: the source holds the control character '\\t'"),
    "half a character": ("a.jsonl", '{"source": "\\ud800", "target": "b"}', "the control character '\\ud800'"),
    "open quote": ("a.csv", 'a,b\n"c,d\n' + "e,f\n" * 9, "line 2: a quote opens here and is not closed"),
    "open quote at the end": ("a.csv", 'a,b\n"c,d\n', "line 2: a quote opens here and is not closed"),
    "open quote before others": ("a.csv", 'a,b\n"c,d\n"e",f\n', "line 2: a quote opens here and is not closed"),
    "open quote of a large file": ("a.csv", '"c,d\n' + "e,f\n" * 99_999, "line 1: a quote opens here"),
    "text behind a quote": ("a.csv", '"a"b,c\n', "line 1: is no CSV: ',' expected after '\"'"),
    "no JSON": ("a.jsonl", '{"source": "a", "target": "b"}\n{"source": "a"', "line 2: is no JSON: "),
    "no object": ("a.jsonl", '["a", "b"]', 'line 1: must be an object such as {"source": "…", "target": "…"}'),
    "deep JSON": ("a.jsonl", "[" * 100_000, "line 1: is no JSON: "),
    "no field": ("a.jsonl", '{"source": "a"}', "line 1: must be an object such as"),
    "a number": ("a.jsonl", '{"source": "a", "target": 1}', "line 1: source must be text, and target a text or a list"),
    "a list": ("a.jsonl", '{"source": ["a"], "target": "b"}', "line 1: source must be text"),
    "no phonemes": ("a.dict", "cat K\ncat\n", "line 2: has a word and no phonemes; a line is such as `cat  K AE T`"),
    "long": ("a.tsv", "a\tb\n" + "a" * 101 + "\tb\n", "line 2: the source has 101 characters, and 100 are allowed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, fault: str) -> None:
    name, content, words = WRONG[fault]
    with pytest.raises(PairsError) as caught:
        read(tmp_path, content, Reading() if "words" in fault else CHARS, name)
    assert words in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_more_than_can_be_is_not_advised(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match=r"drop the line, or allow more by --longest 101$"):
        read(tmp_path, "a" * 101 + "\tb\n")
    with pytest.raises(PairsError, match=r"has 1,001 characters, and 100 are allowed; drop the line$"):
        read(tmp_path, "a" * 1_001 + "\tb\n")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("word", "sound"), "line 1: there is no column 'sound'; there are word, noise"),
        (("1", "3"), "line 1: has 2 columns, and column 3 is wanted"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, columns: tuple[str, str], words: str) -> None:
    with pytest.raises(PairsError, match=words):
        read(tmp_path, "word\tnoise\na\tb\n", replace(CHARS, columns=columns))


def test_a_field_of_json_that_is_missing_is_named_as_it_was_told(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match=r'an object such as \{"word": "…", "sound": "…"\}'):
        read(tmp_path, '{"source": "a", "target": "b"}', replace(CHARS, columns=("word", "sound")), "a.jsonl")


@pytest.mark.parametrize("changes", [{"longest": 0}, {"longest": 1_001}, {"columns": ("0", "1")}])
def test_a_reading_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PairsError):
        Reading(**changes)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match=r"none\.tsv cannot be read: No such file or directory"):
        files.read(str(tmp_path / "none.tsv"), CHARS)
    with pytest.raises(PairsError, match="cannot be read: Is a directory"):
        files.read(str(tmp_path), CHARS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\n")
    path.chmod(0)
    with pytest.raises(PairsError, match="cannot be read: Permission denied"):
        files.read(str(path), CHARS)


@given(st.binary(max_size=60), st.sampled_from(["tsv", "csv", "jsonl", "lexicon"]))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes, form: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        try:
            table = files.read("-", Reading(format=form))
        except PairsError:
            return
    files.problem_of([table], Reading(), complete=False)


# The split


def part_of(source: str) -> str:
    """The rule as docs have it."""
    first = int(hashlib.sha256(source.encode()).hexdigest()[:2], 16)
    return "test" if first < 26 else "validation" if first < 39 else "train"


def test_a_large_file_is_split_by_the_first_byte_of_the_hash_alone() -> None:
    table = table_of(3_000)
    parts = files.split(table)
    assert {name: list(part) for name, part in parts.items()} == {
        name: [source for source in table.targets if part_of(source[0]) == name] for name in parts
    }
    assert 250 < len(parts["test"]) < 350


def test_every_target_of_a_source_is_in_its_part(tmp_path: Path) -> None:
    table = read(tmp_path, "".join(f"s{place % 300}\t{place}\n" for place in range(900)))
    parts = files.split(table)
    assert all(len(targets) == 3 for part in parts.values() for targets in part.values())
    assert sum(map(len, parts.values())) == 300


def test_the_order_of_lines_and_the_format_do_not_change_the_split(tmp_path: Path) -> None:
    lines = [f"s{place}\t{place}\n" for place in range(60)]
    one, other = (files.split(read(tmp_path, "".join(each))) for each in (lines, lines[::-1]))
    assert {name: set(part) for name, part in one.items()} == {name: set(part) for name, part in other.items()}


@given(st.integers(3, 150), st.sampled_from([(), ("test",), ("validation",), ("test", "validation")]))
def test_every_part_of_a_small_file_has_sources(n: int, given_parts: tuple[Split, ...]) -> None:
    table = Table("pairs.tsv", "words", "words", {("s",) * length: [("x",)] for length in range(1, n + 1)}, n)
    others = {
        name: Table(name, "words", "words", {("s",) * length: [("x",)]}, 1)
        for length, name in enumerate(given_parts, n + 1)
    }
    parts = files.split(table, others)
    cut_off = [name for name in parts if name not in others]
    least = min(5, max(1, n // 4))
    assert all(len(parts[name]) >= least for name in cut_off)
    assert all(parts[name] == others[name].targets for name in others)
    assert sorted(source for name in cut_off for source in parts[name]) == sorted(table.targets)


def test_a_whole_domain_whose_tokens_stand_alone_leaves_nothing_to_test() -> None:
    with pytest.raises(PairsError, match="none is left for test"):
        files.split(table_of(20), complete=True)


def test_what_a_small_file_tests_with_has_the_lowest_hashes() -> None:
    table = table_of(50)
    parts = files.split(table)
    order = sorted(table.targets, key=lambda source: hashlib.sha256(source[0].encode()).digest())
    counts = [len(parts[name]) for name in ("test", "validation", "train")]
    assert min(counts[:2]) == 5  # the rule for small files is at work
    assert set(order[: counts[0]]) == set(parts["test"])
    assert set(order[counts[0] : counts[0] + counts[1]]) == set(parts["validation"])


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_sources_are_refused(n: int) -> None:
    with pytest.raises(PairsError, match=f"sources, {n}; 3 are the least, one each for test, validation, training"):
        files.split(table_of(n))


def test_with_a_file_to_test_all_else_is_trained_on_or_validates() -> None:
    table = table_of(1_000)
    parts = files.split(table, {"test": Table("test.tsv", "words", "words", {NEW: [("x",)]}, 1)})
    assert list(parts["test"]) == [NEW]
    alone = files.split(table)
    assert set(parts["train"]) == {*alone["train"], *alone["test"]}
    assert parts["validation"] == alone["validation"]


def test_a_source_in_two_files_is_refused() -> None:
    other = Table("test.tsv", "words", "words", {("source-7",): [("y",)]}, 1)
    with pytest.raises(PairsError, match=r"test\.tsv: 'source-7' is in pairs\.tsv as well"):
        files.split(table_of(100), {"test": other})
    with pytest.raises(PairsError, match=r"test\.tsv: 'source-7' is in validation\.tsv too"):
        files.split(table_of(5), {"validation": replace(other, name="validation.tsv"), "test": other})


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ({("source-1", "other"): [("x",)]}, "the source 'source-1 other' has the source token 'other'"),
        ({("source-1", "source-2"): [("x",), ("x", "y")]}, "the source 'source-1 source-2' has the target token 'y'"),
    ],
)
def test_a_token_that_is_never_trained_on_is_refused(part: files.Split, targets: Any, said: str) -> None:
    other = Table("other.tsv", "words", "words", targets, 1)
    with pytest.raises(
        PairsError, match=rf"other\.tsv: {said}, which nothing that is trained on has; add pairs with it to pairs\.tsv"
    ):
        files.split(table_of(100), {part: other})


# What is said of a file, and the problem


def test_a_file_is_described(tmp_path: Path) -> None:
    content = "".join(f"{'a' * (1 + place % 5)}{place}\t{'x' if place % 2 else 'yz'}\n" for place in range(100))
    table = read(tmp_path, content + "a0\tyz\na0\tx\n")
    text = files.described(table, files.split(table))
    assert "102 pairs, 101 of them different, of 100 sources" in text
    assert "  1 repeated pairs were dropped" in text
    assert "  1 sources have several targets; each of them counts as right" in text
    assert "sources are read as chars: 11 different, most of them 'a' 61%" in text
    assert "targets are read as chars: 3 different" in text
    parts = files.split(table)
    assert (
        f"{len(parts['train'])} to train on, {len(parts['validation'])} to validate, {len(parts['test'])} to test"
        in text
    )


def test_lengths_are_drawn_as_bars(tmp_path: Path) -> None:
    content = "a\tx\n" * 1 + "".join(f"{letter}b\tx\n" for letter in "acde") + "abcd\tx\n"
    table = read(tmp_path, content)
    assert "    lengths 1 ▂█ ▂ 4\n" in files.described(table, files.split(table))


def test_long_texts_share_bars(tmp_path: Path) -> None:
    table = read(tmp_path, "".join(f"{'a' * place}\tx\n" for place in range(1, 101)))
    line = files.described(table, files.split(table)).splitlines()[4]
    assert line == f"    lengths 1 {'█' * 33}▃ 100"


def test_the_problem_has_the_tokens_and_lengths_of_all_files(tmp_path: Path) -> None:
    one = read(tmp_path, "ab\tx y z\nc\tx y z\n", Reading(fold_case=True, normalization="NFD"))
    other = Table("test.tsv", "chars", "words", {("d", "d", "d"): [("w",)]}, 1)
    problem = files.problem_of([one, other], Reading(fold_case=True, normalization="NFD"), complete=False)
    assert (problem.source_symbols, problem.target_symbols) == (("a", "b", "c", "d"), ("w", "x", "y", "z"))
    assert (problem.longest_source, problem.longest_target) == (3, 3)
    assert (problem.fold_case, problem.normalization, problem.domain) == (True, "NFD", None)


def test_a_whole_domain_accepts_its_sources_alone(tmp_path: Path) -> None:
    problem = files.problem_of([read(tmp_path, "ab\tx\nb\ty\n")], CHARS, complete=True)
    assert problem.acceptor is not None
    accepted = [
        text for text in ("a", "b", "ab", "ba", "bb") if problem.acceptor.accepts(problem.source_ids(text)[:-1])
    ]
    assert accepted == ["b", "ab"]


def test_a_whole_domain_has_one_target_a_source(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="one target for each source, but 'ab' has 2: 'x', 'y'"):
        files.problem_of([read(tmp_path, "b\tx\nab\tx\nab\ty\n")], CHARS, complete=True)


def test_too_many_different_tokens_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_SYMBOLS", 2)
    with pytest.raises(PairsError, match=r"has 3 different source tokens; the most is 2\. Try --source-tokens chars"):
        files.problem_of([read(tmp_path, "abc\tx\n")], CHARS, complete=False)


def test_json_and_tsv_are_one(tmp_path: Path) -> None:
    """A round trip: what can be written in one format reads the same in another."""
    pairs = {"a b": ["c"], "\u00e9\u0300x": ["\u4e2d", "\U0001f600"]}
    tsv = "".join(f"{source}\t{target}\n" for source, targets in pairs.items() for target in targets)
    lines = "\n".join(json.dumps({"source": source, "target": targets}) for source, targets in pairs.items())
    assert shown(read(tmp_path, tsv)) == shown(read(tmp_path, lines, name="a.jsonl")) == pairs


def test_joined_parts_are_read_as_one(tmp_path: Path) -> None:
    table = read(tmp_path, "".join(f"{text}\t{text.upper()}\n" for text in ("ab", "b", "cab", "cc", "ba")))
    parts = files.split(table)
    assert min(map(len, parts.values())) > 0
    found = files.Joined(parts)
    assert dict(found) == table.targets
    assert (len(found), sorted(found, key=len)[-1]) == (5, ("c", "a", "b"))
    assert found["b",] == [("B",)]
    assert ("x",) not in found
