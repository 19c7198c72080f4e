"""Error rates, their intervals, and how far confidence can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.decoding import Decoded
from seq2seq.problems.pairs import Pairs
from seq2seq.vocabulary import FloatArray, IdArray
from training.pairs import report, scoring
from training.pairs.files import Text
from training.pairs.scoring import Score

PROBLEM = Pairs("chars", "chars", tuple("abcd"), tuple("abcd"), 5, 5)


class Echo:
    """Writes what it reads, less sure with each symbol, and notes its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def greedy(self, sources: IdArray) -> Decoded:
        self.batches.append([int((row != 0).sum()) for row in sources])
        return Decoded(sources, np.where(sources > 1, np.float32(0.9), np.float32(1)))


def scored(wrong: Sequence[bool], confidence: Sequence[float] | None = None) -> Score:
    """A score in which each wrong answer has one error, of two symbols."""
    n = len(wrong)
    sure = np.array(confidence if confidence is not None else [1.0] * n)
    errors = np.array(wrong, dtype=np.float64)
    source: list[Text] = [("a",)] * n
    return Score(PROBLEM, {("a",): [("a",)]}, source, source, np.array(wrong), errors, np.full(n, 2.0), sure)


def test_an_answer_is_right_if_it_is_one_of_the_targets() -> None:
    targets: dict[Text, list[Text]] = {
        ("a", "b"): [("c",), ("a", "b")],  # right by its second target
        ("a",): [("a",)],
        ("b", "b", "b"): [
            ("d", "d", "d", "d", "d"),
            ("b", "b", "c", "c"),
        ],  # the second one is nearer: two errors of four
        ("c", "d"): [("d",)],  # one too many
    }
    score = scoring.score(PROBLEM, Echo(), targets)
    assert score.answers == [tuple(source) for source in targets]
    assert score.wrong.tolist() == [False, False, True, True]
    assert score.errors.tolist() == [0, 0, 2, 1]
    assert score.symbols.tolist() == [2, 1, 4, 1]
    assert score.wrong_rate == 0.5
    assert score.symbol_rate == 3 / 8
    assert score.confidence == pytest.approx([0.81, 0.9, 0.729, 0.81])
    assert (score.shown_source(2), score.shown_answer(2), score.shown_targets(2)) == ("bbb", "bbb", ["ddddd", "bbcc"])


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_batch_changes_no_score_and_is_of_like_lengths(batch: int) -> None:
    targets: dict[Text, list[Text]] = {(*"abcd"[: 1 + place % 4], chr(97 + place % 3)): [("a",)] for place in range(12)}
    network = Echo()
    score = scoring.score(PROBLEM, network, targets, batch)
    assert score.answers == list(targets)
    lengths = [length for each in network.batches for length in each]
    assert lengths == sorted(lengths)
    assert max(map(len, network.batches)) == batch


@pytest.mark.parametrize(
    ("one", "other", "errors"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2), ("abcd", "acd", 1)],
)
def test_known_distances(one: str, other: str, errors: int) -> None:
    assert scoring.distance(one, other) == errors


WORDS = st.text("ab", max_size=6)


@given(WORDS, WORDS, WORDS)
def test_a_distance_is_a_metric(one: str, other: str, third: str) -> None:
    there = scoring.distance(one, other)
    assert there == scoring.distance(other, one)
    assert (there == 0) == (one == other)
    assert abs(len(one) - len(other)) <= there <= max(len(one), len(other))
    assert there <= scoring.distance(one, third) + scoring.distance(third, other)


# Intervals


def test_an_interval_is_the_same_each_time() -> None:
    wrong = [place % 10 == 0 for place in range(200)]
    assert scored(wrong).intervals() == scored(wrong).intervals()


def test_an_interval_is_about_what_theory_says() -> None:
    """Of 1,000 answers 100 are wrong: 10% give or take 1.96 times 0.95%."""
    (low, high), (symbols_low, symbols_high) = scored([place < 100 for place in range(1_000)]).intervals()
    assert (low, high) == pytest.approx((0.0814, 0.1186), abs=0.003)
    assert (symbols_low, symbols_high) == pytest.approx((low / 2, high / 2))


def test_more_answers_tell_more() -> None:
    few, many = (scored([place % 10 == 0 for place in range(n)]).intervals()[0] for n in (50, 5_000))
    assert few[1] - few[0] > 5 * (many[1] - many[0])


@pytest.mark.parametrize(("n", "most"), [(21, 0.1329), (300, 0.00994), (1, 0.95)])
def test_without_an_error_there_is_still_a_bound(n: int, most: float) -> None:
    """The rule of three: with none of n wrong, a rate above some 3/n would have shown itself."""
    for low, high in scored([False] * n).intervals():
        assert (low, high) == pytest.approx((0, most), abs=1e-4)


def test_where_all_is_wrong_there_is_a_bound_as_well() -> None:
    assert scored([True] * 21).intervals()[0] == pytest.approx((1 - 0.1329, 1), abs=1e-4)


# Calibration


