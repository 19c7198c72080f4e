"""What ships is proven; the proof is held against plain enumeration; and a network that is wrong once is found."""

from __future__ import annotations

import hashlib
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.serving import models as registry
from app.serving import runtime
from seq2seq import bundle
from seq2seq.bundle import BundleError
from seq2seq.evidence import UNKNOWN
from seq2seq.problem import oracle
from seq2seq.problems.reversal import Reversal
from seq2seq.proving import bounds, proof, running, weakest
from seq2seq.proving.bounds import Bounded
from seq2seq.proving.graph import Graph
from seq2seq.runtimes import onnx as onnx_runtime
from training.__main__ import main

MODELS = Path(__file__).parents[2] / "models"
REVERSAL, ASKED = MODELS / "reversal" / "2", MODELS / "reversal" / "3"
SILENT = lambda *_: None  # noqa: E731


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(bundle.read(REVERSAL).content(proof.GRAPH))


@pytest.fixture(scope="module")
def bounded(graph: Graph) -> Bounded:
    return bounds.bound(oracle(bundle.read(REVERSAL).manifest.problem), graph, SILENT)


def test_every_list_is_decided(bounded: Bounded) -> None:
    assert bounded.by_bounds + bounded.by_enumeration == 50**6
    assert not len(bounded.doubtful)
    assert not bounded.undecided
    assert bounded.margins.shape == (125_000,)
    assert bounded.margins.min() >= 3


def test_no_request_that_says_how_many_to_take_is_below_its_bound() -> None:
    """Random heads of the larger domain, and the weakest of them, with random lists behind them, as they run."""
    loaded = bundle.read(ASKED)
    problem, graph = oracle(loaded.manifest.problem), Graph(loaded.content(proof.GRAPH))
    assert problem.domain_size == sum(50**length * len({*range(1, min(length, 3) + 1), 3}) for length in range(1, 9))
    logits = onnx_runtime.load_logits(loaded, graph.with_logits(), graph.logits)
    rng = np.random.default_rng(7)
    sources = problem.sample_sources(rng, 8_000)
    targets = problem.answer(sources)
    nothing = np.zeros(len(sources), dtype=np.int64)
    box = graph.reach(problem.tail.symbols, problem.tail.length)
    states = {name: (h.take(nothing), c.take(nothing)) for name, (h, c) in box.items()}
    bound = graph.margins(sources[:, : -problem.tail.length], targets, states)
    assert bound.min() >= loaded.manifest.proof.least_margin
    assert (bound <= running.margins(logits(sources, targets), targets) + 1e-3).all()
    rows = np.repeat(bound.argsort()[:100], 200)
    weak = sources[rows]
    weak[:, 4:] = np.where(weak[:, 4:] != 0, rng.integers(1, 51, (len(rows), 5)), 0)  # `take` and three items stay
    assert (bound[rows] <= running.margins(logits(weak, targets[rows]), targets[rows]) + 1e-3).all()


def test_a_margin_that_rounding_could_take_away_proves_nothing(graph: Graph, bounded: Bounded) -> None:
    safe = float(np.sort(bounded.margins)[10])
    found = bounds.bound(oracle(bundle.read(REVERSAL).manifest.problem), graph, SILENT, safe=safe, most_boxes=0)
    assert found.by_bounds == (125_000 - 11) * 125_000
    assert found.undecided == 11 * 125_000
    assert found.margins.min() > safe


