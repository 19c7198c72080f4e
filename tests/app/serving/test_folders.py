"""What lies under the models directory, whatever its name, kind or rights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.serving import folders
from app.serving.folders import NAMING, Found, look


def found(models_dir: Path) -> dict[str, str]:
    """Each folder by its path under the directory, with what is wrong with it."""
    seen = look(models_dir)
    faults = {path: fault for path, fault in seen.faults.items() if path != models_dir}
    return {
        str(path.relative_to(models_dir)): fault
        for path, fault in {**{version.path: "" for version in seen.versions}, **faults}.items()
    }


@pytest.mark.parametrize("name", ["1", "2", "10", "999999999", "1764000000", str(2**63 - 1)])
def test_any_positive_number_of_63_bits_is_a_version(tmp_path: Path, name: str) -> None:
    (tmp_path / "addition" / name).mkdir(parents=True)
    assert found(tmp_path) == {f"addition/{name}": ""}


@pytest.mark.parametrize(
    "name", ["0", "01", "-1", "+1", "1.0", "1e3", "v2", "latest", "٣", str(2**63), "1" * 200, " 1"]
)
def test_folder_that_is_no_version_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "addition" / name).mkdir(parents=True)
    assert found(tmp_path) == {f"addition/{name}": f"is not a version; {NAMING}"}


def test_files_and_what_is_hidden_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "addition" / "1").mkdir(parents=True)
    for name in ("README.md", ".hidden", "addition/labels.txt", "addition/.2-abc"):
        (tmp_path / name).touch()
    (tmp_path / ".staging" / "1").mkdir(parents=True)
    assert found(tmp_path) == {"addition/1": ""}


def test_file_that_is_named_as_a_version_is_told(tmp_path: Path) -> None:
    (tmp_path / "addition").mkdir()
    (tmp_path / "addition" / "2").touch()
    os.mkfifo(tmp_path / "addition" / "3")
    fault = "is not a folder, or a link to one"
    assert found(tmp_path) == {"addition/2": fault, "addition/3": fault}


def test_links_are_followed_or_told(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "1").mkdir(parents=True)
    models_dir = tmp_path / "models"
    (models_dir / "addition").mkdir(parents=True)
    for name, target in (("linked", elsewhere), ("nowhere", tmp_path / "none"), ("addition/1", elsewhere / "1")):
        (models_dir / name).symlink_to(target)
    (models_dir / "round").symlink_to("round")
    fault = "is not a folder, or a link to one"
    seen = found(models_dir)
    assert seen.pop("round") in (fault, "cannot be read: Too many levels of symbolic links")
    assert seen == {"addition/1": "", "linked/1": "", "nowhere": fault}


def test_model_without_versions_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "lost+found").mkdir()
    assert found(tmp_path) == {
        "empty": f"holds no version; {NAMING}",
        "lost+found": "is no name for a model; it may hold ASCII letters, digits, '-', '_' and '.'",
    }


def test_folder_that_may_not_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1", "b/1", "c/1"):
        (tmp_path / name).mkdir(parents=True)
    scandir = os.scandir

    def guarded(path: str | Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("app.serving.folders.os.scandir", guarded)
    assert found(tmp_path) == {"a/1": "", "b": "cannot be listed: Permission denied", "c/1": ""}


def test_directory_that_cannot_be_listed_is_the_one_fault(tmp_path: Path) -> None:
    gone = tmp_path / "none"
    assert look(gone) == Found([], {gone: "cannot be listed: No such file or directory"})


def state(models_dir: Path) -> folders.State:
    (version,) = look(models_dir).versions
    return version.state


def test_every_change_of_a_version_shows_in_its_state(tmp_path: Path) -> None:
    directory = tmp_path / "addition" / "1"
    report = directory / "report"
    report.mkdir(parents=True)
    file = report / "card.md"
    file.write_text("one")
    times = file.stat()
    states = [state(tmp_path)]
    assert states == [state(tmp_path)]

    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    states.append(state(tmp_path))
    file.chmod(0o600)
    states.append(state(tmp_path))
    file.rename(report / "other.md")
    states.append(state(tmp_path))
    directory.rename(tmp_path / "moved")
    directory.symlink_to(tmp_path / "moved")
    states.append(state(tmp_path))
    assert len(set(states)) == len(states)


def test_version_that_links_to_everything_is_not_walked_through(tmp_path: Path) -> None:
    directory = tmp_path / "addition" / "1"
    directory.mkdir(parents=True)
    (directory / "all").symlink_to("/")
    (directory / "up").symlink_to("..")
    assert len(state(tmp_path)) == 3
