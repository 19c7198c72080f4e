"""The automaton of a domain: it accepts just what it was made of, and no smaller one would."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.acceptor import Acceptor

Sequences = set[tuple[int, ...]]
SOME: st.SearchStrategy[Sequences] = st.sets(
    st.lists(st.integers(2, 4), min_size=1, max_size=5).map(tuple), max_size=30
)


@given(SOME)
def test_just_what_it_was_made_of_is_accepted(sequences: Sequences) -> None:
    acceptor = Acceptor.of(sorted(sequences))
    everything = (each for length in range(7) for each in itertools.product((2, 3, 4), repeat=length))
    assert {each for each in everything if acceptor.accepts(each)} == sequences
    assert acceptor.size == len(sequences)
    assert acceptor.longest == max(map(len, sequences), default=0)
    assert acceptor.symbols == {symbol for each in sequences for symbol in each}


@given(SOME)
def test_no_smaller_automaton_accepts_the_same(sequences: Sequences) -> None:
    """By Nerode: as many states as there are different sets of ends."""
    beginnings = {each[:length] for each in sequences for length in range(len(each) + 1)} | {()}
    ends = {frozenset(each[len(begun) :] for each in sequences if each[: len(begun)] == begun) for begun in beginnings}
    assert len(Acceptor.of(sorted(sequences)).states) == len(ends)


@given(SOME, st.lists(st.integers(2, 5), max_size=6))
def test_reach_is_how_far_a_sequence_goes_on_as_an_accepted_one(sequences: Sequences, asked: list[int]) -> None:
    begun = [
        length for length in range(len(asked) + 1) if any(list(each[:length]) == asked[:length] for each in sequences)
    ]
    expected = max(begun, default=0) + (tuple(asked) in sequences)
    assert Acceptor.of(sorted(sequences)).reach(asked) == expected


def test_it_stays_small() -> None:
    """100,000 numbers of five digits: a state for each number of digits that are left."""
    acceptor = Acceptor.of(itertools.product(range(2, 12), repeat=5))
    assert (len(acceptor.states), acceptor.size) == (6, 100_000)


@pytest.mark.parametrize("sequences", [[[3], [2]], [[2], [2]], [[2, 3], [2]], [[]], [[], [2]]])
def test_what_is_not_sorted_or_is_empty_is_refused(sequences: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="sorted"):
        Acceptor.of(sequences)


@pytest.mark.parametrize(
    "states",
    [
        (),
        ((1,), (0, 2)),  # a symbol that leads nowhere
        ((2,),),
        ((0, 2, 0),),  # a loop
        ((1,), (0, 2, 2), (1,)),  # a way to a later row
        ((1,), (0, 3, 0, 2, 0)),  # symbols out of order
        ((1,), (0, 2, 0, 2, 0)),  # two ways for a symbol
        ((1,), (0, -1, 0)),
        ((True,),),
        ((1,), (0, 2.0, 0)),
    ],
)
def test_what_is_no_automaton_is_refused(states: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="automaton"):
        Acceptor(states)
