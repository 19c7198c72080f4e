"""The proof of a bundle whose domain is a list of pairs: the served graph is run over every source there is.

A margin is taken along the true answer, up to the first symbol that is wrong. How far computed logits are from exact
ones is measured on the weakest and on random sources, over batch sizes, optimisation levels and runtimes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import Decoded, Network
from seq2seq.evidence import UNKNOWN
from seq2seq.problem import END_ID, RuleBroken
from seq2seq.problems.pairs import PADDING_ID, Pairs, padded
from seq2seq.proving import loop, proof
from seq2seq.proving.bounds import Progress
from seq2seq.proving.intervals import Array
from seq2seq.proving.proof import BATCH_SIZES, COMPARED, GRAPH, Outcome
from seq2seq.proving.running import BATCH, MISTAKES_KEPT, Agreement, Logits, Mistake
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import FloatArray, IdArray

Text = tuple[str, ...]
Booleans = npt.NDArray[np.bool_]


def prove(
    bundle: Bundle,
    targets: Mapping[Text, Sequence[Text]],
    trained_on: Container[Text],
    *,
    networks: Mapping[str, Network] | None = None,
    logits: Mapping[str, Logits] | None = None,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """Ask for every source of a domain, and hold each answer against its target.

    targets     of all sources that the bundle's problem accepts, one each
    trained_on  the sources that were trained on; all others count as held out
    networks    others of the same weights, asked the same as the one that is served
    logits      of others of the same weights, told the true symbols, compared with exact ones

    Raises `BundleError` where the pairs are of another domain, the graph cannot be run, or answers depend on the batch.
    """
    problem = bundle.manifest.problem
    assert isinstance(problem, Pairs)  # noqa: S101
    _check_domain(bundle, problem, targets)
    content = bundle.content(GRAPH)
    try:
        graph = _Graph(bundle, problem, targets, content, loop.with_logits(content))
        run = _run(graph, networks or {}, progress)
        order = np.argsort(run.margins, kind="stable")
        difference = _differences(graph, [run.sources[place] for place in order[: proof.STARTS]], logits or {})
    except loop.NoLoop as error:
        raise BundleError(bundle.path / GRAPH, f"cannot be evaluated: {error}") from error
    held_out = np.array([source not in trained_on for source in run.sources])
    least = proof.floor(run.margins[order[0]])
    found = replace(
        UNKNOWN,
        domain=len(run.sources),
        by_enumeration=len(run.sources),
        wrong=int(run.wrong.sum()),
        held_out=int(held_out.sum()),
        held_out_wrong=int((run.wrong & held_out).sum()),
        least_margin=least,
        weakest=problem.input.value(run.sources[order[0]]),
        weakest_margin=least,
        largest_difference=float(f"{difference:.3g}"),
        batch_sizes=BATCH_SIZES,
        graph=hashlib.sha256(content).hexdigest(),
        runtime=f"ONNX Runtime {ort.__version__}",
    )
    return Outcome(found, run.mistakes, run.agreements)


def _check_domain(bundle: Bundle, problem: Pairs, targets: Mapping[Text, Sequence[Text]]) -> None:
    """Check that the problem reads every source as it stands in the file, and accepts no other."""
    for source, found in targets.items():
        request = problem.input.value(source)
        if len(found) != 1:
            raise BundleError(bundle.path, f"{request!r:.60} has {len(found)} targets, and a proof needs one")
        try:
            is_read = problem.parse(request) == source
        except RuleBroken as error:
            raise BundleError(bundle.path, f"does not accept {request!r:.60}: {error}") from error
        if not is_read:
            raise BundleError(bundle.path, f"reads {request!r:.60} as another source")
    if len(targets) != problem.domain_size:
        raise BundleError(bundle.path, f"accepts {problem.domain_size} sources, and these are {len(targets):,}")


class _Batch(NamedTuple):
    """Sources, at which places they stand, their ids (B, S), and their targets' ids (B, T)."""

    sources: Sequence[Text]
    places: slice
    ids: IdArray
    targets: IdArray


@dataclass(frozen=True)
class _Graph:
    """A served graph, and the targets of all sources."""

    bundle: Bundle
    problem: Pairs
    targets: Mapping[Text, Sequence[Text]]
    content: bytes
    with_logits: bytes

    def logits(self, level: str) -> Logits:
        return onnx_runtime.load_logits(self.bundle, self.with_logits, loop.LOGITS, onnx_runtime.LEVELS[level])

    def batches(self, sources: Sequence[Text], size: int) -> Iterator[_Batch]:
        for start in range(0, len(sources), size):
            part = sources[start : start + size]
            targets = padded([self.problem.target_ids(self.targets[source][0]) for source in part])
            yield _Batch(part, slice(start, start + len(part)), self.problem.encode(part), targets)


@dataclass(frozen=True)
class _Run:
    """What came of asking for every source: whether each answer is wrong (n,), and its least margin in logits (n,)."""

    sources: list[Text]
    wrong: Booleans
    margins: Array
    mistakes: list[Mistake]
    agreements: dict[str, Agreement]


