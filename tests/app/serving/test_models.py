from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from app.serving import models as registry
from app.serving.models import Model
from seq2seq.bundle import Bundle, BundleError, Golden
from seq2seq.decoding import RepeatVector, States
from seq2seq.vocabulary import FloatArray


def load(directory: Path) -> Model:
    """The one version of a model, loaded."""
    return registry.load_model(directory / "1", fakes.load, batch_size=4)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    fakes.write_bundle(tmp_path, fakes.reversal_manifest())
    return tmp_path


def refusal(directory: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load(directory)
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
    directory = fakes.write_bundle(tmp_path, wrong)
    with pytest.raises(BundleError, match=r"golden example '1\+1' should give '3'"):
        registry.load_model(directory, fakes.load, batch_size=4)


def test_network_that_was_not_exact_is_refused(tmp_path: Path) -> None:
    manifest = fakes.addition_manifest()
    wrong = replace(manifest.evaluation, wrong=3, least_margin=-1.0)
    fakes.write_bundle(tmp_path, replace(manifest, evaluation=wrong))
    assert "evaluation has 3 answers wrong" in refusal(tmp_path / "addition")


def test_network_that_errs_is_refused(models_dir: Path) -> None:
    def load_wrong(_: Bundle) -> RepeatVector:
        return fakes.truthful(fakes.ADDITION, lambda sources: fakes.ADDITION.answer(sources).clip(1))

    with pytest.raises(BundleError, match=r"the loaded network errs on \d+ of 256 requests"):
        registry.load_model(models_dir / "addition" / "1", load_wrong, batch_size=4)


def test_network_that_does_not_load_is_refused(models_dir: Path) -> None:
    def load_nothing(_: Bundle) -> RepeatVector:
        raise MemoryError("no room")

    with pytest.raises(BundleError, match="addition/1: its network does not run: no room"):
        registry.load_model(models_dir / "addition" / "1", load_nothing, batch_size=4)


def test_network_that_does_not_run_is_refused(models_dir: Path) -> None:
    def broken(_: States) -> FloatArray:
        raise RuntimeError("no such operator")

    def load_broken(bundle: Bundle) -> RepeatVector:
        return replace(fakes.load(bundle), decode=broken)

    with pytest.raises(BundleError, match="its network does not run: no such operator"):
        registry.load_model(models_dir / "addition" / "1", load_broken, batch_size=4)
