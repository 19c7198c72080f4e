"""The smallest automaton that accepts a finite set of sequences, so that a domain can be told from all else.

It is built from the sorted set in one pass (Daciuk et al., 2000). A million dates or numbers share so many beginnings
and ends that a few thousand states are left. Knows nothing of what the symbols mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Acceptor:
    """A deterministic automaton without loops.

    A state is a row: 1 or 0, whether a sequence may end here; then symbol and next state, in turns, for each way on.
    Ways lead to earlier rows only, and the last row is the start. Raises `ValueError` for rows that are not so.
    """

    states: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.states:
            raise ValueError("an automaton has one state at least")
        for place, row in enumerate(self.states):
            symbols, ways = row[1::2], row[2::2]
            if not (
                all(type(each) is int and each >= 0 for each in row)
                and len(row) % 2 == 1
                and row[0] in (0, 1)
                and list(symbols) == sorted(set(symbols))
                and all(way < place for way in ways)
            ):
                raise ValueError(f"row {place} is no state of an automaton: {row!s:.60}")

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> Acceptor:
        """The automaton that accepts just these sequences: sorted, different and none empty. Raises `ValueError`."""
        states: dict[tuple[int, ...], int] = {}
        path: list[list[int]] = [[0]]  # the states that the previous sequence leads through, still open
        previous: Sequence[int] = ()

        def close(depth: int) -> None:
            """Let go of the states beyond this depth; equal ones become one."""
            while len(path) > depth + 1:
                row = tuple(path.pop())
                path[-1] += [previous[len(path) - 1], states.setdefault(row, len(states))]

        for sequence in sequences:
            if not list(previous) < list(sequence):
                raise ValueError(
                    f"sequences must be sorted, differ and not be empty: {previous!s:.60}, {sequence!s:.60}"
                )
            common = next(
                (place for place, (one, other) in enumerate(zip(previous, sequence, strict=False)) if one != other),
                min(len(previous), len(sequence)),
            )
            close(common)
            path += [[0] for _ in sequence[common:]]
            path[-1][0] = 1
            previous = sequence
        close(0)
        return cls((*states, tuple(path[0])))

    def reach(self, sequence: Sequence[int]) -> int:
        """How many of its symbols an accepted sequence begins with; one more than there are if it is accepted."""
        state = len(self.states) - 1
        for place, symbol in enumerate(sequence):
            if symbol not in self._ways[state]:
                return place
            state = self._ways[state][symbol]
        return len(sequence) + self.states[state][0]

    def accepts(self, sequence: Sequence[int]) -> bool:
        return self.reach(sequence) > len(sequence)

    @property
    def symbols(self) -> set[int]:
        return {symbol for row in self.states for symbol in row[1::2]}

    @property
    def longest(self) -> int:
        """The length of the longest way from the start."""
        lengths: list[int] = []
        for row in self.states:
            lengths.append(max((1 + lengths[way] for way in row[2::2]), default=0))
        return lengths[-1]

    @cached_property
    def size(self) -> int:
        """How many sequences are accepted."""
        counts: list[int] = []
        for row in self.states:
            counts.append(row[0] + sum(counts[way] for way in row[2::2]))
        return counts[-1]

    @cached_property
    def _ways(self) -> list[dict[int, int]]:
        return [dict(zip(row[1::2], row[2::2], strict=True)) for row in self.states]
