from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from app.serving import models as registry
from app.serving.runtime import Loader
from seq2seq.bundle import Bundle, BundleError, Golden
from seq2seq.decoding import RepeatVector, States
from seq2seq.vocabulary import FloatArray


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    fakes.write_bundle(tmp_path, fakes.reversal_manifest())
    return tmp_path


def refusal(directory: Path) -> str:
    """Why the one version of a model is refused."""
    with pytest.raises(BundleError) as caught:
        registry.load_model(directory / "1", fakes.load, batch_size=4)
    return str(caught.value)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.keras"])
def test_altered_file_is_refused(models_dir: Path, name: str) -> None:
    path = models_dir / "addition" / "1" / name
    path.write_bytes(path.read_bytes()[::-1])
    assert refusal(models_dir / "addition").startswith(f"{path}: was altered")


def test_bundle_in_anothers_folder_is_refused(models_dir: Path) -> None:
    (models_dir / "addition").rename(models_dir / "adding")
    assert "is that of addition 1, but stands in the folder adding/1" in refusal(models_dir / "adding")


def test_golden_example_that_comes_out_otherwise_is_refused(tmp_path: Path) -> None:
    wrong = replace(fakes.addition_manifest(), golden=(Golden("1+1", "3", 0.997),))
    fakes.write_bundle(tmp_path, wrong)
    assert "golden example '1+1' should give '3'" in refusal(tmp_path / "addition")


def test_network_that_was_not_exact_is_refused(tmp_path: Path) -> None:
    manifest = fakes.addition_manifest()
    wrong = replace(manifest.proof, wrong=3, least_margin=-1.0)
    fakes.write_bundle(tmp_path, replace(manifest, evaluation=wrong))
    assert "evaluation has 3 answers wrong" in refusal(tmp_path / "addition")


def wrong(_: Bundle) -> RepeatVector:
    return fakes.truthful(fakes.ADDITION, lambda sources: fakes.ADDITION.answer(sources).clip(1))


def too_large(_: Bundle) -> RepeatVector:
    raise MemoryError("no room")


def broken(bundle: Bundle) -> RepeatVector:
    def decode(_: States) -> FloatArray:
        raise RuntimeError("no such operator")

    return replace(fakes.load(bundle), decode=decode)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (wrong, r"the loaded network errs on \d+ of 256 requests"),
        (too_large, "addition/1: its network does not run: no room"),
        (broken, "addition/1: its network does not run: no such operator"),
    ],
)
def test_network_that_errs_or_fails_is_refused(models_dir: Path, loader: Loader, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        registry.load_model(models_dir / "addition" / "1", loader, batch_size=4)
