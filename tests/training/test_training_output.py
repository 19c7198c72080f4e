"""Where bundles go: what stands there is never lost, and what cannot be written is told before anything is trained."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from seq2seq import bundle, staging
from training import environment, output
from training.__main__ import main
from training.command_line import CallError
from training.output import Destination
from training.recipes import RECIPES

ROOT = Path(__file__).parents[2]
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
    path.mkdir(parents=True)
    return with_file(path)


def file(path: Path) -> Path:
    path.write_text("mine")
    return path


def under_file(path: Path) -> Path:
    return file(path) / "1"


def dangling(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere")
    return path


def linked(path: Path) -> Path:
    target = path.with_name("target")
    target.mkdir()
    path.symlink_to(target)
    return path


def only_an_empty_folder(path: Path) -> Path:
    (path / "mine").mkdir(parents=True)
    return path


def unreadable_manifest(path: Path) -> Path:
    folder(path / "manifest.json")
    return path


def manifest_of(content: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.mkdir()
        (path / "manifest.json").write_text(content)
        return path

    return write


@pytest.mark.parametrize("flags", [[], ["--replace"]])
@pytest.mark.parametrize(
    "there",
    [
        folder,
        file,
        under_file,
        dangling,
        linked,
        only_an_empty_folder,
        unreadable_manifest,
        *map(manifest_of, ['{"name": "a web page"}', '{"files": []}', '{"files": {"a.html": {}}}', "[" * 100_000]),
        lambda path: dangling(path) / "1",
        lambda path: path / ("x" * 256) / "1",
    ],
)
def test_what_is_no_bundle_is_refused_before_training_and_stays(
    there: Callable[[Path], Path], flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = there(tmp_path / "1")
    before = contents(tmp_path), sorted(tmp_path.rglob("*"))
    assert main(["fit", RECIPE.name, "--out", str(out), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""  # the recipe is printed before training
    assert captured.err.count("\n") == 1
    assert (contents(tmp_path), sorted(tmp_path.rglob("*"))) == before


def test_a_bundle_is_replaced_only_if_asked_for(sealed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(sealed)
    assert main(["fit", RECIPE.name, "--out", str(sealed)]) == 2
    assert "holds a bundle; --replace replaces it" in capsys.readouterr().err
    assert contents(sealed) == before
    assert output.destination(sealed, RECIPE, replace=True).replace


@pytest.mark.parametrize("name", ["notes.txt", "link"])
def test_a_bundle_with_something_of_somebodys_beside_it_is_never_replaced(sealed: Path, name: str) -> None:
    if name == "link":
        (sealed / name).symlink_to(sealed.parent)
    else:
        with_file(sealed)
    with pytest.raises(CallError, match=f"holds {name}, which is no part of its bundle"):
        output.destination(sealed, RECIPE, replace=True)


def test_a_bundle_of_an_earlier_release_can_be_replaced(sealed: Path) -> None:
    data = json.loads((sealed / "manifest.json").read_bytes())
    bundle.write_manifest(sealed, data | {"format": 1})
    assert output.destination(sealed, RECIPE, replace=True).replace


def test_replace_without_a_place_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", RECIPE.name, "--replace"]) == 2
    assert capsys.readouterr() == ("", "training: --replace needs --out; without it a run gets the next version\n")


@pytest.mark.parametrize("name", ["a b", "é", "x" * 101, ".hidden", "1\n"])
def test_a_name_that_no_bundle_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="may hold at most 100 letters"):
        output.destination(tmp_path / name, RECIPE, replace=False)


def test_a_file_system_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(CallError, match=r"cannot write to /proc/self/task:"):
        output.destination(Path("/proc/self/task/1x"), RECIPE, replace=False)


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder, with a user who may write into it, but not everywhere; it is not in root's own, as `tmp_path` is."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        if root:
            os.seteuid(65_534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize(("closed", "ships"), [("models", True), ("runs", True), ("runs", False), ("mine", None)])
def test_a_folder_that_may_not_be_written_is_refused(
    closed: str, ships: bool | None, nobodys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the recipe says where: under models/, and under runs/ if the run is not exact."""
    monkeypatch.chdir(nobodys)
    recipe = replace(RECIPE, ships=bool(ships))
    out = nobodys / "mine" / "a" / "1" if ships is None else None
    output.destination(out, recipe, replace=False)
    (nobodys / closed).mkdir()
    output.destination(out, recipe, replace=False)
    (nobodys / closed).chmod(0o555)
    with pytest.raises(CallError, match=rf"cannot write to {nobodys}/{closed}/.*: Permission denied"):
        output.destination(out, recipe, replace=False)


