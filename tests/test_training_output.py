"""Where bundles go: what stands there is never lost, and what cannot be written is told before anything is trained."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import fakes
import pytest

from seq2seq import bundle, staging
from training import output
from training.__main__ import main
from training.command_line import CallError
from training.output import Destination
from training.recipes import RECIPES

ROOT = Path(__file__).parent.parent
RECIPE = RECIPES["addition-three-terms"]


def contents(directory: Path) -> dict[str, bytes | str]:
    """Every file and link under a folder, with what it holds."""
    return {
        path.relative_to(directory).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A sealed bundle."""
    return fakes.write_bundle(tmp_path, fakes.addition_manifest())


def with_file(directory: Path) -> Path:
    (directory / "notes.txt").write_text("mine")
    return directory


def folder(path: Path) -> Path:
    path.mkdir()
    return with_file(path)


def file(path: Path) -> Path:
    path.write_text("mine")
    return path


def under_file(path: Path) -> Path:
    path.write_text("mine")
    return path / "1"


def dangling(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere")
    return path


def linked(path: Path) -> Path:
    target = path.with_name("target")
    target.mkdir()
    path.symlink_to(target)
    return path


def no_manifest_of_ours(path: Path) -> Path:
    path.mkdir()
    (path / "manifest.json").write_text('{"name": "a web page"}')
    return path


def unreadable_manifest(path: Path) -> Path:
    path.mkdir()
    (path / "manifest.json").mkdir()
    return with_file(path)


@pytest.mark.parametrize("flags", [[], ["--replace"]])
@pytest.mark.parametrize(
    "there", [folder, file, under_file, dangling, linked, no_manifest_of_ours, unreadable_manifest]
)
def test_what_is_no_bundle_is_refused_before_training_and_stays(
    there: Callable[[Path], Path], flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = there(tmp_path / "1")
    before = contents(tmp_path)
    assert main(["fit", RECIPE.name, "--out", str(out), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""  # the recipe is printed before training
    assert captured.err.count("\n") == 1
    assert str(out.parent) in captured.err
    assert contents(tmp_path) == before


def test_a_bundle_is_replaced_only_if_asked_for(sealed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(sealed)
    assert main(["fit", RECIPE.name, "--out", str(sealed)]) == 2
    assert "holds a bundle; --replace replaces it" in capsys.readouterr().err
    assert contents(sealed) == before
    assert output.destination(sealed, RECIPE, replace=True).replace


def test_a_bundle_with_a_file_of_somebodys_beside_it_is_never_replaced(sealed: Path) -> None:
    with pytest.raises(CallError, match=r"holds notes\.txt, which is no part of its bundle"):
        output.destination(with_file(sealed), RECIPE, replace=True)


@pytest.mark.parametrize("name", ["-", "a b", "é", "x" * 101, ".hidden", "1\n"])
def test_a_name_that_no_bundle_can_have_is_refused(name: str, tmp_path: Path) -> None:
    if name == "-":
        output.destination(tmp_path / name, RECIPE, replace=False)
    else:
        with pytest.raises(CallError, match="may hold at most 100 letters"):
            output.destination(tmp_path / name, RECIPE, replace=False)


def test_a_file_system_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(CallError, match=r"cannot write to /proc/self/task:"):
        output.destination(Path("/proc/self/task/1x"), RECIPE, replace=False)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    assert output.destination(tmp_path / "1", RECIPE, replace=False) == Destination(tmp_path, "1")


def seal(directory: Path, version: str) -> None:
    """What a finished run writes, made by hand."""
    shutil.rmtree(directory, ignore_errors=True)
    made = fakes.write_bundle(directory.parent, fakes.addition_manifest(version))
    made.rename(directory)
    made.parent.rmdir()


def test_two_runs_that_end_together_get_two_versions(tmp_path: Path) -> None:
    wanted = Destination(tmp_path)
    with staging.workspace(tmp_path) as one, staging.workspace(tmp_path) as other:

        def sealed_late(directory: Path, version: str) -> None:
            seal(directory, version)
            if version == "1":  # the other run ends between this run's sealing and its renaming
                assert output.put(other / "bundle", wanted, seal).name == "1"

        assert output.put(one / "bundle", wanted, sealed_late) == tmp_path / "2"
    assert [bundle.read(tmp_path / version).manifest.version for version in ("1", "2")] == ["1", "2"]


def test_a_fixed_place_that_was_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with staging.workspace(tmp_path) as workspace:
        folder(tmp_path / "1")
        with pytest.raises(CallError, match="was taken while this run trained"):
            output.put(workspace / "bundle", Destination(tmp_path, "1"), seal)
    assert contents(tmp_path) == {"1/notes.txt": b"mine"}


def test_what_was_put_beside_a_bundle_while_a_run_trained_is_not_replaced(sealed: Path) -> None:
    with staging.workspace(sealed.parent) as workspace:
        with_file(sealed)
        with pytest.raises(CallError, match="no part of its bundle"):
            output.put(workspace / "bundle", Destination(sealed.parent, "1", replace=True), seal)
    assert (sealed / "notes.txt").read_text() == "mine"


def test_a_bundle_can_go_elsewhere(tmp_path: Path) -> None:
    with staging.workspace(tmp_path / "models") as workspace:
        seal(workspace / "bundle", "4")
        directory = output.put_elsewhere(workspace / "bundle", Destination(tmp_path / "runs"), seal)
    assert directory == tmp_path / "runs" / "1"
    assert bundle.read(directory).manifest.version == "1"
    assert contents(tmp_path / "models") == {}


def test_make_refuses_one_folder_for_two_recipes() -> None:
    result = subprocess.run(
        ["make", "--dry-run", "train", "ARGS=--out runs/x/1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "--out is for one recipe" in result.stdout
    single = subprocess.run(
        ["make", "--dry-run", "train", "RECIPE=addition", "ARGS=--out runs/x/1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--out is for one recipe" not in single.stdout
