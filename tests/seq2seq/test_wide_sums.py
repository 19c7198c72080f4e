"""The newest `addition`, in part: `make verify` runs all 101,010,000 sums, which takes minutes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import service

from seq2seq import bundle
from seq2seq.holdout import Split, in_split
from seq2seq.problems.addition import Addition
from seq2seq.proving import running
from seq2seq.proving.proof import SEED
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import IdArray

SHIPPED = bundle.read(service.ROOT / "models" / "addition" / "2")
PROBLEM = Addition(2, 4, 99, "column")


def grid(values: list[int], terms: int) -> IdArray:
    """The sources of every sum of so many terms, each one of these values (n, S)."""
    numbers = np.stack(np.meshgrid(*[values] * terms), axis=-1).reshape(-1, terms)
    absent = np.full((len(numbers), PROBLEM.max_terms - terms), -1)
    return PROBLEM.source_ids(np.concatenate([absent, numbers], axis=1))


def part() -> Iterator[IdArray]:
    """All sums of two or three terms, those of four whose terms are near an end or the middle, and random ones."""
    ends = [*range(8), 49, 50, *range(92, 100)]
    for sources in (
        grid([*range(100)], 2),
        grid([*range(100)], 3),
        grid(ends, 4),
        PROBLEM.sample_sources(np.random.default_rng(SEED), 200_000, rare=0.5),
        PROBLEM.encode([bundle.read_manifest(SHIPPED.path).proof.weakest]),
    ):
        yield from np.array_split(sources, -(-len(sources) // running.BATCH))


def test_what_ships_is_right_on_what_is_run_here() -> None:
    assert SHIPPED.manifest.problem == PROBLEM
    said = SHIPPED.manifest.proof
    assert (said.domain, said.by_enumeration, said.wrong, said.is_exact) == (101_010_000, 101_010_000, 0, True)
    assert abs(said.held_out / said.domain - 0.5) < 0.01
    result = running.run(PROBLEM, onnx_runtime.load(SHIPPED), part(), hold_out=True)
    assert result.checked > 1_300_000
    assert 0.49 < result.held_out / result.checked < 0.51
    assert (result.wrong, result.mistakes) == (0, [])


@pytest.mark.parametrize(
    ("request_", "split"), [("0+0", "held_out"), ("0+0+0+0", "held_out"), ("99+99+99+99", "train")]
)
def test_sums_at_the_ends_were_not_all_trained_on_and_are_right(request_: str, split: Split) -> None:
    sources = PROBLEM.encode([request_])
    assert in_split(PROBLEM.keys(sources), split).all()
    ids, _ = onnx_runtime.load(SHIPPED).greedy(sources)
    assert PROBLEM.decode(ids) == [str(sum(map(int, request_.split("+"))))]
