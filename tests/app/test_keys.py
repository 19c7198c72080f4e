"""The file of API keys: what it may hold, and that it is read anew and that who is not in it is never let in."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import logging
import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import keys
from app.keys import KEPT_S, LOOK_EVERY_S, BrokenKeys, KeyFile

OLD, NEW = (f"{keys.KEY_PREFIX}{letter * 43}" for letter in "on")


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def go_on(self, seconds: float = LOOK_EVERY_S) -> None:
        self.now += seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"{keys.line('ci', OLD)}\n")
    return path


def owner(file: KeyFile, key: str) -> str | None:
    return file.name_of(key.encode("ascii"))


def test_known_key_has_an_owner(path: Path) -> None:
    file = KeyFile(path)
    assert owner(file, OLD) == "ci"
    for wrong in (NEW, OLD[:-1], OLD + "a", OLD.swapcase(), "", "ci", keys.line("ci", OLD)):
        assert owner(file, wrong) is None


def test_hash_of_a_key_is_no_key(path: Path) -> None:
    digest = path.read_text().strip().partition(":")[2]
    file = KeyFile(path)
    assert owner(file, digest) is None
    assert file.name_of(bytes.fromhex(digest)) is None


def test_every_hash_is_compared_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("\n".join(keys.line(f"name-{number}", OLD if number == 1 else f"{number}") for number in range(5)))
    file = KeyFile(path)
    compared: list[tuple[int, int]] = []

    def compare(mine: bytes, theirs: bytes) -> bool:
        compared.append((len(mine), len(theirs)))
        return mine == theirs

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for key in (OLD, NEW):
        compared.clear()
        file.name_of(key.encode("ascii"))
        assert compared == [(32, 32)] * 5


def test_comments_and_empty_lines_are_passed_over(path: Path) -> None:
    content = (
        f"\ufeff# keys of \u00e9t\u00e9\r\n\r\n  {keys.line('ci', OLD)} # old\r\n\t{keys.line('ci', NEW).upper()}\r\n"
    )
    path.write_text(content.replace("CI:", "ci:"), encoding="utf-8")
    file = KeyFile(path)
    assert owner(file, OLD) == owner(file, NEW) == "ci"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"ci:" + OLD.encode(), "line 1 is not NAME:HASH"),
        (OLD.encode(), "line 1 is not NAME:HASH"),
        (b"\n\nci:" + b"0" * 63, "line 3 is not NAME:HASH"),
        (b"ci:" + b"0" * 65, "line 1 is not NAME:HASH"),
        (b"ci:" + b"g" * 64, "line 1 is not NAME:HASH"),
        (b":" + b"0" * 64, "line 1 is not NAME:HASH"),
        (b"c i:" + b"0" * 64, "line 1 is not NAME:HASH"),
        (b"\xff\xfe:" + b"0" * 64, "line 1 is not NAME:HASH"),
        (b"\x1b[31m:" + b"0" * 64, "line 1 is not NAME:HASH"),
        (b"c" * 65 + b":" + b"0" * 64, "line 1 is not NAME:HASH"),
        (bytes(range(256)), "is not NAME:HASH"),
    ],
)
def test_unusable_file_is_refused_without_showing_it(path: Path, content: bytes, fault: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BrokenKeys) as caught:
        KeyFile(path)
    message = str(caught.value)
    assert message.startswith(f"APP_API_KEYS_FILE: {path} ")
    assert fault in message
    assert OLD not in message
    assert message.isascii()


NO_FILES = {
    "missing": "cannot be read: No such file or directory",
    "loop": "cannot be read: Too many levels of symbolic links",
    "folder": "is not a plain file",
    "pipe": "is not a plain file",
    "endless": "is not a plain file",
    "huge": f"is larger than {keys.MOST_BYTES} bytes",
}


def put_no_file(path: Path, kind: str) -> None:
    """Lay something at `path` that cannot be read as a file of keys."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("loop", "endless"):
        path.symlink_to(path if kind == "loop" else "/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(keys.MOST_BYTES + 1)


@pytest.mark.parametrize(("kind", "fault"), NO_FILES.items())
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, kind: str, fault: str) -> None:
    put_no_file(tmp_path / "keys", kind)
    with pytest.raises(BrokenKeys, match=re.escape(f"{tmp_path / 'keys'} {fault}")):
        KeyFile(tmp_path / "keys")


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_takes_the_place_of_the_file_lets_nobody_in_after_some_seconds(path: Path, kind: str) -> None:
    clock = Clock()
    file = KeyFile(path, clock)
    path.unlink()
    put_no_file(path, kind)
    file.look()
    assert owner(file, OLD) == "ci"
    clock.go_on(KEPT_S)
    file.look()
    assert owner(file, OLD) is None