def test_where_nothing_was_written_yet_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service would not start with a folder under models/ that holds no version."""
    monkeypatch.chdir(tmp_path)
    output.destination(None, replace(RECIPE, ships=True), replace=False)
    output.destination(tmp_path / "a" / "b", RECIPE, replace=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["1", "7", "007", "best", "-"])
def test_a_bundles_version_is_the_name_of_its_folder(name: str, tmp_path: Path) -> None:
    assert output.destination(tmp_path / name, RECIPE, replace=False).version == name


def test_what_killed_runs_have_left_is_swept_before_training(tmp_path: Path) -> None:
    left = folder(tmp_path / f"{staging.PREFIX}x" / "bundle").parent
    (left / staging.LOCK).touch()
    output.destination(tmp_path / "1", RECIPE, replace=False)
    assert list(tmp_path.iterdir()) == []


def test_log_files_that_cannot_be_written_are_told_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", RECIPE.name, "--log-dir", "/proc/self/task"]) == 2
    assert capsys.readouterr().err.startswith("training: cannot write to /proc/self/task: ")


def test_what_is_not_installed_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    assert main(["fit", RECIPE.name, "--out", str(tmp_path / "1")]) == 1
    expected = "training: no-such-package is not installed; training needs requirements/training.txt\n"
    assert capsys.readouterr().err == expected


def test_only_what_the_service_takes_is_exact() -> None:
    """What it takes is tested with `check_evidence`."""
    exact = fakes.addition_manifest()
    assert output.is_exact(exact)
    assert not output.is_exact(replace(exact, evaluation=replace(exact.proof, by_enumeration=0)))


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


@pytest.mark.parametrize("taken", [folder, file])
def test_a_place_that_was_taken_meanwhile_is_left_alone_and_the_run_is_not_lost(
    taken: Callable[[Path], Path], tmp_path: Path
) -> None:
    with staging.workspace(tmp_path) as workspace:
        taken(tmp_path / "1")
        before = contents(tmp_path / "1")
        assert output.put(workspace / "bundle", Destination(tmp_path, "1"), seal) == tmp_path / "2"
    assert contents(tmp_path / "1") == before
    assert bundle.read(tmp_path / "2").manifest.version == "2"


def test_what_was_put_beside_a_bundle_while_a_run_trained_is_not_replaced(sealed: Path) -> None:
    with staging.workspace(sealed.parent) as workspace:
        with_file(sealed)
        wanted = Destination(sealed.parent, "1", replace=True)
        assert output.put(workspace / "bundle", wanted, seal) == sealed.parent / "2"
    assert (sealed / "notes.txt").read_text() == "mine"


def test_a_bundle_can_go_elsewhere(tmp_path: Path) -> None:
    with staging.workspace(tmp_path / "models") as workspace:
        seal(workspace / "bundle", "4")
        directory = output.put_elsewhere(workspace / "bundle", Destination(tmp_path / "runs"), seal)
    assert directory == tmp_path / "runs" / "1"
    assert bundle.read(directory).manifest.version == "1"
    assert contents(tmp_path / "models") == {}


@pytest.mark.parametrize("out", ["--out", "--ou", "--no-hold-out --out"])
@pytest.mark.parametrize(
    ("words", "refused"), [([], True), (["RECIPE=addition reversal"], True), (["RECIPE=addition", "--dry-run"], False)]
)
def test_make_refuses_one_folder_for_two_recipes(words: list[str], refused: bool, out: str) -> None:
    """Only the refusal is run, and no environment is made."""
    command = ["make", "train", "--old-file=.venv-dev/requirements.txt", f"ARGS={out} x", *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode == 2) == refused
    assert ("--out is for one recipe; name it by RECIPE=" in result.stderr) == refused
    assert ("-m training" in result.stdout) != refused
