"""Verifies bundles: all that the service checks when it loads one, and the evidence anew.

A proof is made anew where the truth can be computed. Where only pairs show it, their file is needed. Loads no Keras
unless asked to compare with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from seq2seq import bundle
from seq2seq.bundle import Bundle, BundleError, Manifest
from seq2seq.decoding import Network
from seq2seq.evidence import ErrorRates, Evidence, Proof
from seq2seq.problem import Oracle
from seq2seq.problems.pairs import Pairs
from seq2seq.proving import listed, proof
from seq2seq.proving.running import Agreement, Logits, Mistake
from seq2seq.runtimes import keras as keras_runtime
from seq2seq.runtimes import onnx as onnx_runtime
from training.pairs import files, scoring
from training.pairs.files import PairsError, Parts, Reading, Split, Table, Text
from training.progress import Progress

TIES = 1_000
"""One of so many answers may come out otherwise on a machine that rounds otherwise, where nothing is proven."""


@dataclass(frozen=True)
class Source:
    """Files of pairs: all of them, or all but those that were tested with, which `test` then holds."""

    pairs: str
    test: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of verifying one bundle; `fault` is empty if there is none.

    evidence    as it was found anew, or as the manifest has it where it was not `repeated`
    """

    directory: Path
    name: str
    version: str
    evidence: Evidence
    repeated: bool
    mistakes: list[Mistake]
    agreements: dict[str, Agreement]
    fault: str

    def as_data(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "directory": str(self.directory),
            "model": self.name,
            "version": self.version,
            "exact": isinstance(self.evidence, Proof) and self.repeated and not self.fault,
            "fault": self.fault,
            "repeated": self.repeated,
            **self.evidence.as_data(),
            "agreement": {name: vars(each) for name, each in self.agreements.items()},
        }

    def __str__(self) -> str:
        lines = [f"{self.name} {self.version}: {self.evidence.sentence}"]
        if isinstance(self.evidence, Proof):
            lines += [
                f"  held out of training: {self.evidence.held_out:,}, of them wrong: {self.evidence.held_out_wrong:,}",
                f"  weakest found: {self.evidence.weakest!r}, by {self.evidence.weakest_margin:.2f} logits",
            ]
        lines += [
            f"  {name}: the same answer to {each.agreed:,} of {each.compared:,}"
            for name, each in self.agreements.items()
        ]
        lines += [f"  {mistake}" for mistake in self.mistakes]
        if not self.repeated:
            lines += [
                "  verified: its files, its weights, its golden examples, and that its graphs agree",
                "  not verified: the evidence above, as the manifest has it; to repeat it, give the file by --pairs",
            ]
        lines += [f"  will not be served: {self.fault}"] if self.fault else []
        return "\n".join(lines)


def verify(directory: Path, *, keras: bool, source: Source | None = None) -> Verdict:
    """Check a bundle in full and find its evidence anew. Raises `BundleError` or `PairsError` where that cannot be.

    `keras` compares its Keras files as well; that needs TensorFlow. `source` is needed where pairs are the only truth.
    """
    manifest = bundle.read_manifest(directory)
    loaded = bundle.check_files(directory, manifest)
    check_weights(loaded)
    network = onnx_runtime.load(loaded)
    bundle.check_golden(loaded, network)
    onnx_runtime.check_parts(loaded, network)
    networks = {"separate graphs": onnx_runtime.load_parts(loaded)}
    logits = {}
    if keras:
        networks["Keras"] = keras_runtime.load(loaded)
        logits["the training model"] = _keras_logits(loaded)
    found = None
    if isinstance(manifest.problem, Oracle) or source is not None:
        progress = Progress(f"proving {manifest.name} {manifest.version}")
        found = _evidence(loaded, network, source, networks, logits, progress)
        progress.close()
    fault = _fault(loaded, network, found)
    evidence, mistakes, agreements = found or (manifest.evaluation, [], {})
    return Verdict(directory, manifest.name, manifest.version, evidence, found is not None, mistakes, agreements, fault)


Found = tuple[Evidence, list[Mistake], dict[str, Agreement]]
"""Evidence that was found anew, mistakes, and how other networks agreed with the one that is served."""


def _evidence(
    loaded: Bundle,
    network: Network,
    source: Source | None,
    networks: Mapping[str, Network],
    logits: Mapping[str, Logits],
    progress: Progress,
) -> Found:
    manifest = loaded.manifest
    if source is None:
        outcome = proof.prove(loaded, networks=networks, logits=logits, progress=progress)
        return outcome.proof, outcome.mistakes, outcome.agreements
    table, parts = read_pairs(manifest, source)
    assert isinstance(manifest.problem, Pairs)  # noqa: S101
    if isinstance(manifest.evaluation, Proof):
        outcome = listed.prove(
            loaded, table.targets, parts["train"], networks=networks, logits=logits, progress=progress
        )
        return outcome.proof, outcome.mistakes, outcome.agreements
    score = scoring.score(manifest.problem, network, parts["test"])
    agreements = {
        name: scoring.agreement(manifest.problem, network, other, parts["test"]) for name, other in networks.items()
    }
    return replace(manifest.evaluation, **score.rates()), [], agreements