def test_key_that_is_given_as_the_files_name_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(BrokenKeys) as caught:
        KeyFile(tmp_path / OLD)
    assert OLD not in str(caught.value)
    assert str(caught.value).startswith("APP_API_KEYS_FILE: the value cannot be read")


@given(content=st.binary(max_size=200))
def test_whatever_a_file_holds_it_is_keys_or_refused(content: bytes) -> None:
    try:
        found = keys.parse(Path("keys"), content)
    except BrokenKeys:
        return
    assert all(len(digest) == 32 for _, digest in found)


def test_keys_are_rotated(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app")
    file = KeyFile(path)
    path.write_text(f"{keys.line('ci', OLD)}\n{keys.line('ci', NEW)}\n")
    assert owner(file, NEW) is None  # not looked yet
    file.look()
    assert owner(file, OLD) == owner(file, NEW) == "ci"
    path.write_text(f"{keys.line('ci', NEW)}\n")
    for _ in range(3):
        file.look()
    assert owner(file, OLD) is None
    assert owner(file, NEW) == "ci"
    assert [record.message.split(" from ")[0] for record in caplog.records] == [
        "read 1 API keys",
        "read 2 API keys",
        "read 1 API keys",
    ]
    assert OLD not in caplog.text
    assert NEW not in caplog.text


def test_change_of_the_same_size_and_time_is_seen(path: Path) -> None:
    file = KeyFile(path)
    before = path.stat()
    path.write_text(f"{keys.line('ci', NEW)}\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    file.look()
    assert owner(file, NEW) == "ci"
    assert owner(file, OLD) is None


def test_file_that_another_takes_the_place_of_is_read(path: Path, tmp_path: Path) -> None:
    """As Kubernetes changes a mounted secret: by turning a link."""
    link = tmp_path / "link"
    link.symlink_to(path)
    file = KeyFile(link)
    other = tmp_path / "other"
    other.write_text(keys.line("web", NEW))
    turned = tmp_path / "turned"
    turned.symlink_to(other)
    turned.replace(link)
    file.look()
    assert owner(file, NEW) == "web"
    assert owner(file, OLD) is None


@pytest.mark.parametrize("content", ["", "\ufeff", "# none\n\n", f"#{keys.line('ci', OLD)}\n"])
def test_last_key_is_revoked_by_a_file_without_one(path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    file = KeyFile(path)
    path.write_text(content)
    for _ in range(3):
        file.look()
        assert owner(file, OLD) is owner(file, "") is None
    assert [record.message for record in caplog.records] == [f"{path} holds no API key, so nobody gets in"]
    assert owner(KeyFile(path), OLD) is None  # a worker that starts anew
    path.write_text(keys.line("web", NEW))
    file.look()
    assert owner(file, NEW) == "web"


@pytest.mark.parametrize("content", [f"ci:{NEW}\n", f"{keys.line('ci', OLD)}\nnonsense", None])
def test_file_that_breaks_lets_nobody_in_after_some_seconds(
    path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A moment in which it cannot be used, as while it is replaced, locks nobody out."""
    clock = Clock()
    file = KeyFile(path, clock)
    whole = path.read_text()
    for _ in range(2):
        file.look()
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        for _ in range(int(KEPT_S / LOOK_EVERY_S) - 1):
            clock.go_on()
            file.look()
            assert owner(file, OLD) == "ci"
            assert owner(file, NEW) is owner(file, "") is None
        for _ in range(3):
            clock.go_on()
            file.look()
            assert owner(file, OLD) is owner(file, NEW) is None
        path.write_text(whole)
        file.look()
        assert owner(file, OLD) == "ci"
    assert caplog.text.count("still count for some seconds") == 2
    assert caplog.text.count("nobody gets in") == 2
    assert NEW not in caplog.text


def test_moment_in_which_the_file_breaks_changes_nothing(path: Path) -> None:
    clock = Clock()
    file = KeyFile(path, clock)
    for content in ("nonsense", path.read_text()) * 10:
        path.write_text(content)
        clock.go_on(KEPT_S / 2)
        file.look()
        assert owner(file, OLD) == "ci"


def test_file_system_that_hangs_lets_nobody_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that reads, and never comes back, is not asked: what counts is when it last did."""
    asked, goes_on = threading.Event(), threading.Event()
    clock = Clock()
    file = KeyFile(path, clock)

    def hang(*_: object) -> int:
        asked.set()
        goes_on.wait(60)
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(os, "open", hang)
    with file.watching():
        assert asked.wait(60)
        clock.go_on(KEPT_S - 0.1)
        assert owner(file, OLD) == "ci"
        clock.go_on(0.1)
        assert owner(file, OLD) is None
    assert not goes_on.is_set(), "the end of the context waits for the disk"
    goes_on.set()


def test_file_is_read_by_a_thread_of_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LOOK_EVERY_S", 0.01)
    readers: Queue[int] = Queue()
    parse = keys.parse

    def parse_and_tell(path: Path, content: bytes) -> keys.Keys:
        readers.put(threading.get_ident())
        return parse(path, content)

    file = KeyFile(path)
    monkeypatch.setattr(keys, "parse", parse_and_tell)
    with file.watching():
        for key in (NEW, OLD):
            path.with_name("fresh").write_text(keys.line("web", key))
            path.with_name("fresh").replace(path)
            assert readers.get(timeout=30) != threading.get_ident()


def test_key_that_was_taken_out_is_refused_when_descriptors_have_run_out(path: Path) -> None:
    """Whether the file is written anew or another takes its place: it stays open, so there is one to give up for it."""
    file = KeyFile(path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    other = path.with_name("other")
    other.write_text(keys.line("ci", OLD))
    with path.open("w") as written, contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (written.fileno() + 20, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with contextlib.suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(0))
        written.write(keys.line("web", NEW))
        written.flush()
        file.look()
        assert (owner(file, OLD), owner(file, NEW)) == (None, "web")
        other.replace(path)
        file.look()
        assert (owner(file, OLD), owner(file, NEW)) == ("ci", None)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "app.keys", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


def test_command_makes_a_key_and_its_line(tmp_path: Path) -> None:
    made = [run("ci"), run("ci")]
    key, other = (result.stderr.strip() for result in made)
    assert key != other
    assert key.startswith("s2s_")
    assert len(key) == 4 + 43  # 256 bits in base 64
    assert made[0].stdout == f"ci:{hashlib.sha256(key.encode('ascii')).hexdigest()}\n"
    path = tmp_path / "keys"
    path.write_text("".join(result.stdout for result in made))
    file = KeyFile(path)
    assert owner(file, key) == owner(file, other) == "ci"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a#", "\u00e9", "x" * 65])
def test_command_refuses_a_name_that_no_file_may_hold(name: str) -> None:
    result = run(name)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "a name has" in result.stderr
