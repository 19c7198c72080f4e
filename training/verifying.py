"""Verifies bundles: all that the service checks when it loads one, and the whole proof anew.

Loads no Keras unless asked to compare with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seq2seq import bundle, onnx_runtime
from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import Network
from seq2seq.evidence import Proof
from seq2seq.proving import proof
from seq2seq.proving.running import Agreement, Mistake
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
        lines = [f"{self.name} {self.version}: {self.proof.sentence}"]
        lines += [
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
    network = onnx_runtime.load(loaded)
    bundle.check_golden(loaded, network)
    onnx_runtime.check_parts(loaded, network)
    networks = {"separate graphs": onnx_runtime.load_parts(loaded)}
    logits = {}
    if keras:
        from training import export

        networks["Keras"] = export.keras_network(manifest.problem, manifest.network, directory)
        logits["training.keras"] = export.keras_logits(manifest.problem, manifest.network, directory)
    progress = Progress(f"proving {manifest.name} {manifest.version}")
    outcome = proof.prove(
        loaded,
        networks=networks,
        logits=logits,
        progress=progress,
    )
    progress.close()
    fault = _fault(loaded, network, outcome)
    return Verdict(
        directory, manifest.name, manifest.version, outcome.proof, outcome.mistakes, outcome.agreements, fault
    )


def _fault(loaded: Bundle, network: Network, outcome: proof.Outcome) -> str:
    """Why the service would refuse the bundle, or why its manifest says what is not so; empty if neither."""
    found, said = outcome.proof, loaded.manifest.evaluation
    agreement = {name: vars(each) for name, each in outcome.agreements.items()}
    try:
        bundle.check_proven(replace(loaded, manifest=replace(loaded.manifest, evaluation=found, agreement=agreement)))
        bundle.check_proven(loaded)
        bundle.check_identity(loaded.path, loaded.manifest)
        bundle.check_answers(loaded, network)
    except BundleError as error:
        return str(error)
    if found.held_out != said.held_out:
        return f"the manifest says that {said.held_out:,} requests were held out; it is {found.held_out:,}"
    return ""
