"""Verifies bundles: all that the service checks when it loads one, and the whole proof anew.

Loads no Keras unless asked to compare with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from seq2seq import bundle
from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import Network
from seq2seq.evidence import Proof
from seq2seq.proving import proof
from seq2seq.proving.running import Agreement, Mistake
from seq2seq.runtimes import keras as keras_runtime
from seq2seq.runtimes import onnx as onnx_runtime
from training.progress import Progress


@dataclass(frozen=True)
class Verdict:
    """What came of verifying one bundle; `fault` is empty if there is none."""

    directory: Path
    name: str
    version: str
    proof: Proof
    mistakes: list[Mistake]
    agreements: dict[str, Agreement]
    fault: str

    def as_data(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "directory": str(self.directory),
            "model": self.name,
            "version": self.version,
            "exact": not self.fault,
            "fault": self.fault,
            **self.proof.as_data(),
            "agreement": {name: vars(each) for name, each in self.agreements.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"{self.name} {self.version}: {self.proof.sentence}",
            f"  held out of training: {self.proof.held_out:,}, of them wrong: {self.proof.held_out_wrong:,}",
            f"  weakest found: {self.proof.weakest!r}, by {self.proof.weakest_margin:.2f} logits",
        ]
        lines += [
            f"  {name}: the same answer to {each.agreed:,} of {each.compared:,}"
            for name, each in self.agreements.items()
        ]
        lines += [f"  {mistake}" for mistake in self.mistakes]
        lines += [f"  will not be served: {self.fault}"] if self.fault else []
        return "\n".join(lines)


def verify(directory: Path, *, keras: bool) -> Verdict:
    """Check a bundle in full and prove it anew. Raises `BundleError` where it is not one that could be proven.

    `keras` compares its three Keras files as well; that needs TensorFlow.
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
        from training import export

        networks["Keras"] = keras_runtime.load(loaded)
        logits["training.keras"] = export.keras_logits(loaded)
    progress = Progress(f"proving {manifest.name} {manifest.version}")
    outcome = proof.prove(loaded, networks=networks, logits=logits, progress=progress)
    progress.close()
    fault = _fault(loaded, network, outcome)
    return Verdict(
        directory, manifest.name, manifest.version, outcome.proof, outcome.mistakes, outcome.agreements, fault
    )


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


def _fault(loaded: Bundle, network: Network, outcome: proof.Outcome) -> str:
    """Why the service would refuse the bundle, or why its manifest says what is not so; empty if neither."""
    found, said = outcome.proof, loaded.manifest.proof
    agreement = {name: vars(each) for name, each in outcome.agreements.items()}
    try:
        bundle.check_evidence(replace(loaded, manifest=replace(loaded.manifest, evaluation=found, agreement=agreement)))
        bundle.check_evidence(loaded)
        bundle.check_identity(loaded.path, loaded.manifest)
        bundle.check_answers(loaded, network)
    except BundleError as error:
        return str(error)
    if found.held_out != said.held_out:
        return f"the manifest says that {said.held_out:,} requests were held out; it is {found.held_out:,}"
    return ""