def _run(graph: _Graph, networks: Mapping[str, Network], progress: Progress) -> _Run:
    sources = sorted(graph.targets, key=len)
    count = len(sources)
    run = _Run(sources, np.zeros(count, np.bool_), np.zeros(count), [], {name: Agreement() for name in networks})
    served, logits = onnx_runtime.load(graph.bundle), graph.logits("all")
    for batch in graph.batches(sources, BATCH):
        decoded = served.greedy(batch.ids)
        wrong = _differ(decoded.ids, batch.targets)
        run.wrong[batch.places] = wrong
        run.margins[batch.places] = _margins(logits(batch.ids, batch.targets), batch.targets)
        rows = np.flatnonzero(wrong)[: MISTAKES_KEPT - len(run.mistakes)]
        for row, written in zip(rows, graph.problem.decode(decoded.ids[rows]), strict=True):
            source = batch.sources[row]
            right = graph.problem.render(graph.targets[source][0])
            run.mistakes.append(Mistake(graph.problem.input.value(source), graph.problem.render(written), right))
        for name, other in networks.items():
            compare(run.agreements[name], decoded, other.greedy(batch.ids))
        progress("requests", batch.places.stop, count)
    return run


def compare(agreement: Agreement, one: Decoded, other: Decoded) -> None:
    """Count in how many answers of a batch two networks agree, and how far their probabilities are apart there."""
    same = ~_differ(one.ids, other.ids)
    agreement.compared += len(same)
    agreement.agreed += int(same.sum())
    length = min(one.ids.shape[1], other.ids.shape[1])  # what one has beyond, no answer that is the same has
    difference = np.abs(one.probabilities[:, :length] - other.probabilities[:, :length])[same].max(initial=0.0)
    agreement.largest_difference = max(agreement.largest_difference, float(difference))


def _differences(graph: _Graph, weakest: Sequence[Text], others: Mapping[str, Logits]) -> float:
    """The largest difference between computed and exact logits, over the weakest and random sources.

    Raises `BundleError` where an answer depends on the batch or on the optimisation level.
    """
    drawn = np.random.default_rng(proof.SEED).permutation(len(graph.targets))  # so a batch has different lengths
    everything = list(graph.targets)
    sources = [*weakest, *(everything[place] for place in drawn)][:COMPARED]
    (whole,) = graph.batches(sources, COMPARED)
    exact = loop.Exact(graph.content)(whole.ids, whole.targets)  # (n, T, V)
    served = onnx_runtime.load(graph.bundle)
    answers = served.greedy(whole.ids).ids
    levels = {name: graph.logits(name) for name in onnx_runtime.LEVELS}
    largest = 0.0
    for size in BATCH_SIZES:
        for batch in graph.batches(sources[: proof.MOST_RUNS * size], size):
            shown = {name: logits(batch.ids, batch.targets) for name, logits in levels.items()}
            written = {f" at the optimisation level {name}": _chosen(found) for name, found in shown.items()}
            for level, ids in {"": served.greedy(batch.ids).ids, **written}.items():
                if _differ(ids, answers[batch.places]).any():
                    raise BundleError(graph.bundle.path / GRAPH, f"answers otherwise in batches of {size:,}{level}")
            for found in shown.values():
                largest = max(largest, _largest(found, exact[batch.places], batch.targets))
    for name, other in others.items():
        difference = _largest(other(whole.ids, whole.targets), exact, whole.targets)
        if not difference <= proof.MOST_DIFFERENCE:
            raise BundleError(graph.bundle.path, f"{name} gives logits that differ by {difference:.2g} from {GRAPH}'s")
        largest = max(largest, difference)
    return largest


def _differ(one: IdArray, other: IdArray) -> Booleans:
    """Which answers (B,) are not the same, of ids (B, …) that may be padded to different lengths."""
    length = max(one.shape[1], other.shape[1])
    first, second = (np.pad(each, ((0, 0), (0, length - each.shape[1]))) for each in (one, other))
    found: Booleans = (first != second).any(axis=1)
    return found


def _chosen(logits: FloatArray) -> IdArray:
    """Logits (B, T, V) → the likeliest ids (B, T), padding after the end."""
    ids = logits.argmax(axis=-1).astype(np.int32)
    is_end = ids == END_ID
    return np.where(is_end.cumsum(axis=1) > is_end, PADDING_ID, ids)


def _comparable(logits: FloatArray, targets: IdArray) -> Booleans:
    """The places (B, T) up to the first whose likeliest symbol is wrong, no padding among them."""
    wrong = logits.argmax(axis=-1) != targets
    found: Booleans = (wrong.cumsum(axis=1) == wrong) & (targets != PADDING_ID)
    return found


def _margins(logits: FloatArray, targets: IdArray) -> Array:
    """Logits (B, T', V), the true ids (B, T) → the least margin of a true logit over the others of its place (B,)."""
    length = min(logits.shape[1], targets.shape[1])
    logits, targets = logits[:, :length], targets[:, :length]
    places = targets[..., None].astype(np.int64)
    true = np.take_along_axis(logits, places, axis=-1)[..., 0].astype(np.float64)  # (B, T)
    others = logits.copy()
    np.put_along_axis(others, places, -np.inf, axis=-1)
    margins = np.where(_comparable(logits, targets), true - others.max(axis=-1), np.inf)
    least: Array = margins.min(axis=1)
    return least


def _largest(found: FloatArray, exact: Array, targets: IdArray) -> float:
    """The largest difference of logits, up to the first place where an answer is wrong."""
    length = min(found.shape[1], targets.shape[1])
    found, exact, targets = found[:, :length], exact[:, :length], targets[:, :length]
    return float(np.abs(found - exact)[_comparable(found, targets)].max())
