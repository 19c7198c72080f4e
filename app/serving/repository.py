"""The models that are served, each in one version or several, loaded and swapped while requests are answered.

    models/<name>/1/, models/<name>/2/, …

The newest sound version of a model answers, or the one that a setting pins; every other can be asked for by its number.
One rule holds at the start, at each look, and for each order to load: what is sound is served, what is not is noted
with its reason, and no folder stands in another's way. A new version is tried in a process of its own, then loaded on a
thread beside those that serve, and only then takes over. An older version still answers the requests that it has.
Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from app.serving.counters import ModelMeasures
from app.serving.findings import Entry, Findings
from app.serving.folders import Found, Version, look
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.serving.served_model import ServedModel
from app.serving.trial import Outcome
from app.settings import Canary
from seq2seq.bundle import MANIFEST, BundleError, BundleUnreadable, is_unchanged

STILL_S = 2.0
"""How long a folder must not have changed before it is refused. Until then somebody may be copying it."""

QUICK_S = 2.0
"""How much processor time a version gets at first. One that needs more comes last, so that no other waits for it."""

LOOK_S = 2.0
"""How long the index waits for the disk. Then it shows what the last look found."""

Result = Model | BundleError | None
"""What became of a version: its model, why it is refused, or None if it takes more time than it got."""

logger = logging.getLogger("app")


class UnknownModel(KeyError):
    """There is no such model. The message says which there are."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class Trial(Protocol):
    """Tries versions before they are loaded, and can be told to stop."""

    def __call__(self, paths: Sequence[Path], seconds: float | None = None) -> Iterable[Outcome]: ...

    def end(self) -> None: ...


def in_turn(versions: Iterable[Version], pinned: Mapping[str, int]) -> list[Version]:
    """Versions as they are loaded: of a model the one that is to answer first, since others must fit its problem.

    Large ones come before small ones. The last is loaded when nothing is left to be tried beside it.
    """
    return sorted(
        versions, key=lambda each: (pinned.get(each.name) == each.number, each.number, each.size), reverse=True
    )


