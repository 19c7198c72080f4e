"""The proof of a bundle: every request that its problem accepts, decided one by one or by bounds.

    listed whole        the served graph is run over every request
    heads and tails     bounds over boxes of tails, split where they are too loose (see `bounds`)
    neither             every distinct problem and random requests are tried, which proves nothing

Bounds hold for exact arithmetic. The served graph computes in float32, so how far its logits are from exact ones is
measured, over batch sizes, optimisation levels and runtimes; the least margin must be far above that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime as ort

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import Network
from seq2seq.evidence import SAFETY, UNKNOWN, Proof
from seq2seq.holdout import in_split
from seq2seq.problem import Oracle, oracle
from seq2seq.proving import bounds, running, weakest
from seq2seq.proving.bounds import Bounded, Progress
from seq2seq.proving.graph import Graph, Unprovable
from seq2seq.proving.intervals import Array
from seq2seq.proving.running import BATCH, Agreement, Logits, Mistake, Run
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import FloatArray, IdArray

GRAPH = "greedy.onnx"
BATCH_SIZES = (1, 2, 7, 64, 4_096)
COMPARED = 4_096
"""How many requests the logits are compared on; fewer in the smallest batches."""
MOST_RUNS = 512
RANDOM_REQUESTS = 1_000_000
"""How many random requests are tried where bounds decide nothing."""
MOST_DIFFERENCE = 1e-2
"""How far the logits of other networks of the same weights may be off; more is no rounding."""
STARTS = 256
"""From how many of the weakest requests the search goes on."""
SEED = 2026
"""Seeds the requests that a proof draws, apart from those that training draws."""


@dataclass(frozen=True)
class Outcome:
    """A proof, the mistakes that were found, and how far other networks of the bundle agree with the served one."""

    proof: Proof
    mistakes: list[Mistake]
    agreements: dict[str, Agreement]


def prove(
    bundle: Bundle,
    *,
    networks: Mapping[str, Network] | None = None,
    logits: Mapping[str, Logits] | None = None,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """Decide every request of a bundle's problem, as far as can be.

    networks  others of the same weights, asked the same as the one that is served
    logits    of others of the same weights, compared with exact ones

    Raises `BundleError` where the graph cannot be run, or is not one that can be evaluated.
    """
    problem = oracle(bundle.manifest.problem)
    hold_out = bool(bundle.manifest.training["recipe"].get("hold_out"))
    content = bundle.content(GRAPH)
    served = onnx_runtime.load(bundle)
    try:
        graph = Graph(content)
        shown = onnx_runtime.load_logits(bundle, graph.with_logits(), graph.logits)
        run = running.run(
            problem,
            served,
            problem.distinct(np.random.default_rng(SEED), BATCH),
            hold_out=hold_out,
            others=networks,
            logits=shown,
            weakest=STARTS,
            progress=progress,
            total=problem.distinct_size,
        )
        difference = _differences(bundle, graph, run, served, logits or {})
    except Unprovable as error:
        raise BundleError(bundle.path / GRAPH, f"cannot be evaluated: {error}") from error
    draft = _of_run(problem, run, hashlib.sha256(content).hexdigest(), difference)
    if not problem.tail.length:
        return Outcome(replace(draft, by_enumeration=run.checked), run.mistakes, run.agreements)

    task = _Task(problem, served, shown, hold_out, progress)
    found, _ = weakest.search(problem, task.margins, run.weakest)
    draft = task.with_weakest(draft, found)
    try:
        bounded = bounds.bound(problem, graph, progress, safe=SAFETY * difference)
    except Unprovable:
        bounded = None
    if bounded is None or bounded.undecided:
        proof, mistakes = task.tried(draft, run, found)
    else:
        proof, mistakes = task.bounded(draft, bounded)
    return Outcome(proof, mistakes[: running.MISTAKES_KEPT], run.agreements)


def _of_run(problem: Oracle, run: Run, graph: str, difference: float) -> Proof:
    """What is known once every distinct problem has been run."""
    return replace(
        UNKNOWN,
        domain=problem.domain_size,
        wrong=run.wrong,
        held_out=run.held_out,
        held_out_wrong=run.held_out_wrong,
        least_margin=floor(run.margins[0]),
        weakest=problem.requests(run.weakest[:1])[0],
        weakest_margin=floor(run.margins[0]),
        largest_difference=float(f"{difference:.3g}"),
        batch_sizes=BATCH_SIZES,
        graph=graph,
        runtime=f"ONNX Runtime {ort.__version__}",
    )


def floor(margin: float) -> float:
    """A margin with six decimals, never more than it is."""
    return float(np.floor(float(margin) * 1e6) / 1e6)


@dataclass(frozen=True)
class _Task:
    """A network whose domain is too large to be listed, with what its proof needs."""

    problem: Oracle
    served: Network
    logits: Logits
    hold_out: bool
    progress: Progress

    def margins(self, sources: IdArray) -> Array:
        """The least margin of each source (B,)."""
        targets = self.problem.answer(sources)
        return running.margins(self.logits(sources, targets), targets)

    def with_weakest(self, draft: Proof, sources: IdArray) -> Proof:
        """The draft with the weakest of these sources (n, S), if it is weaker than the one known so far."""
        if not len(sources):
            return draft
        margins = _in_batches(self.margins, sources, BATCH)
        least = floor(margins.min())
        if least >= draft.weakest_margin:
            return draft
        request = self.problem.requests(sources[margins.argmin()][None])[0]
        return replace(draft, weakest=request, weakest_margin=least, least_margin=least)

    def run(self, sources: IdArray) -> Run:
        """Run the network over these sources."""
        batches = (sources[start : start + BATCH] for start in range(0, len(sources), BATCH))
        return running.run(self.problem, self.served, batches, hold_out=self.hold_out)

    def bounded(self, draft: Proof, bounded: Bounded) -> tuple[Proof, list[Mistake]]:
        """The proof where bounds have decided every request, or left single ones in doubt, which are run."""
        doubtful = self.run(bounded.doubtful)
        draft = self.with_weakest(draft, bounded.doubtful)
        padded = np.pad(bounded.heads, ((0, 0), (0, self.problem.source_length - bounded.heads.shape[1])))
        held_out = in_split(self.problem.keys(padded), "held_out") & self.hold_out
        proof = replace(
            draft,
            by_bounds=bounded.by_bounds,
            by_enumeration=bounded.by_enumeration + doubtful.wrong,  # what is right, but not safely, stays undecided
            wrong=doubtful.wrong,
            held_out=int(self.problem.counts(padded)[held_out].sum()),
            held_out_wrong=doubtful.held_out_wrong,
            least_margin=min(floor(bounded.margins.min()), draft.weakest_margin),
        )
        return proof, doubtful.mistakes

    def tried(self, draft: Proof, run: Run, weakest: IdArray) -> tuple[Proof, list[Mistake]]:
        """What is known where bounds do not decide: the run, random requests, and the weakest that were found."""
        found = self.run(weakest)
        more = running.run(
            self.problem,
            self.served,
            _random(self.problem),
            hold_out=self.hold_out,
            logits=self.logits,
            progress=self.progress,
            total=RANDOM_REQUESTS,
        )
        draft = self.with_weakest(draft, more.weakest)
        runs = (found, run, more)
        proof = replace(
            draft,
            tried=sum(each.checked for each in runs),
            wrong=sum(each.wrong for each in runs),
            held_out=sum(each.held_out for each in runs),
            held_out_wrong=sum(each.held_out_wrong for each in runs),
        )
        return proof, [mistake for each in runs for mistake in each.mistakes]


def _random(problem: Oracle) -> Iterator[IdArray]:
    rng = np.random.default_rng(SEED)
    for start in range(0, RANDOM_REQUESTS, BATCH):
        yield problem.sample_sources(rng, min(BATCH, RANDOM_REQUESTS - start))


def _differences(bundle: Bundle, graph: Graph, run: Run, served: Network, others: Mapping[str, Logits]) -> float:
    """The largest difference between computed and exact logits, over the weakest and random requests.

    Raises `BundleError` where the served graph answers otherwise with its logits shown, or in batches of another size.
    """
    problem = oracle(bundle.manifest.problem)
    sources = problem.sample_sources(np.random.default_rng(SEED), COMPARED)
    sources[: len(run.weakest)] = run.weakest
    targets = problem.answer(sources)
    steps = [step.bounds() for step in graph.evaluate(sources, targets, {})]
    exact = np.stack([(step.low + step.high) / 2 for step in steps], axis=1)  # (B, T, V)
    counts = {size: min(COMPARED, MOST_RUNS * size) for size in BATCH_SIZES}
    answers = {
        size: _in_batches(lambda batch: served.greedy(batch).ids, sources[:count], size)
        for size, count in counts.items()
    }
    largest = 0.0
    for name, level in onnx_runtime.LEVELS.items():
        logits = onnx_runtime.load_logits(bundle, graph.with_logits(), graph.logits, level)
        for size, count in counts.items():
            found = _in_batches(lambda batch: logits(batch, batch), sources[:count], size)  # noqa: B023
            if (found.argmax(axis=-1) != answers[size]).any():
                raise BundleError(
                    bundle.path / GRAPH, f"answers otherwise in batches of {size:,} at the optimisation level {name}"
                )
            largest = max(largest, _largest(found, exact[:count], targets[:count]))
    for name, other in others.items():
        difference = _largest(other(sources, targets), exact, targets)
        if not difference <= MOST_DIFFERENCE:
            raise BundleError(bundle.path, f"{name} gives logits that differ by {difference:.2g} from {GRAPH}'s")
        largest = max(largest, difference)
    return largest


def _in_batches(call: Callable[[IdArray], Any], sources: IdArray, size: int) -> Any:
    return np.concatenate([call(sources[start : start + size]) for start in range(0, len(sources), size)])


def _largest(found: FloatArray, exact: Any, targets: IdArray) -> float:
    """The largest difference, up to the first place where an answer is wrong: from there on others are compared."""
    wrong = found.argmax(axis=-1) != targets  # (B, T)
    comparable = (wrong.cumsum(axis=1) - wrong) == 0
    return float(np.abs(found - exact)[comparable].max())