@pytest.mark.parametrize(
    ("confidence", "wrong", "error"),
    [
        ([1.0, 1.0], [False, False], 0.0),
        ([1.0, 1.0], [True, True], 1.0),
        ([0.0, 0.0], [True, True], 0.0),
        ([0.9] * 10, [False] * 9 + [True], 0.0),
        ([0.9] * 10, [False] * 5 + [True] * 5, 0.4),
        ([0.95, 0.05], [False, True], 0.05),
        ([0.9] * 5 + [0.3] * 5, [False] * 5 + [True] * 5, 0.5 * 0.1 + 0.5 * 0.3),
    ],
)
def test_expected_calibration_error_of_known_cases(confidence: list[float], wrong: list[bool], error: float) -> None:
    assert scored(wrong, confidence).calibration_error == pytest.approx(error)


def test_bins_hold_every_answer_once() -> None:
    confidence = np.linspace(0, 1, 301)
    bins = scored([False] * 301, list(confidence)).reliability()
    assert len(bins) == 15
    assert sum(count for count, _, _ in bins) == 301
    for place, (count, mean, right) in enumerate(bins):
        assert count in (20, 21)
        assert place / 15 <= mean <= (place + 1) / 15
        assert right == 1


def drawn(true: float, n: int = 4_000, length: int = 3) -> tuple[FloatArray, IdArray, npt.NDArray[np.bool_]]:
    """Logits whose temperature is `true`, the likeliest answers, and which of them are wrong.

    The truth is drawn by logits of temperature 1; what is returned are these, times `true`.
    """
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 3, (n, length, 6))
    honest[..., 0] = -30  # padding
    share = np.exp(honest) / np.exp(honest).sum(-1, keepdims=True)
    truth = (rng.random((n, length, 1)) > share.cumsum(-1)).sum(-1)
    ids = honest.argmax(-1).astype(np.int32)
    lengths = rng.integers(1, length + 1, n)
    is_real = np.arange(length) < lengths[:, None]
    wrong = ((truth != ids) & is_real).any(1)
    return (honest * true).astype(np.float32), np.where(is_real, ids, 0).astype(np.int32), wrong


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0, 3.5])
def test_the_temperature_that_was_hidden_is_found(true: float) -> None:
    logits, ids, wrong = drawn(true)
    assert scoring.temperature([(logits, ids)], wrong) == pytest.approx(true, rel=0.08)


def test_batches_change_no_temperature() -> None:
    logits, ids, wrong = drawn(2.0, 300)
    parts = [(logits[start : start + 70], ids[start : start + 70]) for start in range(0, 300, 70)]
    assert scoring.temperature(parts, wrong) == scoring.temperature([(logits, ids)], wrong)


def test_confidence_is_the_product_over_an_answers_symbols() -> None:
    logits, ids, _ = drawn(1.0, 5)
    share = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(-1, keepdims=True)
    chosen = np.take_along_axis(share, ids[..., None], -1)[..., 0]
    at_one = int(np.abs(scoring.CANDIDATES - 1).argmin())
    assert scoring.CANDIDATES[at_one] == pytest.approx(1)
    expected = np.log(np.where(ids, chosen, 1).prod(1))
    assert scoring._log_confidence(logits, ids)[at_one] == pytest.approx(expected, abs=1e-9)


def test_a_handful_of_right_answers_does_not_make_a_network_boundlessly_sure() -> None:
    """With 5 right answers of 5 there is no ground for more than about 6 in 7."""
    logits = np.zeros((5, 1, 3), dtype=np.float32)
    logits[..., 2] = 1.0
    ids = np.full((5, 1), 2, dtype=np.int32)
    found = scoring.temperature([(logits, ids)], np.zeros(5, dtype=bool))
    sure = np.exp(1 / found) / (np.exp(1 / found) + 2)
    assert sure == pytest.approx(6 / 7, abs=0.02)
    assert scoring.temperature([(logits, ids)], np.ones(5, dtype=bool)) == pytest.approx(5.0)


def test_mistakes_are_shown_with_what_is_right() -> None:
    targets: dict[Text, list[Text]] = {("a",): [("a",)], ("b", "c"): [("c",), ("d", "d")]}
    text = report.mistakes(scoring.score(PROBLEM, Echo(), targets))
    assert text == "- `bc` → `bc` (0.81), right is `c` or `dd`"
    assert report.mistakes(scored([False])) == "None on the test split."


def test_a_sample_of_mistakes_is_spread_over_all() -> None:
    targets: dict[Text, list[Text]] = {
        tuple(f"{place:05b}".replace("0", "a").replace("1", "b")): [("d",)] for place in range(30)
    }
    score = scoring.score(PROBLEM, Echo(), targets)
    shown = report.mistakes(score).splitlines()
    assert len(shown) == 10  # each third one
    assert shown[-1].startswith("- `bbabb`")


@pytest.mark.parametrize(("text", "shown"), [("a", "`a`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```")])
def test_a_text_with_backticks_is_shown_as_it_is(text: str, shown: str) -> None:
    assert report._code(text) == shown