def read_pairs(manifest: Manifest, source: Source) -> tuple[Table, Parts]:
    """The pairs that a bundle was made from, split as they were. Raises `PairsError` where they are others."""
    problem, training = manifest.problem, manifest.training
    if not isinstance(problem, Pairs):
        raise PairsError(f"{manifest.name} {manifest.version} is no model of pairs, so no file of pairs fits it")
    try:
        reading, sha256 = Reading.from_data(training["reading"]), training["recipe"]["pairs_sha256"]
        complete = bool(training["recipe"]["hold_out"])
    except (KeyError, TypeError) as error:
        raise PairsError(f"{manifest.name} {manifest.version} does not say how its file was read: {error}") from error
    table = files.read(source.pairs, reading)

    def check(name: str, targets: Mapping[Text, Sequence[Text]], recorded: str, how: str) -> None:
        if (found := files.sha256_of(targets)) != recorded:
            raise PairsError(
                f"{name} holds other pairs than {manifest.name} {manifest.version} {how}: their SHA-256 is {found}, not"
                f" {recorded}"
            )

    check(table.name, table.targets, sha256, "was made from")
    others: dict[Split, Table] = {} if source.test is None else {"test": files.read(source.test, reading)}
    parts = files.split(table, others, complete=complete)
    if isinstance(manifest.evaluation, ErrorRates):
        name = source.test or f"the test part of {table.name} (--test names another file)"
        check(name, parts["test"], manifest.evaluation.pairs, "was tested with")
    return table, parts


def _keras_logits(loaded: Bundle) -> Logits:
    if isinstance(loaded.manifest.problem, Pairs):
        from training.pairs import export as pairs_export
        from training.pairs import networks

        return pairs_export.training_logits(networks.load(loaded))
    from training import export

    return export.keras_logits(loaded)


def check_weights(loaded: Bundle) -> None:
    """Check that every graph holds its weights itself, and that all are finite. Raises `BundleError`.

    Answers do not show it: a gate that is not a number counts as open or shut.
    """
    for name in (name for name in bundle.GRAPHS if name.endswith(".onnx")):
        path, content = loaded.path / name, loaded.content(name)
        try:
            tensors = [*_tensors(onnx.load_model_from_string(content).graph)]
            outside = any(external_data_helper.uses_external_data(tensor) for tensor in tensors)
            arrays = [] if outside else [numpy_helper.to_array(tensor) for tensor in tensors]
        except Exception as error:  # protobuf and onnx raise many kinds
            raise BundleError(path, f"cannot be read: {error}") from error
        if outside:
            raise BundleError(path, "keeps weights in another file")
        if not all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
            raise BundleError(path, "has weights that are not finite numbers")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a graph holds: its weights, the constants of its nodes, and those of graphs inside it."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def _fault(loaded: Bundle, network: Network, found: Found | None) -> str:
    """Why the service would refuse the bundle, or why its manifest says what is not so; empty if neither."""
    manifest, said = loaded.manifest, loaded.manifest.evaluation
    try:
        if found is not None:
            agreement = {name: vars(each) for name, each in found[2].items()}
            bundle.check_evidence(replace(loaded, manifest=replace(manifest, evaluation=found[0], agreement=agreement)))
        bundle.check_evidence(loaded)
        bundle.check_identity(loaded.path, manifest)
        bundle.check_answers(loaded, network)
    except BundleError as error:
        return str(error)
    return "" if found is None else _difference(said, found[0])


def _difference(said: Evidence, found: Evidence) -> str:
    """In which figure the manifest does not say what was found anew; empty if in none."""
    if isinstance(said, Proof) and isinstance(found, Proof):
        figures = [(said.held_out, found.held_out, 0, "requests were held out")]
    else:
        assert isinstance(said, ErrorRates)  # noqa: S101
        assert isinstance(found, ErrorRates)  # noqa: S101
        figures = [
            (said.tested, found.tested, 0, "sources were asked"),
            (said.wrong, found.wrong, found.tested // TIES, "answers were wrong"),
            (said.symbol_errors, found.symbol_errors, found.symbols // TIES, "symbols were wrong"),
        ]
    for one, other, allowed, words in figures:
        if abs(one - other) > allowed:
            return f"the manifest says that {one:,} {words}; it is {other:,}"
    return ""
