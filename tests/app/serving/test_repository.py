"""Models in several versions: which one answers, and how one is swapped for another while requests are answered."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fakes
import pytest

from app.serving import models
from app.serving.counters import ModelMeasures
from app.serving.findings import Entry
from app.serving.folders import NAMING, Found, Version
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.serving.repository import Repository, UnknownModel, in_turn
from app.serving.served_model import NotLoaded, UnknownVersion
from app.serving.trial import Outcome
from app.settings import Canary
from seq2seq.bundle import ALTERED, BundleError, BundleUnreadable
from seq2seq.problems.addition import Addition

MODELS = ("addition", "reversal")


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    fakes.write_bundle(tmp_path, fakes.reversal_manifest())
    return tmp_path


def started(models_dir: Path, **options: Any) -> Repository:
    repository = fakes.repository(models_dir=models_dir, **options)
    repository.start()
    return repository


def answering(repository: Repository, name: str = "addition", version: str | None = None) -> str:
    return repository[name].pick(version).reference.version


def test_loads_every_model(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.manifest(fakes.REVERSAL, "mirror"))
    assert sorted(started(models_dir)) == ["addition", "mirror", "reversal"]


def test_newest_version_answers_and_every_other_can_be_asked_for(models_dir: Path) -> None:
    versions = ["1", "2", "9", "10", "9223372036854775807"]
    for version in versions[1:]:
        fakes.write_bundle(models_dir, fakes.addition_manifest(version))
    repository = started(models_dir)
    assert answering(repository) == versions[-1]
    assert [answering(repository, version=version) for version in versions] == versions


def test_versions_are_loaded_pinned_ones_first_then_new_ones_then_large_ones() -> None:
    sizes = {("small", 1): 10, ("large", 1): 1_000, ("large", 2): 1, ("large", 3): 1}
    found = [Version(*each, Path(), (("", 0, size, 0, 0),)) for each, size in sizes.items()]
    ordered = in_turn(found, {"large": 2})
    assert [(version.name, version.number) for version in ordered] == [
        ("large", 2),
        ("large", 3),
        ("large", 1),
        ("small", 1),
    ]


@pytest.mark.parametrize("version", ["3", "0", "01", "-1", "", "latest", "1" * 5_000])
def test_unknown_version_is_refused_with_those_that_there_are(models_dir: Path, version: str) -> None:
    with pytest.raises(UnknownVersion, match="served: 1"):
        started(models_dir)["addition"].pick(version)


def test_pinned_version_answers(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    repository = started(models_dir, pinned={"addition": 1})
    assert answering(repository) == "1"
    assert answering(repository, version="2") == "2"


def test_canary_gets_its_share(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    canaries = {"addition": Canary(version=2, share=0.25)}
    repository = started(models_dir, pinned={"addition": 1}, canaries=canaries)
    picked = [answering(repository) for _ in range(4_000)]
    assert 800 < picked.count("2") < 1_200
    assert answering(repository, version="1") == "1"


@pytest.mark.parametrize("name", ["addition", "division"])
def test_canary_that_is_not_there_gets_nothing(models_dir: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    repository = started(models_dir, canaries={name: Canary(version=2, share=1)})
    assert answering(repository) == "1"
    assert f"a setting names version 2 of {name} as a canary, but it is not served" in caplog.text


def refusal(models_dir: Path, **options: Any) -> str:
    """Why a start is refused that asks for both models."""
    with pytest.raises(BundleError) as caught:
        fakes.repository(models_dir=models_dir, **options).start(MODELS)
    return str(caught.value)


def test_missing_model_that_is_required_is_refused(models_dir: Path) -> None:
    shutil.rmtree(models_dir / "reversal")
    assert "reversal" not in started(models_dir)
    assert refusal(models_dir).startswith(f"{models_dir / 'reversal'}: is missing")


@pytest.mark.parametrize(
    ("pinned", "fault"),
    [({"addition": 3}, "addition/3: is missing; there is 1"), ({"division": 1}, "division: is missing")],
)
def test_pinned_version_that_is_missing_stops_the_start(models_dir: Path, pinned: dict[str, int], fault: str) -> None:
    assert refusal(models_dir, pinned=pinned).startswith(f"{models_dir}/{fault}")


def break_version(models_dir: Path, version: str) -> Path:
    path = models_dir / "addition" / version / "greedy.onnx"
    path.write_bytes(path.read_bytes()[::-1])
    return path


@pytest.mark.parametrize(("broken", "pinned"), [("2", {"addition": 2}), ("1", {})], ids=["pinned", "required"])
def test_broken_version_that_nothing_replaces_stops_the_start(
    models_dir: Path, broken: str, pinned: dict[str, int]
) -> None:
    for version in pinned.values():
        fakes.write_bundle(models_dir, fakes.addition_manifest(str(version)))
    path = break_version(models_dir, broken)
    assert refusal(models_dir, pinned=pinned).startswith(f"{path}: was altered")


@pytest.mark.parametrize(("broken", "answers"), [("1", 2), ("2", 1)])
def test_broken_version_leaves_its_place_to_the_newest_that_is_sound(
    models_dir: Path, broken: str, answers: int
) -> None:
    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    break_version(models_dir, broken)
    repository = started(models_dir)
    assert list(repository["addition"].predictors) == [answers]
    assert answering(repository) == str(answers)
    assert repository.refused == {"addition": 1}


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: cannot be listed: No such file or directory"


def test_dropped_in_version_takes_over(models_dir: Path) -> None:
    repository = started(models_dir)
    before = repository["addition"].pick()

    async def scenario() -> None:
        fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
        waiting = asyncio.ensure_future(before.predict("10+6"))
        await repository.refresh()
        assert answering(repository) == "2"
        assert (await waiting).values[0] == 16
        assert (await before.predict("10+7")).values[0] == 17

    asyncio.run(scenario())
    assert repository.loaded == {"addition": 2, "reversal": 1}


def test_broken_version_is_refused_once_until_it_changes(models_dir: Path) -> None:
    repository = started(models_dir)

    async def scenario() -> None:
        fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
        path = break_version(models_dir, "2")
        for _ in range(3):
            await repository.refresh()
        assert repository.refused == {"addition": 1}
        assert answering(repository) == "1"
        path.write_bytes(path.read_bytes()[::-1])
        await repository.refresh()
        assert answering(repository) == "2"
        assert repository.refused == {"addition": 1}

    asyncio.run(scenario())


def test_version_of_another_problem_is_refused(models_dir: Path) -> None:
    repository = started(models_dir)

    async def scenario() -> None:
        other = Addition(2, 2, 10, "left", smallest=1)
        fakes.write_bundle(models_dir, fakes.manifest(other, "addition", version="2"))
        with pytest.raises(BundleError, match="problem is not that of version 1"):
            await repository.load("addition")
        assert answering(repository) == "1"

    asyncio.run(scenario())


WIDER = Addition(2, 4, 99, "column")


def test_version_of_a_wider_problem_takes_over(models_dir: Path) -> None:
    repository = started(models_dir)

    async def scenario() -> None:
        fakes.write_bundle(models_dir, fakes.manifest(WIDER, "addition", version="2"))
        await repository.refresh()
        assert repository["addition"].pick().model.problem == WIDER
        assert repository["addition"].pick("1").model.problem == fakes.ADDITION
        fakes.write_bundle(models_dir, fakes.addition_manifest("3"))
        with pytest.raises(BundleError, match="the newer of the two does not accept all that the older accepts"):
            await repository.load("addition")
        assert answering(repository) == "2"

    asyncio.run(scenario())


def test_versions_of_wider_problems_are_there_from_the_start(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.manifest(WIDER, "addition", version="2"))
    assert answering(started(models_dir)) == "2"
    pinned = started(models_dir, pinned={"addition": 1})
    assert answering(pinned) == "1"
    assert sorted(pinned["addition"].predictors) == [1, 2]


def test_canary_must_accept_what_the_default_accepts(models_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    fakes.write_bundle(models_dir, fakes.manifest(WIDER, "addition", version="2"))
    wider = started(models_dir, pinned={"addition": 1}, canaries={"addition": Canary(version=2, share=1)})
    assert answering(wider) == "2"
    assert not caplog.records
    narrower = started(models_dir, canaries={"addition": Canary(version=1, share=1)})
    assert answering(narrower) == "2"
    assert "version 1 of addition gets no requests as a canary: it accepts fewer" in caplog.text


def test_version_that_changed_in_place_is_loaded_anew(models_dir: Path) -> None:
    repository = started(models_dir)
    before = repository["addition"].pick()

    async def scenario() -> None:
        await repository.refresh()
        assert repository["addition"].pick() is before
        shutil.rmtree(models_dir / "addition" / "1")
        fakes.write_bundle(models_dir, fakes.manifest(fakes.ADDITION, "addition"))
        await repository.refresh()
        assert repository["addition"].pick() is not before

    asyncio.run(scenario())


def test_load_tells_the_truth_about_the_disk_each_time(models_dir: Path) -> None:
    repository = started(models_dir)
    path = break_version(models_dir, "1")

    async def scenario() -> None:
        for _ in range(3):
            with pytest.raises(BundleError, match="was altered"):
                await repository.load("addition")
        assert answering(repository) == "1"
        assert (await repository.index())[0] == Entry("addition", "1", True, f"addition/1/{path.name}: {ALTERED}")
        path.write_bytes(path.read_bytes()[::-1])
        await repository.load("addition")
        assert (await repository.index())[0] == Entry("addition", "1", True, "")

    asyncio.run(scenario())


def test_version_that_is_being_copied_is_no_refusal(models_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    repository = started(models_dir, still_s=60)
    directory = fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    last = directory / "greedy.onnx"
    last.rename(models_dir / "last")

    async def scenario() -> None:
        for _ in range(3):
            await repository.refresh()
        assert repository.refused == {}
        assert "refused" not in caplog.text
        reason = "is not loaded yet, since its folder is still changing"
        assert Entry("addition", "2", False, reason) in await repository.index()
        (models_dir / "last").rename(last)
        await repository.refresh()
        assert answering(repository) == "2"

    asyncio.run(scenario())


def test_what_could_not_be_read_is_tried_again(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = BundleUnreadable(models_dir, "cannot be read: Input/output error")
    failures = [fault]

    def load_model(directory: Path) -> Model:
        if directory.name == "2" and failures:
            raise failures.pop()
        return models.load_model(directory, fakes.load, batch_size=4)

    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    repository = Repository(models_dir, fakes.Trial(load_model), load_model, fakes.predictor, still_s=0)
    repository.start()

    async def scenario() -> None:
        await repository.refresh()  # too soon
        assert answering(repository) == "1"
        assert repository.refused == {"addition": 1}
        monkeypatch.setattr(time, "monotonic", lambda: before + 2)
        await repository.refresh()
        assert answering(repository) == "2"

    before = time.monotonic()
    asyncio.run(scenario())


def test_version_that_was_removed_answers_no_more(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    repository = started(models_dir)
    before = repository["addition"].pick()

    async def scenario() -> None:
        waiting = asyncio.ensure_future(before.predict("10+6"))
        shutil.rmtree(models_dir / "addition" / "2")
        await repository.refresh()
        assert (await waiting).values[0] == 16
        assert answering(repository) == "1"
        with pytest.raises(UnknownVersion, match="served: 1"):
            repository["addition"].pick("2")

    asyncio.run(scenario())


@pytest.mark.parametrize("removed", [{1}, {1, 2}])
def test_removed_version_answers_no_more_beside_a_pinned_one(models_dir: Path, removed: set[int]) -> None:
    for version in ("2", "3"):
        fakes.write_bundle(models_dir, fakes.addition_manifest(version))
    repository = started(models_dir, pinned={"addition": 1})
    for number in removed:
        shutil.rmtree(models_dir / "addition" / str(number))
    asyncio.run(repository.refresh())
    assert set(repository["addition"].predictors) == {1, 2, 3} - (removed - {1})
    assert answering(repository) == "1"


def test_version_that_cannot_be_read_for_a_while_is_not_taken_for_removed(models_dir: Path, tmp_path: Path) -> None:
    """As when the volume that a link leads to hiccups."""
    elsewhere = tmp_path / "elsewhere"
    fakes.write_bundle(models_dir, fakes.addition_manifest("2")).rename(elsewhere)
    (models_dir / "addition" / "2").symlink_to(elsewhere)
    repository = started(models_dir)
    assert answering(repository) == "2"
    elsewhere.rename(tmp_path / "away")
    asyncio.run(repository.refresh())
    assert answering(repository) == "2"


def test_file_that_no_manifest_lists_reloads_nothing(models_dir: Path) -> None:
    repository = started(models_dir)
    before = repository["addition"].pick()

    async def scenario() -> None:
        (models_dir / "addition" / "1" / "events.log").write_text("somebody looked")
        await repository.refresh()
        assert repository["addition"].pick() is before
        (models_dir / "addition" / "1" / "greedy.onnx").write_bytes(b"other.onnx.")
        await repository.refresh()
        assert repository.refused == {"addition": 1}

    asyncio.run(scenario())


def test_reason_is_dropped_once_it_no_longer_holds(models_dir: Path) -> None:
    repository = started(models_dir)
    path = models_dir / "addition" / "1"
    whole = path.rename(models_dir / ".whole")
    path.symlink_to(whole)

    async def scenario() -> None:
        await repository.refresh()
        path.unlink()
        (models_dir / ".empty").mkdir()
        path.symlink_to(models_dir / ".empty")
        await repository.refresh()
        assert "manifest.json: is missing" in (await repository.index())[0].reason
        path.unlink()
        path.symlink_to(whole)
        await repository.refresh()
        assert (await repository.index())[0] == Entry("addition", "1", True, "")

    asyncio.run(scenario())


class SlowTrial(fakes.Trial):
    """A trial in which version 3 takes long."""

    def __init__(self) -> None:
        super().__init__(load_model)
        self.calls: list[tuple[list[str], float | None]] = []

    def __call__(self, paths: Sequence[Path], seconds: float | None = None) -> list[Outcome]:
        self.calls.append(([path.name for path in paths], seconds))
        outcomes = super().__call__(paths, seconds)
        return [
            Outcome(reason="takes more time", is_slow=True) if path.name == "3" and seconds is not None else outcome
            for path, outcome in zip(paths, outcomes, strict=True)
        ]


def load_model(directory: Path) -> Model:
    return models.load_model(directory, fakes.load, batch_size=4)


def with_a_slow_version(models_dir: Path, **options: Any) -> Repository:
    fakes.write_bundle(models_dir, fakes.addition_manifest("3"))
    return Repository(models_dir, SlowTrial(), load_model, fakes.predictor, still_s=0, **options)


def test_slow_version_that_is_pinned_is_waited_for(models_dir: Path) -> None:
    repository = with_a_slow_version(models_dir, pinned={"addition": 3})
    repository.start()
    assert answering(repository) == "3"


def test_slow_version_is_loaded_though_nobody_looks_again(models_dir: Path) -> None:
    repository = with_a_slow_version(models_dir)
    repository.start()
    assert answering(repository) == "1"

    async def scenario() -> None:
        async with repository.watching(0):
            while answering(repository) == "1":
                await asyncio.sleep(0.01)
        assert answering(repository) == "3"

    asyncio.run(scenario())


@pytest.mark.parametrize("when", ["at the start", "while it runs"])
def test_slow_version_keeps_no_other_waiting(models_dir: Path, when: str) -> None:
    """One that takes long is tried last, and at the start only if its model has no other."""
    trial = SlowTrial()
    calls = trial.calls

    def add() -> None:
        for version in ("2", "3"):
            fakes.write_bundle(models_dir, fakes.addition_manifest(version))

    async def scenario() -> None:
        if when == "at the start":
            add()
        repository = Repository(models_dir, trial, load_model, fakes.predictor, still_s=0)
        repository.start()
        if when == "while it runs":
            add()
        else:
            assert answering(repository) == "2"
            assert len(calls) == 1
        calls.clear()
        await repository.refresh()
        assert answering(repository) == "3"
        assert calls[-1] == (["3"], None)

    asyncio.run(scenario())


@pytest.mark.parametrize("removed", ["addition/1", "addition", "."])
def test_last_version_is_served_from_memory_once_it_is_removed(models_dir: Path, removed: str) -> None:
    repository = started(models_dir)

    async def scenario() -> None:
        shutil.rmtree(models_dir / removed)
        await repository.refresh()
        assert answering(repository) == "1"
        entries = await repository.index()
        assert Entry("addition", "1", True, "cannot be seen on the disk; it is served from memory") in entries

    asyncio.run(scenario())


def test_directory_that_comes_and_goes_changes_nothing(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    repository = started(models_dir)
    before = repository["addition"].pick(), repository["addition"].pick("1")

    async def scenario() -> None:
        away = models_dir.rename(models_dir.with_name("away"))
        for _ in range(2):
            await repository.refresh()
            with pytest.raises(BundleError, match="cannot be listed"):
                await repository.load("addition")
        away.rename(models_dir)
        await repository.refresh()
        assert (repository["addition"].pick(), repository["addition"].pick("1")) == before

    asyncio.run(scenario())


STRAY = {
    "lost+found": ("", "is no name for a model; it may hold ASCII letters, digits, '-', '_' and '.'"),
    "empty": ("", f"holds no version; {NAMING}"),
    "addition/01": ("01", f"is not a version; {NAMING}"),
    "addition/v2": ("v2", f"is not a version; {NAMING}"),
    "addition/9223372036854775808": ("9223372036854775808", f"is not a version; {NAMING}"),
    "addition/\udcff\n": ("\\udcff\n", f"is not a version; {NAMING}"),
    "sum/1": ("1", "sum/1/manifest.json: is that of addition 1, but stands in the folder sum/1"),
}


@pytest.mark.parametrize("name", STRAY)
@pytest.mark.parametrize("when", ["before the start", "while it runs"])
def test_stray_folder_stops_nothing_and_is_reported_once(
    models_dir: Path, name: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    def stray() -> None:
        if name == "sum/1":
            shutil.copytree(models_dir / "addition", models_dir / "sum")
        else:
            (models_dir / name).mkdir()

    if when == "before the start":
        stray()
    repository = started(models_dir)

    async def scenario() -> None:
        if when == "while it runs":
            stray()
        fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
        for _ in range(3):
            await repository.refresh()
        assert [answering(repository, model) for model in MODELS] == ["2", "1"]
        assert caplog.text.count("refused") == 1
        assert repository.refused.total() == 1
        version, reason = STRAY[name]
        (entry,) = [entry for entry in await repository.index() if not entry.is_served]
        assert entry.version == version
        assert entry.reason.endswith(reason)

    asyncio.run(scenario())


def test_load_of_nothing_is_refused(models_dir: Path) -> None:
    repository = started(models_dir)

    async def scenario() -> None:
        with pytest.raises(UnknownModel, match="There is no model division to load"):
            await repository.load("division")
        with pytest.raises(UnknownModel, match="There is no model division; there are addition, reversal"):
            await repository.unload("division")

    asyncio.run(scenario())


def test_unloaded_model_stays_unloaded_until_it_is_loaded(models_dir: Path) -> None:
    repository = started(models_dir)

    async def scenario() -> None:
        waiting = asyncio.ensure_future(repository["addition"].pick().predict("10+6"))
        await repository.unload("addition")
        assert (await waiting).values[0] == 16
        await repository.refresh()
        with pytest.raises(NotLoaded, match="No version of addition"):
            repository["addition"].pick()
        assert answering(repository, "reversal") == "1"
        await repository.load("addition")
        assert answering(repository) == "1"

    asyncio.run(scenario())


def test_watching_finds_what_is_dropped_in(models_dir: Path) -> None:
    loaded = asyncio.Event()

    async def scenario() -> None:
        def serve(model: Model, measures: ModelMeasures) -> Predictor:
            if model.manifest.version == "2":
                loop.call_soon(loaded.set)
            return fakes.predictor(model, measures)

        loop = asyncio.get_running_loop()
        repository = fakes.repository(models_dir=models_dir, serve=serve)
        repository.start()
        async with repository.watching(0.01):
            fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
            await loaded.wait()
        assert answering(repository) == "2"

    asyncio.run(scenario())


def test_watching_outlives_whatever_happens(models_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    repository = started(models_dir)

    async def scenario() -> None:
        async with repository.watching(0.01):
            shutil.rmtree(models_dir)
            while "cannot be listed" not in caplog.text:
                await asyncio.sleep(0.01)
        assert answering(repository) == "1"

    asyncio.run(scenario())


def test_what_there_is_is_listed_with_the_reason_why_it_is_not_served(models_dir: Path) -> None:
    fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
    path = break_version(models_dir, "2")
    fakes.write_bundle(models_dir, fakes.addition_manifest("10"))
    repository = started(models_dir)

    async def scenario() -> None:
        fakes.write_bundle(models_dir, fakes.manifest(fakes.REVERSAL, "mirror"))
        await repository.unload("reversal")
        refused = "addition/2/greedy.onnx: was altered; its SHA-256 is not the one in manifest.json"
        assert await repository.index() == [
            Entry("addition", "1", True, ""),
            Entry("addition", "2", False, refused),
            Entry("addition", "10", True, ""),
            Entry("mirror", "1", False, "is not loaded yet"),
            Entry("reversal", "1", False, "was unloaded"),
        ]
        path.write_bytes(path.read_bytes()[::-1])
        await repository.refresh()
        await repository.load("reversal")
        assert {entry.reason for entry in await repository.index()} == {""}
        assert answering(repository, "mirror") == "1"

    asyncio.run(scenario())


def test_index_does_not_wait_for_a_disk_that_hangs(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = started(models_dir)
    hangs = threading.Event()

    def look(_: Path) -> Found:
        hangs.wait()
        return Found([], {})

    async def scenario() -> None:
        monkeypatch.setattr("app.serving.repository.look", look)
        monkeypatch.setattr("app.serving.repository.LOOK_S", 0.01)
        for _ in range(3):
            assert [entry.is_served for entry in await repository.index()] == [True, True]
        hangs.set()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("{models}/addition/2/greedy.onnx: was altered", "addition/2/greedy.onnx: was altered"),
        ("{models}: cannot be listed", "models: cannot be listed"),
        ("a: Load model from {models}/a/1/x.onnx failed", "a: Load model from a/1/x.onnx failed"),
        ("a: fails at /source/onnx/model.cc:180 in 1/2 of '/home/me/x'", "a: fails at model.cc:180 in 1/2 of 'x'"),
        ("a: see https://example.org/a/b, or a/b and /b", "a: see https://example.org/a/b, or a/b and b"),
        ("a: 1 / 2", "a: 1 / 2"),
    ],
)
def test_clients_are_told_no_path_of_this_machine(tmp_path: Path, message: str, told: str) -> None:
    models_dir = tmp_path / "models"
    repository = fakes.repository(models_dir=models_dir)
    assert repository.explain(Exception(message.replace("{models}", str(models_dir)))) == told


def test_paths_of_a_directory_near_by_are_told_from_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    repository = fakes.repository(models_dir=Path("models"))
    for path in ("models/a/1", tmp_path.resolve() / "models/a/1"):
        assert repository.explain(Exception(f"{path}: is bad")) == "a/1: is bad"
