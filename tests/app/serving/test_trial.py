"""Versions are tried in a process of their own, and hostile ones harm nobody."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import onnx
import pytest
import service
from hostile_bundles import HOSTILE, MODELS, NEWEST, copied, looping, sealed

from app.serving import trial, trial_process
from app.serving.trial import Outcome, Terms, Trial
from seq2seq import bundle


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_version_is_refused_and_the_next_one_is_tried(tmp_path: Path, case: str) -> None:
    change, reason = HOSTILE[case]
    graph = onnx.load(NEWEST / "greedy.onnx")
    change(graph)
    hostile = sealed(copied(tmp_path, 1), graph)
    sound = copied(tmp_path, 2)
    refused, passed = Trial(Terms(seconds=1))([hostile, sound])
    assert reason in refused.reason
    assert refused.seal == ""
    assert passed == Outcome(seal=bundle.read_manifest(sound).seal)


@pytest.mark.parametrize(
    ("end", "reason", "is_unreadable"),
    [
        ("os.abort()", "ends the process that tries it, by SIGABRT", False),
        ("os.kill(os.getpid(), 11)", "ends the process that tries it, by SIGSEGV", False),
        ("os.kill(os.getpid(), 9)", "was not tried to the end: the process ended by SIGKILL", True),
        ("os._exit(1)", "was not tried to the end: the process ended by status 1", True),
    ],
)
def test_version_that_ends_its_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, reason: str, is_unreadable: bool
) -> None:
    """As a runtime does that a graph brings to its knees, or a system that is short of memory."""
    program = f"import app.serving.models, os; app.serving.models.load_model = lambda *_, **__: {end}"
    (tmp_path / "sitecustomize.py").write_text(program)
    monkeypatch.setattr("app.serving.trial_process.ROOT", f"{tmp_path}:{service.ROOT}")
    assert [*Trial(Terms())([tmp_path])] == [Outcome(reason=reason, is_unreadable=is_unreadable)]


def test_trial_needs_the_same_on_any_number_of_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's library starts a thread for each, which take address space."""
    (tmp_path / "sitecustomize.py").write_text("import os; os.environ['OPENBLAS_NUM_THREADS'] = '32'")
    monkeypatch.setattr("app.serving.trial_process.ROOT", f"{tmp_path}:{service.ROOT}")
    monkeypatch.setitem(trial_process.ONE_THREAD, "OPENBLAS_NUM_THREADS", "32")
    path = copied(tmp_path)
    assert [*Trial(Terms())([path])] == [Outcome(seal=bundle.read_manifest(path).seal)]


def test_lower_limit_that_holds_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_CPU: (100, 3_600), resource.RLIMIT_DATA: (-1, -1)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    for most in (10_000, 20):
        trial._limit(resource.RLIMIT_CPU, most)
        assert limits[resource.RLIMIT_CPU] == (min(most, 3_600), 3_600)
    trial._limit(resource.RLIMIT_DATA, 7)
    assert limits[resource.RLIMIT_DATA] == (7, -1)


def test_process_that_waits_is_used_once() -> None:
    process = trial_process.start()
    paths = [MODELS / "addition" / "1", MODELS / "reversal" / "2"]
    trial = Trial(Terms(), process)
    for path in paths:
        assert [*trial([path])] == [Outcome(seal=bundle.read_manifest(path).seal)]
    assert process.returncode == 0


def test_process_that_waits_begins_early() -> None:
    process = trial_process.start()
    trial = Trial(Terms(), process)
    paths = [MODELS / "addition" / "1", MODELS / "reversal" / "2"]
    trial.begin(paths, 2)
    assert process.wait(60) == 0  # it has tried both before it is asked what it found
    assert [*trial(paths, 2)] == [Outcome(seal=bundle.read_manifest(path).seal) for path in paths]


