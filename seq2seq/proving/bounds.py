"""Branch and bound: proves a network over all requests whose last places decide nothing, a box of them at a time.

The places that decide an answer are its head, the others its tail. One box holds the states after every tail. Where
that box is too loose for a head, it is split by the tail's place next to the head, then by the one after, until every
tail stands alone: that is enumeration, with the reading of tails and boxes shared. Tails that are too many to be listed
are read by boxes as well, and theirs is not split. Knows nothing of runtimes.

For reversal of six items: 125,000 heads of three and 125,000 tails of three make 15,625,000,000 requests.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from seq2seq.problem import Oracle
from seq2seq.proving.graph import Graph, States
from seq2seq.proving.intervals import Array, Integers, hull
from seq2seq.vocabulary import IdArray

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

CHUNK = 2_048
"""Boxes at once: their arrays fit into a core's cache."""
THREADS = 2
MOST_BOXES = 3_000_000
"""Splitting ends before more boxes than this, about a minute of work; what is undecided then stays so."""


@dataclass(frozen=True)
class Bounded:
    """What bounds have shown of each head, and of each single request where boxes were too loose.

    heads        ids of each head once (n, k)
    margins      the least margin that was proven of each head's requests (n,), in logits
    by_bounds    how many requests were proven in boxes of several; by_enumeration: each by itself
    doubtful     single requests (d, S) whose margin is not safe: wrong, or too near to it
    undecided    how many requests were left when splitting ended
    """

    heads: IdArray
    margins: Array
    by_bounds: int
    by_enumeration: int
    doubtful: IdArray
    undecided: int


def bound(
    problem: Oracle, graph: Graph, progress: Progress, *, safe: float = 0.0, most_boxes: int = MOST_BOXES
) -> Bounded:
    """Bound a graph over every request of a problem. Raises `Unprovable` where the graph or problem does not allow it.

    A margin counts as proven above `safe`, in logits: more than rounding can take away.

    Two arrays run side by side below: box b is that of group `groups[b]` of tails, for head `heads[b]`.
    """
    tail = problem.tail
    rng = np.random.default_rng(0)  # for the tails that `distinct` makes up, which are cut off
    sources = np.concatenate(list(problem.distinct(rng, 65_536)))
    all_heads, targets = np.ascontiguousarray(sources[:, : -tail.length or None]), problem.answer(sources)
    if tail.contents is None:  # one box for all tails, which cannot be split
        tails = np.zeros((1, 0), dtype=np.int32)
        read = graph.reach(tail.symbols, tail.length)
    else:
        tails = np.unique(tail.contents, axis=0)  # sorted, so that tails that begin alike are a run of rows
        read = graph.read(tails) if tail.length else {}
    most_alone = 0 if tail.contents is None else 1
    per_tail = problem.counts(sources) // len(tails)  # requests of each head

    margins = np.full(len(all_heads), np.inf)
    proven = [0, 0]  # in boxes of several, one by one
    groups: Integers = np.zeros(len(all_heads), dtype=np.int64)
    heads: Integers = np.arange(len(all_heads))
    starts: Integers = np.zeros(1, dtype=np.int64)
    for level in range(tails.shape[1] + 1):
        sizes = np.diff(starts, append=len(tails))
        states = {name: (hull(h, starts), hull(c, starts)) for name, (h, c) in read.items()}
        least = _margins(graph, all_heads, targets, states, groups, heads, progress)
        is_proven = least > safe
        np.minimum.at(margins, heads[is_proven], least[is_proven])
        for alone in (0, 1):
            of_kind = is_proven & ((sizes[groups] <= most_alone) == alone)
            proven[alone] += int((sizes[groups] * per_tail[heads])[of_kind].sum())
        groups, heads = groups[~is_proven], heads[~is_proven]
        following = _starts(tails, level + 1)
        if not len(groups) or level == tails.shape[1]:
            break
        first, last = np.searchsorted(following, starts), np.searchsorted(following, [*starts[1:], len(tails)])
        counts = (last - first)[groups]
        if counts.sum() > most_boxes:
            break
        heads = np.repeat(heads, counts)
        offsets = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        groups, starts = np.repeat(first[groups], counts) + offsets, following
    sizes = np.diff(starts, append=len(tails))
    is_alone = sizes[groups] <= most_alone
    return Bounded(
        heads=all_heads,
        margins=margins,
        by_bounds=proven[0],
        by_enumeration=proven[1],
        doubtful=np.concatenate([all_heads[heads[is_alone]], tails[starts[groups[is_alone]]]], axis=1),
        undecided=int((sizes[groups] * per_tail[heads])[~is_alone].sum()),
    )


def _starts(tails: IdArray, places: int) -> Integers:
    """The first row of each run of tails that are alike in so many leading places."""
    differs = (tails[1:, :places] != tails[:-1, :places]).any(axis=1)
    return np.concatenate([[0], np.flatnonzero(differs) + 1])


def _margins(
    graph: Graph,
    all_heads: IdArray,
    targets: IdArray,
    states: States,
    groups: Integers,
    heads: Integers,
    progress: Progress,
) -> Array:
    """The least margin of each box (B,), by chunks on several threads."""

    def one(start: int) -> Array:
        chunk = slice(start, start + CHUNK)
        taken = {name: (h.take(groups[chunk]), c.take(groups[chunk])) for name, (h, c) in states.items()}
        return graph.margins(all_heads[heads[chunk]], targets[heads[chunk]], taken)

    found = []
    with ThreadPoolExecutor(THREADS) as pool:
        for margins in pool.map(one, range(0, len(groups), CHUNK)):
            found.append(margins)
            progress("boxes", sum(map(len, found)), len(groups))
    return np.concatenate(found) if found else np.zeros(0)
