"""Training data, made on the fly and vectorised: batches of ids, drawn from the part of a problem that may be seen.

Knows nothing of Keras. 75,000 pairs take a fraction of a second; nothing is kept on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from seq2seq.decoding import Family
from seq2seq.holdout import BUCKETS, Split, in_split
from seq2seq.problem import Oracle, Pair, Problem
from seq2seq.vocabulary import IdArray
from training.recipes import Recipe

CHUNK = 65_536
"""How many pairs are drawn at once."""
MOST_LISTED = 4_000_000
"""Of how many distinct problems the validation split is used whole: it validates after each epoch."""


def sources_in(problem: Oracle, split: Split, rng: np.random.Generator) -> IdArray:
    """Every distinct problem of a split once (n, S)."""
    return np.concatenate(
        [sources[in_split(problem.keys(sources), split)] for sources in problem.distinct(rng, CHUNK)], axis=0
    )


def draw(recipe: Recipe, rng: np.random.Generator, n: int) -> IdArray:
    """n random sources (n, S) that the recipe may train on."""
    if not recipe.hold_out:
        return recipe.problem.sample_sources(rng, n, rare=recipe.rare)
    return draw_from(recipe.problem, "train", rng, n, rare=recipe.rare)


def draw_from(problem: Oracle, split: Split, rng: np.random.Generator, n: int, *, rare: float = 0.0) -> IdArray:
    """n random sources (n, S) of a split."""
    kept: list[IdArray] = []
    while (missing := n - sum(map(len, kept))) > 0:
        sources = problem.sample_sources(rng, 2 * missing + 64, rare=rare)
        kept.append(sources[in_split(problem.keys(sources), split)][:missing])
    return np.concatenate(kept)


def trainable(recipe: Recipe, sources: IdArray) -> IdArray:
    """Those of some sources (n, S) that the recipe may train on."""
    return sources[in_split(recipe.problem.keys(sources), "train")] if recipe.hold_out else sources


def passes(recipe: Recipe, rng: np.random.Generator) -> Iterator[IdArray]:
    """All the distinct sources that may be trained on, shuffled, again and again."""
    while True:
        sources = np.concatenate(list(recipe.problem.distinct(rng, CHUNK)))
        yield rng.permutation(trainable(recipe, sources))


def chunks(recipe: Recipe, rng: np.random.Generator, examples: Pair | None, hard: IdArray | None) -> Iterator[Pair]:
    """Pairs without end, many at a time: passes over `examples` where they are given, else fresh ones.

    Of fresh ones every second is a `hard` one, where these are given.
    """
    distinct = passes(recipe, rng)
    while True:
        if examples is not None:
            order = rng.permutation(len(examples[0]))
            yield examples[0][order], examples[1][order]
        else:
            sources = next(distinct) if recipe.passes else draw(recipe, rng, CHUNK)
            if hard is not None:
                sources[::2] = rng.choice(hard, len(sources[::2]))
            yield sources, recipe.problem.answer(sources)


def batches(
    recipe: Recipe, rng: np.random.Generator, examples: Pair | None = None, hard: IdArray | None = None
) -> Iterator[Pair]:
    """Batches without end: source ids (B, S), target ids (B, T). See `chunks`."""
    yield from batched(recipe.batch_size, chunks(recipe, rng, examples, hard))


def batched(size: int, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The same pairs, so many at a time; the last are fewer if they do not fill a batch."""
    rest: Pair | None = None
    for pair in pairs:
        sources, targets = pair if rest is None else map(np.concatenate, zip(rest, pair, strict=True))
        whole = len(sources) - len(sources) % size
        for start in range(0, whole, size):
            yield sources[start : start + size], targets[start : start + size]
        rest = sources[whole:], targets[whole:]
    if rest is not None and len(rest[0]):
        yield rest


def fixed_examples(recipe: Recipe, rng: np.random.Generator) -> tuple[Pair | None, Pair | None]:
    """The pairs that are drawn once: those to train on, if any, and those to validate on, if any.

    Where examples are fixed, a share of them validates, and problems that were drawn twice may be on both sides (see
    `share_seen`). Where problems are held out, the validation split validates.
    """
    problem = recipe.problem
    if recipe.examples is not None:
        sources = draw(recipe, rng, recipe.examples)
        targets = problem.answer(sources)
        split = round(len(sources) * (1 - recipe.validation))
        validation = (sources[split:], targets[split:]) if split < len(sources) else None
        return (sources[:split], targets[:split]), validation
    if recipe.hold_out:
        if problem.distinct_size > MOST_LISTED:
            sources = draw_from(problem, "validation", rng, MOST_LISTED // BUCKETS)
        else:
            sources = sources_in(problem, "validation", rng)
        return None, (sources, problem.answer(sources))
    return None, None


def share_seen(problem: Oracle, examples: Pair | None, validation: Pair | None) -> float | None:
    """The share of the validation pairs whose problem is trained on as well; None if nothing fixed validates."""
    if examples is None or validation is None:
        return None
    return float(np.isin(problem.keys(validation[0]), problem.keys(examples[0])).mean())


def inputs(problem: Problem, family: Family, sources: IdArray, targets: IdArray) -> IdArray | Pair:
    """What a training model takes: sources (B, S), and what an autoregressive decoder reads (B, T)."""
    if family == "repeat_vector":
        return sources
    return sources, shifted(targets, problem.target_vocabulary.padding_id)


def shifted(targets: IdArray, start: int) -> IdArray:
    """What a teacher-forced decoder reads: targets (B, T) shifted right by one, the start symbol first."""
    return np.concatenate([np.full((len(targets), 1), start, dtype=np.int32), targets[:, :-1]], axis=1)