def test_process_that_began_with_other_versions_is_replaced() -> None:
    process = trial_process.start()
    trial = Trial(Terms(), process)
    trial.begin([MODELS / "addition" / "1"], 2)
    path = MODELS / "reversal" / "2"
    assert [*trial([path], 2)] == [Outcome(seal=bundle.read_manifest(path).seal)]
    assert process.returncode is not None


def test_process_that_waits_and_ends_early_is_replaced() -> None:
    process = trial_process.start()
    trial_process.end(process)
    process = trial_process.start()
    process.kill()
    process.wait()
    path = MODELS / "addition" / "1"
    assert [*Trial(Terms(), process)([path])] == [Outcome(seal=bundle.read_manifest(path).seal)]


def test_broken_version_is_refused_by_the_file_at_fault(tmp_path: Path) -> None:
    path = copied(tmp_path) / "greedy.onnx"
    path.write_bytes(path.read_bytes()[::-1])
    assert [*Trial(Terms())([path.parent])] == [Outcome("", str(path), bundle.ALTERED)]


def children() -> str:
    """The processes that this one has started."""
    return "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))


def test_trial_that_is_given_up_ends_at_once(tmp_path: Path) -> None:
    graph = onnx.load(NEWEST / "greedy.onnx")
    looping(graph)
    hostile = sealed(copied(tmp_path), graph)
    trial = Trial(Terms(seconds=600))
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(trial([hostile, hostile])))
    thread.start()
    while not children():  # the trial has begun
        time.sleep(0.01)
    trial.end()
    thread.join(30)
    assert [outcome.is_unreadable for outcome in outcomes] == [True, True]


def test_outcome_is_told_before_the_next_version_is_tried(tmp_path: Path) -> None:
    """Who takes no more outcomes leaves no process, and keeps nobody waiting."""
    graph = onnx.load(NEWEST / "greedy.onnx")
    looping(graph)
    sound, hostile = copied(tmp_path, 1), sealed(copied(tmp_path, 2), graph)
    trial = Trial(Terms(seconds=600))
    outcomes = trial([sound, hostile])
    assert next(outcomes) == Outcome(seal=bundle.read_manifest(sound).seal)
    assert children()
    outcomes.close()
    assert not children()
    assert [*trial([sound])] == [Outcome(seal=bundle.read_manifest(sound).seal)]


HANGING = """
import os, signal, subprocess, sys
from app.serving import trial, trial_process
process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], stdin=-1, stdout=-1)
def start():
    raise OSError(0, "there is no other process")
trial_process.start, trial.START_S = start, 0.1
if worker := os.fork():
    assert os.waitpid(worker, 0)[1] == 0
    assert process.wait(60) == -signal.SIGKILL
else:
    (outcome,) = trial.Trial(trial.Terms(seconds=0), process)([None])
    os._exit(outcome.reason != "cannot be tried: there is no other process")
"""


def test_process_that_hangs_is_killed_though_it_is_another_ones_child() -> None:
    """The first one is the parent's, and a worker uses it. That it hangs says nothing of the version."""
    done = subprocess.run([sys.executable, "-c", HANGING], cwd=service.ROOT, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_system_without_another_thread_tries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    (outcome,) = Trial(Terms())([MODELS / "addition" / "1"])
    assert outcome == Outcome(reason="cannot be tried: can't start new thread", is_unreadable=True)
    assert not children()


def test_proof_gets_more_time_and_memory() -> None:
    """That of version 2 of addition takes some 1,200 s."""
    assert (Terms(prove=True).most_seconds(None), Terms(prove=True).most_seconds(2)) == (2_000, 200)
    assert (Terms().most_seconds(None), Terms().most_seconds(2)) == (20, 2)
    assert Terms(prove=True).most_bytes == 20 * Terms().most_bytes == 20 * 160 * 2**20


def test_proof_is_made_in_the_trial() -> None:
    path = MODELS / "reversal" / "2"
    assert [*Trial(Terms(prove=True))([path])] == [Outcome(seal=bundle.read_manifest(path).seal)]