def test_enumeration_finds_what_the_bounds_say(graph: Graph, bounded: Bounded) -> None:
    """All 125,000 tails of 50 random triples and of the 20 weakest, by the served graph itself, its logits shown."""
    loaded = bundle.read(REVERSAL)
    logits = onnx_runtime.load_logits(loaded, graph.with_logits(), graph.logits)
    tails = oracle(loaded.manifest.problem).tail.contents
    assert tails is not None

    def least(head: int) -> float:
        """The least margin of a head over all tails; none may be wrong."""
        margins = []
        for start in range(0, len(tails), running.BATCH):
            tail = tails[start : start + running.BATCH]
            sources = np.concatenate([np.repeat(bounded.heads[head][None], len(tail), axis=0), tail], axis=1)
            targets = np.repeat(bounded.heads[head][None, ::-1], len(tail), axis=0)
            found = logits(sources, targets)
            assert np.array_equal(found.argmax(axis=-1), targets)
            margins.append(running.margins(found, targets).min())
        return float(min(margins))

    chosen = [*np.random.default_rng(5).choice(125_000, 50, replace=False), *bounded.margins.argsort()[:20]]
    with ThreadPoolExecutor(2) as pool:
        for head, margin in zip(chosen, pool.map(least, chosen), strict=True):
            assert 0 < bounded.margins[head] <= margin + 1e-3


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> tuple[Path, list[int]]:
    """A bundle that is sealed as if it were exact, one weight of which was changed until one list came out wrong."""
    directory = tmp_path_factory.mktemp("models") / "reversal" / "2"
    shutil.copytree(REVERSAL, directory)
    loaded = bundle.read(directory)
    problem = oracle(loaded.manifest.problem)
    logits = onnx_runtime.load_logits(loaded, graph.with_logits(), graph.logits)
    sources, _ = weakest.search(
        problem,
        lambda batch: running.margins(logits(batch, batch), problem.answer(batch)),
        problem.sample_sources(np.random.default_rng(6), 64),
    )
    source = sources[:1]  # (1, S)
    target = problem.answer(source)
    found = logits(source, target)[0]  # (T, V)
    true = np.take_along_axis(found, target[0][:, None].astype(int), axis=1)[:, 0]
    np.put_along_axis(found, target[0][:, None].astype(int), -np.inf, axis=1)
    margins = true - found.max(axis=1)  # (T,)
    symbol = int(target[0, margins.argmin()])
    too_little, too_much = 0.0, float(margins.min()) + 0.5
    tails = problem.tail.contents
    assert tails is not None
    lists = np.concatenate([np.repeat(source[:, :3], len(tails), axis=0), tails], axis=1)
    rights = problem.answer(lists)
    while True:
        middle = (too_little + too_much) / 2
        _lower(directory, symbol, middle)
        wrong = (onnx_runtime.load(bundle.read(directory)).greedy(lists).ids != rights).any(axis=1)
        if wrong.sum() == 1:
            _lower(directory, symbol, middle + 2e-3)  # wrong beyond what rounding changes
            return directory, problem.requests(lists[wrong])[0]
        too_little, too_much = (middle, too_much) if not wrong.any() else (too_little, middle)


def _lower(directory: Path, symbol: int, by: float) -> None:
    """Lower one symbol's bias in every graph, from what ships, and seal the bundle anew."""
    for name in ("greedy.onnx", "decoder.onnx"):
        model = onnx.load(REVERSAL / name)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.shape == (51,) and values.dtype == np.float32:
                values = values.copy()
                values[symbol] -= by
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        (directory / name).write_bytes(model.SerializeToString())
    manifest = bundle.read_manifest(REVERSAL)
    graph = hashlib.sha256((directory / "greedy.onnx").read_bytes()).hexdigest()
    bundle.seal(directory, replace(manifest, evaluation=replace(manifest.proof, graph=graph)))


def test_a_network_that_is_wrong_once_is_found(
    damaged: tuple[Path, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, request_ = damaged
    assert main(["verify", str(directory)]) == 1
    out = capsys.readouterr().out
    assert f"{request_!r}: wrote " in out
    assert re.search(r"15,625,000,000 by bounds|[\d,]+ one by one and [\d,]+ by bounds, [1-9][\d,]* wrong", out)
    assert "will not be served" in out


def test_the_service_finds_it_too_where_it_proves_what_it_serves(damaged: tuple[Path, list[int]]) -> None:
    directory, _ = damaged
    loader = runtime.loader("onnx")
    registry.load_model(directory, loader, batch_size=4)  # nothing else gives it away
    with pytest.raises(BundleError, match="answers wrong; a network must be exact to be served"):
        registry.load_model(directory, loader, batch_size=4, prove=True)


def test_lists_of_several_lengths_are_counted_and_listed() -> None:
    problem = Reversal(2, 4, 3, 2)
    tails = problem.tail.contents
    assert tails is not None
    assert problem.domain_size == 9 + 27 + 81
    assert problem.counts(problem.encode([[1, 2], [1, 2, 3]])).tolist() == [13, 13] == [len(tails)] * 2
    assert len(np.unique(tails, axis=0)) == 13
    for tail in tails:
        request = [1, 2, *(item for item in tail.tolist() if item)]
        assert problem.encode([problem.parse(request)])[0].tolist() == [1, 2, *tail]


def test_a_proof_is_exact_only_if_all_is_decided_and_its_margin_is_safe() -> None:
    exact = replace(UNKNOWN, domain=10, by_bounds=7, by_enumeration=3, least_margin=1.0, largest_difference=1e-4)
    assert exact.is_exact
    assert not replace(exact, by_bounds=6).is_exact
    assert not replace(exact, wrong=1).is_exact
    assert not replace(exact, least_margin=9e-4).is_exact
    assert not replace(exact, by_bounds=0, by_enumeration=0, tried=10).is_exact
