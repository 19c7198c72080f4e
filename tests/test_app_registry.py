from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from app import registry
from app.main import KINDS
from app.registry import Model
from seq2seq.bundle import Bundle, BundleError, Golden
from seq2seq.decoding import RepeatVector, States
from seq2seq.vocabulary import FloatArray


def load(models_dir: Path, **versions: int) -> dict[str, Model]:
    return registry.load(models_dir, fakes.load, kinds=KINDS, versions=versions, batch_size=4)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    fakes.write_bundle(tmp_path, fakes.reversal_manifest())
    return tmp_path


def test_loads_every_model(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.manifest(fakes.REVERSAL, "mirror"))
    assert list(load(models_dir)) == ["addition", "mirror", "reversal"]


def test_newest_version_is_the_largest_number(models_dir: Path) -> None:
    for version in ("2", "10", "9"):
        fakes.write_bundle(models_dir, fakes.addition_manifest(version))
    assert load(models_dir)["addition"].manifest.version == "10"


def test_version_can_be_chosen(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    assert load(models_dir, addition=1)["addition"].manifest.version == "1"


def test_what_is_no_model_is_passed_over(models_dir: Path) -> None:
    (models_dir / "README.md").write_text("what lies here")
    (models_dir / ".staging").mkdir()
    (models_dir / "addition" / "latest").mkdir()
    (models_dir / "addition" / ".2-abc").mkdir()
    assert list(load(models_dir)) == ["addition", "reversal"]


def refusal(models_dir: Path, **versions: int) -> str:
    with pytest.raises(BundleError) as caught:
        load(models_dir, **versions)
    return str(caught.value)


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: cannot be listed: No such file or directory"


def test_missing_model_is_refused(tmp_path: Path) -> None:
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    assert refusal(tmp_path).startswith(f"{tmp_path / 'reversal'}: is missing")


def test_missing_version_is_refused(models_dir: Path) -> None:
    assert refusal(models_dir, addition=3) == f"{models_dir / 'addition' / '3'}: is missing; there is 1"


def test_version_of_an_unknown_model_is_refused(models_dir: Path) -> None:
    assert refusal(models_dir, division=1).startswith(f"{models_dir / 'division'}: is missing")


def test_model_without_versions_is_refused(models_dir: Path) -> None:
    (models_dir / "empty").mkdir()
    assert "holds no version" in refusal(models_dir)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.keras"])
def test_altered_file_is_refused(models_dir: Path, name: str) -> None:
    path = models_dir / "addition" / "1" / name
    path.write_bytes(path.read_bytes()[::-1])
    assert refusal(models_dir).startswith(f"{path}: was altered")


def test_bundle_in_anothers_folder_is_refused(models_dir: Path) -> None:
    (models_dir / "addition" / "1").rename(models_dir / "addition" / "2")
    assert "is that of addition 1, but stands in the folder addition/2" in refusal(models_dir)


def test_wrong_kind_of_problem_is_refused(tmp_path: Path) -> None:
    fakes.write_bundle(tmp_path, fakes.manifest(fakes.REVERSAL, "addition"))
    fakes.write_bundle(tmp_path, fakes.reversal_manifest())
    assert "problem is of the kind reversal; addition must be addition" in refusal(tmp_path)


def test_golden_example_that_comes_out_otherwise_is_refused(tmp_path: Path) -> None:
    wrong = replace(fakes.addition_manifest(), golden=(Golden("1+1", "3", 0.997),))
    directory = fakes.write_bundle(tmp_path, wrong)
    with pytest.raises(BundleError, match=r"golden example '1\+1' should give '3'"):
        registry.load_model(directory, fakes.load, kind="addition", batch_size=4)


def test_network_that_does_not_run_is_refused(models_dir: Path) -> None:
    def broken(_: States) -> FloatArray:
        raise RuntimeError("no such operator")

    def load_broken(bundle: Bundle) -> RepeatVector:
        return replace(fakes.load(bundle), decode=broken)

    with pytest.raises(BundleError, match="its network does not run: no such operator"):
        registry.load_model(models_dir / "addition" / "1", load_broken, kind="addition", batch_size=4)