class Repository(Mapping[str, ServedModel]):
    """Every model under a directory.

    trial   tries versions where they can do no harm
    load    reads a version's folder, checks it in full and warms it up, or raises `BundleError`
    serve   puts a loaded model behind a queue, which keeps these measures
    pinned  versions that answer instead of the newest, and are not replaced by another
    """

    def __init__(
        self,
        models_dir: Path,
        trial: Trial,
        load: Callable[[Path], Model],
        serve: Callable[[Model, ModelMeasures], Predictor],
        *,
        pinned: Mapping[str, int] | None = None,
        canaries: Mapping[str, Canary] | None = None,
        still_s: float = STILL_S,
    ):
        self.models_dir = models_dir
        self.loaded: Counter[str] = Counter()
        self._trial = trial
        self._load = load
        self._serve = serve
        self._pinned = pinned or {}
        self._canaries = canaries or {}
        self._served: dict[str, ServedModel] = {}
        self._unloaded: set[str] = set()
        self._findings = Findings(models_dir, still_s)
        self.refused = self._findings.refused
        self._changing = asyncio.Lock()
        self._looking: asyncio.Task[Found] | None = None

    def __getitem__(self, name: str) -> ServedModel:
        try:
            return self._served[name]
        except KeyError:
            known = ", ".join(sorted(self._served)) or "none"
            raise UnknownModel(f"There is no model {name:.60}; there are {known}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)

    def names_on_disk(self) -> set[str]:
        """The models of which any version lay in the directory at the last look, sound or not."""
        return {version.name for version in self._findings.found.versions}

    @property
    def is_loaded(self) -> bool:
        """Whether any model was loaded. It stays true after an order to unload it."""
        return bool(self.loaded)

    def start(self, required: Collection[str] = ()) -> None:
        """Load all there is, but leave versions that take long to the first refresh if their model has another.

        Raises `BundleError` if a model that is `required` or pinned cannot be served.
        """
        found = look(self.models_dir)
        if self.models_dir in found.faults:
            raise BundleUnreadable(self.models_dir, found.faults[self.models_dir])
        results = self._try(in_turn(found.versions, self._pinned), QUICK_S)
        answered = {
            version.name
            for version, result in results.items()
            if isinstance(result, Model) and self._pinned.get(version.name) in (None, version.number)
        }
        slow = [version for version, result in results.items() if result is None and version.name not in answered]
        failures = self._settle(results | self._try(slow))
        for name in sorted({*required, *self._pinned}):
            self._require(name, found, failures)
        self._findings.note(found)
        for version, failure in failures.items():
            self._findings.note_failure(version, failure)
        for name, canary in self._canaries.items():
            if canary.version not in self._served.get(name, ServedModel(name)).predictors:
                logger.warning(
                    "a setting names version %d of %s as a canary, but it is not served", canary.version, name
                )

    async def refresh(self) -> None:
        """Look at the directory, load what is new or has changed, and let go of what was removed."""
        async with self._changing:
            found = await self._look()
            wanted = in_turn(filter(self._is_wanted, found.versions), self._pinned)
            slow, _ = await self._load_beside(wanted, QUICK_S)
            await self._load_beside(slow)
            self._let_go(found)

    async def load(self, name: str) -> None:
        """Load all that lies there of a model, whatever was found before.

        Raises `BundleError` if something is refused, and what is served is served on; `UnknownModel` if there is
        nothing.
        """
        async with self._changing:
            found = await self._look()
            if self.models_dir in found.faults:
                raise BundleUnreadable(self.models_dir, found.faults[self.models_dir])
            versions = [version for version in found.versions if version.name == name]
            if not versions:
                raise UnknownModel(f"There is no model {name:.60} to load.")
            self._unloaded.discard(name)
            _, failures = await self._load_beside(versions)
            if failures:
                raise failures[0]

    async def unload(self, name: str) -> None:
        """Serve a model no more, until it is loaded again. Raises `UnknownModel`."""
        async with self._changing:
            self[name].hold({}, None)
            self._unloaded.add(name)
            logger.info("unloaded %s", name)

    def put(self, model: Model) -> None:
        """Serve a loaded model from now on.

        Raises `BundleError` if the newer one of it and another version refuses what the older one accepts.
        """
        name, number = model.manifest.name, int(model.manifest.version)
        served = self._served.get(name) or ServedModel(name, self._canaries.get(name))
        for other_number, other in served.predictors.items():
            newer, older = model.problem, other.model.problem
            if other_number > number:
                newer, older = older, newer
            if not newer.covers(older):
                raise BundleError(
                    self.models_dir / name / str(number) / MANIFEST,
                    f"problem is not that of version {other_number}, which is served, and the newer of the two does not"
                    " accept all that the older accepts; restart the service to change it",
                )
        measures = served.measures.setdefault(number, ModelMeasures())
        self._hold(served, {**served.predictors, number: self._serve(model, measures)})
        self._served[name] = served
        self.loaded[name] += 1
        logger.info("loaded %s version %d; version %s answers", name, number, served.default)

    @asynccontextmanager
    async def watching(self, seconds: float) -> AsyncIterator[None]:
        """Refresh every so many seconds for as long as the context lasts; 0 for only once, for what `start` left."""
        task = asyncio.create_task(self._watch(seconds))
        try:
            yield
        finally:
            self._trial.end()
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self, seconds: float) -> None:
        while True:
            try:
                await self.refresh()
            except Exception:  # whatever it is, what is served is served on
                logger.exception("cannot look for new versions under %s", self.models_dir)
            if not seconds:
                return
            await asyncio.sleep(seconds)

    async def _load_beside(
        self, versions: Sequence[Version], seconds: float | None = None
    ) -> tuple[list[Version], list[BundleError]]:
        """Load versions while others serve. Returns those that take longer, and why others are refused."""
        results = await asyncio.to_thread(self._try, versions, seconds)
        failures = self._settle(results)
        for version, failure in failures.items():
            self._findings.note_failure(version, failure)
        return [version for version, result in results.items() if result is None], list(failures.values())

    def _try(self, versions: Sequence[Version], seconds: float | None = None) -> dict[Version, Result]:
        """Try versions, and load each while the next is tried. Waits for the disk and for other processes."""
        results: dict[Version, Result] = {}
        if seconds is not None:  # what is served already need not be loaded again because of some other file
            for version in versions:
                model = self._model(version)
                if model and is_unchanged(version.path, model.manifest):
                    results[version] = model
        tried = [version for version in versions if version not in results]
        outcomes = self._trial([version.path for version in tried], seconds) if tried else []
        for version, outcome in zip(tried, outcomes, strict=True):
            try:
                is_unfinished = outcome.is_slow and seconds is not None
                results[version] = None if is_unfinished else self._load_tried(version.path, outcome)
            except BundleError as error:
                results[version] = error
            except Exception as error:  # what passed its trial fails here because files or memory have run out
                results[version] = BundleUnreadable(version.path, f"cannot be loaded now: {error!r}")
        return results

    def _load_tried(self, path: Path, outcome: Outcome) -> Model:
        """Load a version after its trial. Raises `BundleError`."""
        if outcome.reason:
            kind = BundleUnreadable if outcome.is_unreadable else BundleError
            raise kind(Path(outcome.path or path), outcome.reason)
        model = self._load(path)
        if model.manifest.seal != outcome.seal:
            raise BundleUnreadable(path / MANIFEST, "has changed since its trial")
        return model

    def _settle(self, results: Mapping[Version, Result]) -> dict[Version, BundleError]:
        """Serve the models that were loaded. Returns why other versions are refused."""
        failures: dict[Version, BundleError] = {}
        for version, result in results.items():
            if isinstance(result, BundleError):
                failures[version] = result
            elif result is not None:
                try:
                    if result is not self._model(version):
                        self.put(result)
                    self._findings.note_loaded(version)
                except BundleError as error:
                    failures[version] = error
        return failures

    def _is_wanted(self, version: Version) -> bool:
        is_served = self._model(version) is not None
        return version.name not in self._unloaded and self._findings.is_due(version, is_served=is_served)

    def _model(self, version: Version) -> Model | None:
        """The model that is served as this version."""
        served = self._served.get(version.name)
        predictor = served.predictors.get(version.number) if served else None
        return predictor.model if predictor else None

    def _hold(self, served: ServedModel, predictors: dict[int, Predictor]) -> None:
        newest = max(predictors, default=None)
        wanted = self._pinned.get(served.name, newest)
        served.hold(predictors, wanted if wanted in predictors else None)

    def _require(self, name: str, found: Found, failures: Mapping[Version, BundleError]) -> None:
        """Raise `BundleError` unless a model answers, in the version that is pinned if one is."""
        pinned = self._pinned.get(name)
        if name in self._served and self._served[name].default is not None:
            return
        for version, failure in failures.items():
            if version.name == name and pinned in (None, version.number):
                raise failure
        path = self.models_dir / name
        if there := sorted(version.number for version in found.versions if version.name == name):
            raise BundleError(path / str(pinned), f"is missing; there is {', '.join(map(str, there))}")
        raise BundleError(path, found.faults.get(path, "is missing; a setting asks for this model"))

    async def _look(self) -> Found:
        """What lies there now. Looks that are wanted at the same time are one."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(look, self.models_dir))
        found = await asyncio.shield(self._looking)
        self._findings.note(found)
        return found

    def _let_go(self, found: Found) -> None:
        """Stop serving what was removed, if a version that is still there can answer."""
        there = {version.path for version in found.versions} | set(found.faults)
        for name, served in self.items():
            pinned = self._pinned.get(name)
            on_disk = [number for number in served.predictors if self.models_dir / name / str(number) in there]
            kept = {number: each for number, each in served.predictors.items() if number in (*on_disk, pinned)}
            if on_disk and len(kept) < len(served.predictors) and self.models_dir / name not in there:
                removed = ", ".join(str(number) for number in sorted(served.predictors.keys() - kept))
                self._hold(served, kept)
                logger.info(
                    "%s version %s was removed and is no longer served; version %s answers",
                    name,
                    removed,
                    served.default,
                )

    async def index(self) -> list[Entry]:
        """Every version and every other folder, served or not."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._look(), LOOK_S)
        return self._findings.entries({name: served.predictors for name, served in self.items()}, self._unloaded)

    def explain(self, error: Exception) -> str:
        """What was wrong, in words that are fit for clients."""
        return self._findings.explain(error)
