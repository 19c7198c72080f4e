"""The models that are served, each in one version or several, loaded and swapped while requests are answered.

    models/<name>/1/, models/<name>/2/, …

The newest version of a model answers, or the one that a setting pins; every other can be asked for by its number. A
version that is dropped in is read, verified and warmed on a thread beside those that serve, and only then takes over;
one that cannot be is refused, logged and counted, and looked at again once its files have changed. What an older
version has taken on, it answers. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from app import registry
from app.measures import ModelMeasures
from app.predictor import Predictor
from app.registry import Model
from app.settings import Canary
from seq2seq.bundle import MANIFEST, BundleError

State = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of a folder's files: whether it has changed."""

ABSOLUTE_PATH = re.compile(r"(?<![^\s'\"(\[:=])/(?:[^\s/]+/)*(?=[^\s/])")
"""The folders of an absolute path, wherever one stands in a message."""

logger = logging.getLogger("app")


class UnknownModel(KeyError):
    """A model was asked for that there is not. The message says which there are."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class UnknownVersion(Exception):
    """A version was asked for that is not served. The message says which are."""


class NotLoaded(Exception):
    """No version of a model is served."""


class Entry(NamedTuple):
    """A version that there is, and why it is not served; nothing where it is."""

    name: str
    version: int
    reason: str


class Served:
    """The versions of one model that are served, all of the same problem."""

    def __init__(self, name: str, canary: Canary | None = None):
        self.name = name
        self.predictors: dict[int, Predictor] = {}
        self.measures: dict[int, ModelMeasures] = {}  # of every version that was ever served
        self.default: int | None = None
        self._answers: Predictor | None = None
        self._canary = canary
        self._random = Random()  # noqa: S311  which requests try a new version is no secret

    def hold(self, predictors: dict[int, Predictor], default: int | None) -> None:
        """Serve these from now on; `default` answers requests that name no version."""
        self.predictors = predictors
        self.default = default
        self._answers = None if default is None else predictors[default]

    def pick(self, version: str | None = None) -> Predictor:
        """Who answers: the version that is asked for, or the one for all who ask for none.

        Raises `UnknownVersion` or `NotLoaded`.
        """
        if self._answers is None:
            raise NotLoaded(f"No version of {self.name} is loaded.")
        if version is not None:
            return self._by_number(version)
        if self._canary is not None and self._random.random() < self._canary.share:
            return self.predictors.get(self._canary.version, self._answers)
        return self._answers

    def _by_number(self, version: str) -> Predictor:
        number = int(version) if registry.is_version(version) else 0
        if number not in self.predictors:
            known = ", ".join(map(str, sorted(self.predictors)))
            raise UnknownVersion(f"There is no version {version:.20} of {self.name}; served: {known}.")
        return self.predictors[number]

    def admit(self, version: str | None = None) -> None:
        """Raise `QueueFull` while the queue of the version that is asked for is full, and what `pick` does."""
        self.pick(version).admit()


class Repository(Mapping[str, Served]):
    """Every model under a directory.

    load    reads a version's folder, checks it in full and warms it up, or raises `BundleError`
    serve   puts a loaded model behind a queue, which keeps these measures
    pinned  versions that answer instead of the newest
    """

    def __init__(
        self,
        models_dir: Path,
        load: Callable[[Path], Model],
        serve: Callable[[Model, ModelMeasures], Predictor],
        *,
        pinned: Mapping[str, int] | None = None,
        canaries: Mapping[str, Canary] | None = None,
    ):
        self.models_dir = models_dir
        self.loaded: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._load = load
        self._serve = serve
        self._pinned = pinned or {}
        self._canaries = canaries or {}
        self._served: dict[str, Served] = {}
        self._unloaded: set[Path] = set()
        self._refusals: dict[Path, str] = {}
        self._states: dict[Path, State] = {}  # of folders that were looked at, whatever came of it
        self._changing = asyncio.Lock()

    def __getitem__(self, name: str) -> Served:
        try:
            return self._served[name]
        except KeyError:
            known = ", ".join(sorted(self._served))
            raise UnknownModel(f"There is no model {name:.60}; there are {known}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)

    def start(self, required: Collection[str]) -> None:
        """Load all there is.

        Raises `BundleError` where one that is `required` is missing, or a version that is to answer is refused; other
        versions may be.
        """
        models = registry.models(self.models_dir)
        for name in sorted({*required, *self._pinned} - set(models)):
            raise BundleError(self.models_dir / name, "is missing; every model that is asked for must be there")
        versions = {name: registry.versions(directory) for name, directory in models.items()}
        chosen = {
            name: registry.choose(directory, versions[name], self._pinned.get(name))
            for name, directory in models.items()
        }
        for name, answers in chosen.items():
            self.put(self._load_noted(versions[name][answers]))
            for version in sorted(versions[name].keys() - {answers}):
                try:
                    self.put(self._load_noted(versions[name][version]))
                except BundleError as error:
                    self._note_refusal(versions[name][version], error)

    def put(self, model: Model) -> None:
        """Serve a loaded model from now on. Raises `BundleError` where its problem is not that of other versions."""
        name, version = model.manifest.name, int(model.manifest.version)
        served = self._served.get(name) or Served(name, self._canaries.get(name))
        path = self.models_dir / name / str(version)
        for number, other in served.predictors.items():
            if other.model.problem.spec() != model.problem.spec():
                raise BundleError(
                    path / MANIFEST,
                    f"problem is not that of version {number}, which is served; start the service anew for another",
                )
        measures = served.measures.setdefault(version, ModelMeasures())
        predictors = {**served.predictors, version: self._serve(model, measures)}
        pinned = self._pinned.get(name)
        served.hold(predictors, pinned if pinned in predictors else max(predictors))
        self._served[name] = served
        self._unloaded.discard(path)
        self._refusals.pop(path, None)
        self.loaded[name] += 1
        logger.info("loaded %s version %d; version %d answers", name, version, served.default)

    async def refresh(self) -> None:
        """Load the versions that were dropped in, or changed after they had been refused."""
        async with self._changing:
            for name, version, path in list(self._found()):
                if (
                    not self._has(name, version)
                    and path not in self._unloaded
                    and self._states.get(path) != _state(path)
                ):
                    with contextlib.suppress(BundleError):
                        await self._load_beside(path)

    async def load(self, name: str) -> None:
        """Load what there is of a model and is new, changed or was unloaded.

        Raises `BundleError` where something is refused, and what is served is served on; `UnknownModel` where there is
        nothing.
        """
        async with self._changing:
            found = [(version, path) for each, version, path in self._found() if each == name]
            if not found:
                raise UnknownModel(f"There is no model {name:.60} to load.")
            failure = None
            for version, path in found:
                if path in self._unloaded or self._states.get(path) != _state(path) or not self._has(name, version):
                    try:
                        await self._load_beside(path)
                    except BundleError as error:
                        failure = error
            if failure:
                raise failure

    async def unload(self, name: str) -> None:
        """Serve a model no more, until it is loaded again. Raises `UnknownModel`."""
        async with self._changing:
            served = self[name]
            self._unloaded |= {self.models_dir / name / str(version) for version in served.predictors}
            served.hold({}, None)
            logger.info("unloaded %s", name)

    def index(self) -> list[Entry]:
        """Every version that is served, or that lies under the directory and might be. Raises `BundleError`."""
        found = {(name, version): self._why_not(path) for name, version, path in self._found()}
        served = {(name, version): "" for name, served in self.items() for version in served.predictors}
        return [Entry(name, version, reason) for (name, version), reason in sorted((found | served).items())]

    def explain(self, error: Exception) -> str:
        """What was wrong, in words that are fit for clients: no folder is named but those under the directory."""
        message = str(error)
        for directory in (self.models_dir.resolve(), self.models_dir.absolute(), self.models_dir):
            message = message.replace(f"{directory}/", "")
        return ABSOLUTE_PATH.sub("", message)

    @asynccontextmanager
    async def watching(self, seconds: float) -> AsyncIterator[None]:
        """Refresh every so many seconds for as long as the context lasts; 0 for never."""
        task = asyncio.create_task(self._watch(seconds)) if seconds else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # whatever it is, what is served is served on
                logger.exception("cannot look for new versions under %s", self.models_dir)

    def _has(self, name: str, version: int) -> bool:
        return name in self._served and version in self._served[name].predictors

    def _found(self) -> Iterator[tuple[str, int, Path]]:
        for name, directory in registry.models(self.models_dir).items():
            for version, path in sorted(registry.versions(directory).items()):
                yield name, version, path

    async def _load_beside(self, path: Path) -> None:
        try:
            self.put(await asyncio.to_thread(self._load_noted, path))
        except BundleError as error:
            self._note_refusal(path, error)
            raise

    def _load_noted(self, path: Path) -> Model:
        self._states[path] = _state(path)
        return self._load(path)

    def _note_refusal(self, path: Path, error: BundleError) -> None:
        self.refused[path.parent.name] += 1
        self._refusals[path] = self.explain(error)
        logger.error("refused %s", error)

    def _why_not(self, path: Path) -> str:
        return "was unloaded" if path in self._unloaded else self._refusals.get(path, "is not loaded yet")


def _state(directory: Path) -> State:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    with contextlib.suppress(OSError):  # gone meanwhile, which the next look will see
        return tuple((path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files)
    return ()
