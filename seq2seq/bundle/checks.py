"""Checks of a bundle that was read: its folder, its proof, and the answers of its loaded network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seq2seq.bundle.manifest import MANIFEST, BundleError, Golden, Manifest
from seq2seq.bundle.reading import Bundle
from seq2seq.decoding import Network
from seq2seq.evidence import Proof
from seq2seq.problem import Oracle

CONFIDENCE_TOLERANCE = 1e-3
"""How far a golden example's confidence may be off between runtimes and machines."""

QUESTIONS = 256
"""How many requests a network that was proven exact is asked once it is loaded, always the same ones."""


def check_identity(directory: Path, manifest: Manifest) -> None:
    """Check that a bundle is the one that its folder's name says, <name>/<version>. Raises `BundleError`."""
    folder = directory.absolute()
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise BundleError(
            directory / MANIFEST,
            f"is that of {manifest.name} {manifest.version}, but stands in the folder"
            f" {folder.parent.name}/{folder.name}",
        )


def check_golden(bundle: Bundle, network: Network) -> None:
    """Replay the golden examples on a loaded network, one alone and then all together.

    Raises `BundleError` at the first that comes out otherwise.
    """
    golden = bundle.manifest.golden
    _replay(bundle, network, golden[:1])
    _replay(bundle, network, golden)


def _replay(bundle: Bundle, network: Network, golden: Sequence[Golden]) -> None:
    problem = bundle.manifest.problem
    decoded = network.greedy(problem.encode([problem.parse(example.request) for example in golden]))
    for example, written, confidence in zip(golden, problem.decode(decoded.ids), decoded.confidence, strict=True):
        if written != example.decoded or not abs(confidence - example.confidence) <= CONFIDENCE_TOLERANCE:
            raise BundleError(
                bundle.path / MANIFEST,
                f"golden example {example.request!r} should give {example.decoded!r} at {example.confidence:.4f},"
                f" but the loaded network gives {written!r} at {confidence:.4f}",
            )


def check_evidence(bundle: Bundle) -> None:
    """Check that the manifest tells of a proof without a fault, or of error rates where no truth can be computed.

    Raises `BundleError`.
    """
    manifest = bundle.manifest
    differing = [name for name, each in manifest.agreement.items() if each["agreed"] != each["compared"]]
    if isinstance(manifest.evaluation, Proof):
        fault = _fault_of(manifest.evaluation)
    elif isinstance(manifest.problem, Oracle):
        fault = "evaluation has error rates only; a network whose truth can be computed must be proven to be served"
    else:
        fault = ""
    if not fault and differing:
        fault = f"agreement says that {', '.join(differing)} gave other answers"
    if fault:
        raise BundleError(bundle.path / MANIFEST, fault)


def _fault_of(proof: Proof) -> str:
    """Why a proof is none; empty if it is one."""
    decided = proof.by_enumeration + proof.by_bounds
    if proof.wrong:
        return f"evaluation has {proof.wrong:,} answers wrong; a network must be exact to be served"
    if decided != proof.domain:
        return f"evaluation decides {decided:,} of {proof.domain:,} requests; a network must be proven to be served"
    if not proof.is_exact:
        return (
            f"evaluation has a least margin of {proof.least_margin} logits, too near to the {proof.largest_difference}"
            " that rounding changes"
        )
    return ""


def check_answers(bundle: Bundle, network: Network) -> None:
    """Ask a loaded network for answers that can be computed, if any can. Raises `BundleError` if one is wrong."""
    problem = bundle.manifest.problem
    if not isinstance(problem, Oracle):
        return
    sources = problem.sample_sources(np.random.default_rng(QUESTIONS), QUESTIONS)  # (n, S)
    right = problem.answer(sources)  # (n, T)
    ids, probabilities = network.greedy(sources)
    if ids.shape != right.shape or probabilities.shape != right.shape:
        raise BundleError(bundle.path, f"its network gives arrays of {ids.shape} for answers of {right.shape}")
    wrong = (ids != right).any(axis=1) | ~((probabilities > 0) & (probabilities <= 1.001)).all(axis=1)  # (n,)
    if wrong.any():
        first = wrong.argmax()
        raise BundleError(
            bundle.path / MANIFEST,
            f"says that no answer is wrong, but the loaded network errs on {wrong.sum()} of {QUESTIONS} requests; the"
            f" first is {problem.requests(sources[first : first + 1])[0]!r}",
        )
