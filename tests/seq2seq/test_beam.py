"""Answers that have an end: greedy decoding stops there, and beam search finds the likeliest."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.decoding import Autoregressive, States
from seq2seq.vocabulary import FloatArray, IdArray

END, SYMBOLS, LENGTH = 1, 4, 3
Answer = tuple[int, ...]


def following(source: int, written: Answer) -> FloatArray:
    """How likely each symbol is (V,), for one source, after what was written: any numbers, and always the same.

    All but padding, which is no part of an answer.
    """
    likely = np.random.default_rng([source, *written]).dirichlet(np.full(SYMBOLS - 1, 0.7))
    return np.array([0, *likely], dtype=np.float32)


class Written:
    """A network whose states are the source and all that was written, so that a mixed-up row is noticed."""

    def __init__(self, *, length: int = LENGTH) -> None:
        self.steps = 0
        self.network = Autoregressive(self.encode, self.step, length, 0, END)

    def encode(self, sources: IdArray) -> States:
        self.steps = 0
        return [sources[:, 0], np.zeros((len(sources), 0), dtype=np.int32)]

    def step(self, symbols: IdArray, states: States) -> tuple[FloatArray, States]:
        self.steps += 1
        sources, written = states
        if self.steps > 1:
            written = np.concatenate([written, symbols[:, None]], axis=1)
        rows = [following(int(source), tuple(row)) for source, row in zip(sources, written.tolist(), strict=True)]
        return np.stack(rows), [sources, written]


def cut(row: list[int]) -> Answer:
    return tuple(row[: row.index(END) + 1]) if END in row else tuple(row)


def exhaustive(source: int) -> list[tuple[float, Answer]]:
    """Every answer there is, the likeliest first."""
    everything = {cut(list(each)) for each in itertools.product(range(1, SYMBOLS), repeat=LENGTH)}
    likely = [
        (math.prod(float(following(source, each[:place])[symbol]) for place, symbol in enumerate(each)), each)
        for each in everything
    ]
    return sorted(likely, reverse=True)


def asked(*sources: int) -> IdArray:
    return np.array(sources, dtype=np.int32)[:, None]


def test_what_is_written_after_the_end_is_padding_and_sure() -> None:
    decoded = Written().network.greedy(asked(*range(40)))
    ended = [row.index(END) for row in decoded.ids.tolist() if END in row]
    assert set(ended) >= {0, 1}
    for ids, probabilities in zip(decoded.ids.tolist(), decoded.probabilities.tolist(), strict=True):
        length = len(cut(ids))
        assert ids[length:] == [0] * (len(ids) - length)
        assert probabilities[length:] == [1.0] * (len(ids) - length)


def test_decoding_stops_when_every_answer_has_ended() -> None:
    written = Written(length=50)
    decoded = written.network.greedy(asked(*range(20)))
    longest = max(len(cut(row)) for row in decoded.ids.tolist())
    assert written.steps == decoded.ids.shape[1] == longest < 50


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=9))
@settings(deadline=None)
def test_an_answer_is_the_same_in_any_batch(sources: list[int]) -> None:
    together = Written().network.greedy(asked(*sources))
    for source, ids, confidence in zip(sources, together.ids.tolist(), together.confidence, strict=True):
        alone = Written().network.greedy(asked(source))
        assert cut(ids) == cut(alone.ids.tolist()[0])
        assert confidence == pytest.approx(alone.confidence[0])


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4))
@settings(deadline=None)
def test_a_beam_of_one_is_greedy(sources: list[int]) -> None:
    greedy = Written().network.greedy(asked(*sources))
    ids, probabilities = Written().network.beam(asked(*sources), 1)
    assert ids[:, 0].tolist() == greedy.ids.tolist()
    assert probabilities[:, 0].tolist() == pytest.approx(greedy.confidence, rel=1e-5)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_a_wide_beam_finds_what_exhaustive_search_does(sources: list[int]) -> None:
    width = SYMBOLS**LENGTH
    ids, probabilities = Written().network.beam(asked(*sources), width)
    for row, source in enumerate(sources):
        expected = exhaustive(source)
        found = [cut(each) for each in ids[row].tolist()][: len(expected)]
        assert found == [answer for _, answer in expected]
        assert probabilities[row, : len(expected)].tolist() == pytest.approx(
            [likely for likely, _ in expected], rel=1e-4
        )
        assert not probabilities[row, len(expected) :].any()  # there are no more answers
        assert probabilities[row].sum() == pytest.approx(1, abs=1e-4)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4), st.integers(1, 8))
@settings(deadline=None)
def test_a_beam_gives_different_answers_the_likeliest_first(sources: list[int], width: int) -> None:
    ids, probabilities = Written().network.beam(asked(*sources), width)
    assert ids.shape[:2] == probabilities.shape == (len(sources), width)
    for row, source in enumerate(sources):
        likely = probabilities[row].tolist()
        assert likely == sorted(likely, reverse=True)
        assert sum(likely) <= 1 + 1e-5
        answers = [cut(each) for each, share in zip(ids[row].tolist(), likely, strict=True) if share]
        assert len(set(answers)) == len(answers)
        truth = {answer: share for share, answer in exhaustive(source)}
        assert [share for share in likely if share] == pytest.approx([truth[each] for each in answers], rel=1e-4)


@given(st.integers(0, 10_000), st.lists(st.integers(2, SYMBOLS - 1), min_size=1, max_size=LENGTH))
@settings(deadline=None, max_examples=30)
def test_a_beam_with_a_prefix_finds_all_answers_that_begin_with_it(source: int, prefix: list[int]) -> None:
    ids, probabilities = Written().network.beam(asked(source, source + 1), SYMBOLS**LENGTH, prefix)
    for row, each in enumerate((source, source + 1)):
        expected = [(share, answer) for share, answer in exhaustive(each) if answer[: len(prefix)] == tuple(prefix)]
        given = math.prod(float(following(each, tuple(prefix[:n]))[symbol]) for n, symbol in enumerate(prefix))
        found = [cut(answer) for answer in ids[row].tolist()][: len(expected)]
        assert found == [answer for _, answer in expected]
        likely = [share / given for share, _ in expected]  # the prefix counts as certain
        assert probabilities[row, : len(expected)].tolist() == pytest.approx(likely, rel=1e-4)
        assert not probabilities[row, len(expected) :].any()


def test_a_beam_is_wider_than_greedy_for_a_reason() -> None:
    """Some answer's likeliest beginning leads to a less likely whole."""
    greedy = Written().network.greedy(asked(*range(200))).confidence
    best = Written().network.beam(asked(*range(200)), 4)[1][:, 0]
    assert (best >= np.array(greedy) - 1e-6).mean() > 0.95
    assert (best > np.array(greedy) + 0.01).sum() >= 5


def test_a_beam_stops_when_every_answer_has_ended() -> None:
    def step(symbols: IdArray, states: States) -> tuple[FloatArray, States]:
        return np.tile(np.array([0.0, 0.9, 0.1], dtype=np.float32), (len(symbols), 1)), [states[0] + 1]

    network = Autoregressive(lambda sources: [np.zeros(len(sources))], step, 9, 0, END)
    ids, probabilities = network.beam(asked(0), 2)
    assert [cut(row) for row in ids[0].tolist()] == [(1,), (2, 1)]
    assert ids.shape == (1, 2, 2)
    assert probabilities[0].tolist() == pytest.approx([0.9, 0.09])
