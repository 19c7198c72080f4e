"""Whatever stops the writing of a folder, what was there before stays, and nothing unfinished does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq import staging

ROOT = Path(__file__).parents[2]


def write(directory: Path, text: str, *, replace: bool = False) -> None:
    with staging.workspace(directory.parent) as workspace:
        filled = workspace / "filled"
        filled.mkdir()
        (filled / "file").write_text(text)
        staging.put(filled, directory, replace=replace)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    directory = tmp_path / "1"
    write(directory, "old")
    return directory


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_writing_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    def write_half() -> None:
        with staging.workspace(tmp_path) as workspace:
            (workspace / "filled").mkdir()
            (workspace / "file").touch()
            (workspace / "link").symlink_to(workspace / "filled")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert names(tmp_path) == []


@pytest.mark.parametrize("blocked", ["a file in a folder", "a file"])
def test_what_is_there_is_never_written_over(tmp_path: Path, blocked: str) -> None:
    directory = tmp_path / "1"
    if blocked == "a file":
        directory.write_text("mine")
    else:
        write(directory, "mine")
    before = {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")}
    with pytest.raises(FileExistsError):
        write(directory, "new")
    assert {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")} == before


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    write(tmp_path / "1", "new")
    assert (tmp_path / "1" / "file").read_text() == "new"


def test_a_replacement_is_whole(old: Path) -> None:
    write(old, "new", replace=True)
    assert (old / "file").read_text() == "new"
    assert names(old.parent) == ["1"]


@pytest.mark.parametrize("failing", [{1}, {2}, {2, 3}, {3}])
def test_whichever_rename_fails_the_old_one_is_kept(
    old: Path, failing: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 moves the old one away, 2 puts the new one there, 3 moves the old one back."""
    count = 0
    rename = Path.rename

    def failing_rename(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count in failing:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing_rename)
    replaced = 2 not in failing and 1 not in failing
    if replaced:
        write(old, "new", replace=True)
    else:
        with pytest.raises(OSError, match="Input/output error"):
            write(old, "new", replace=True)
    monkeypatch.undo()
    with staging.workspace(old.parent):  # moves back what could not be moved back at once
        pass
    assert (old / "file").read_text() == ("new" if replaced else "old")
    assert names(old.parent) == ["1"]


@pytest.mark.parametrize(
    "moment", ["", "filled.mkdir()", "filled.mkdir(); (workspace/'old').mkdir(); old.rename(away)"]
)
def test_what_a_killed_process_leaves_is_swept_and_a_running_ones_is_not(old: Path, moment: str) -> None:
    code = (
        "import sys; from pathlib import Path; from seq2seq import staging; old = Path(sys.argv[1])\n"
        "with staging.workspace(old.parent) as workspace:\n"
        "    filled, away = workspace / 'filled', workspace / 'old' / old.name\n"
        f"    {moment}\n"
        "    print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(old)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout
        process.stdout.readline()
        there = names(old.parent)
        with staging.workspace(old.parent):
            pass
        assert names(old.parent) == there
        process.send_signal(signal.SIGKILL)
    with staging.workspace(old.parent):
        pass
    assert names(old.parent) == ["1"]
    assert (old / "file").read_text() == "old"


def test_a_process_killed_before_it_had_its_lock_is_swept_too(tmp_path: Path) -> None:
    (tmp_path / f"{staging.PREFIX}x").mkdir()
    with staging.workspace(tmp_path):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", ["touch", "open"])
def test_a_workspace_that_is_swept_while_it_is_made_is_made_again(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []

    def sweeping(call: Callable[..., object], folder_of: Callable[[Path], Path]) -> Callable[..., object]:
        def run(path: Path, *arguments: object, **options: object) -> object:
            if not swept:
                swept.append(folder_of(path))
                staging._sweep(folder_of(path))
            return call(path, *arguments, **options)

        return run

    if step == "touch":
        monkeypatch.setattr(Path, "touch", sweeping(Path.touch, lambda path: path.parent))
    else:
        monkeypatch.setattr(os, "open", sweeping(os.open, lambda path: path.parent))
    with staging.workspace(tmp_path) as workspace:
        assert workspace.is_dir()
        assert workspace not in swept
    assert names(tmp_path) == []
