"""The numbers example: its names are num2words' own, without hyphens and commas."""

from __future__ import annotations

import pytest

pytest.importorskip("num2words")

from num2words import num2words

from examples.numbers import make_pairs


@pytest.fixture(scope="module")
def names() -> dict[str, str]:
    return dict(make_pairs.pairs())


def test_every_number_has_a_name_of_its_own(names: dict[str, str]) -> None:
    assert list(names) == [str(number) for number in range(1_000_000)]
    assert len(set(names.values())) == 1_000_000


def test_a_name_is_what_num2words_writes(names: dict[str, str]) -> None:
    for number in (*range(1_105), *range(1_105, 1_000_000, 997), 20_000, 100_100, 300_000, 999_999):
        assert names[str(number)] == num2words(number).replace("-", " ").replace(",", "")


def test_words_are_tokens(names: dict[str, str]) -> None:
    assert names["21345"] == "twenty one thousand three hundred and forty five"
    words = {word for name in names.values() for word in name.split(" ")}
    assert len(words) == 31
    assert all(word.isalpha() for word in words)


def test_pairs_are_lines_of_stdout(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    monkeypatch.setattr(make_pairs, "COUNT", 3)
    make_pairs.main()
    printed = capfdbinary.readouterr().out.decode()
    assert printed == "0\tzero\n1\tone\n2\ttwo\n"
