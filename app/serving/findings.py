"""What was found under the models directory, and why some of it is not served.

Remembers each version's state: when it last changed, whether it was loaded or refused, and when to try it again.
Knows nothing of HTTP.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from app.serving.folders import Found, State, Version, is_version, last_change_s
from seq2seq.bundle import BundleError, BundleUnreadable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""How long a version that could not be read waits until it is tried again; each further pause is twice as long."""

ABSOLUTE_PATH = re.compile(r"(?<![^\s'\"(\[:=])/(?:[^\s/]+/)*(?=[^\s/])")
"""The folders of an absolute path, wherever one stands in a message."""

logger = logging.getLogger("app")


class Retry(NamedTuple):
    """A version could not be read in this state. It is tried again when the pause is over."""

    state: State
    pause: float
    due: float


class Entry(NamedTuple):
    """A version or another folder: whether it is served, and why it is not, or not as it lies on the disk."""

    name: str
    version: str
    is_served: bool
    reason: str


class Findings:
    """What the last look found, and what became of each version.

    A folder must not have changed for `still_s` seconds before it is refused: until then somebody may be copying it.
    """

    def __init__(self, models_dir: Path, still_s: float):
        self.found = Found([], {})
        self.refused: Counter[str] = Counter()
        self._models_dir = models_dir
        self._prefixes = (models_dir.resolve(), models_dir.absolute(), models_dir)
        self._still_s = still_s
        self._since: dict[Path, tuple[State, float]] = {}  # each version's state, and since when it is the same
        self._finished: dict[Path, State] = {}  # the states in which versions were loaded, or refused for good
        self._retries: dict[Path, Retry] = {}
        self._reasons: dict[Path, str] = {}  # why folders are not served, or not as they are now

    def note(self, found: Found) -> None:
        """Remember what was found; report what is wrong, once, and forget what is gone."""
        self.found = found
        for path, fault in found.faults.items():
            self._refuse(BundleError(path, fault))
        if self._models_dir in found.faults:
            return
        now = time.monotonic()
        self._since = {
            version.path: before
            if (before := self._since.get(version.path)) and before[0] == version.state
            else (version.state, now)
            for version in found.versions
        }
        self._reasons = {
            path: reason for path, reason in self._reasons.items() if path in found.faults or path in self._since
        }
        self._finished = {path: state for path, state in self._finished.items() if path in self._since}
        self._retries = {path: retry for path, retry in self._retries.items() if path in self._since}

    def note_failure(self, version: Version, error: BundleError) -> None:
        """Note why a version was not loaded, unless somebody may still be copying it."""
        path, state = version.path, version.state
        if not self._is_still(version):
            self._reasons[path] = "is not loaded yet, since its folder is still changing"
            return
        self._refuse(error, path)
        if isinstance(error, BundleUnreadable):
            before = self._retries.get(path)
            pause = min(2 * before.pause, LONGEST_PAUSE_S) if before and before.state == state else FIRST_PAUSE_S
            self._retries[path] = Retry(state, pause, time.monotonic() + pause)
        else:
            self._finished[path] = state

    def _is_still(self, version: Version) -> bool:
        """Whether a folder has not changed for a while, by its own times or as it was seen."""
        now = time.monotonic()
        _, since = self._since.get(version.path, (version.state, now))
        return now - since >= self._still_s or time.time() - last_change_s(version.state) >= self._still_s

    def _refuse(self, error: BundleError, path: Path | None = None) -> None:
        """Note why a folder is not served; log and count it if that is news."""
        path = path or error.path
        reason = self.explain(error)
        if self._reasons.get(path) != reason:
            self._reasons[path] = reason
            self.refused[self._place(path)[0]] += 1
            logger.error("refused %s", error)

    def note_loaded(self, version: Version) -> None:
        """Note that a version is served in its present state."""
        self._reasons.pop(version.path, None)
        self._retries.pop(version.path, None)
        self._finished[version.path] = version.state

    def is_due(self, version: Version, *, is_served: bool) -> bool:
        """Whether to try a version: it is new, has changed, or could not be read and has waited long enough."""
        if self._finished.get(version.path) == version.state:
            if is_served:
                self._reasons.pop(version.path, None)
            return False
        retry = self._retries.get(version.path)
        return retry is None or retry.state != version.state or time.monotonic() >= retry.due

    def entries(self, served: Mapping[str, Collection[int]], unloaded: Collection[str]) -> list[Entry]:
        """Every version and every other folder, served or not."""
        reasons = {(each.name, str(each.number)): self._reasons.get(each.path, "") for each in self.found.versions}
        for path in self.found.faults:
            if path != self._models_dir:
                reasons[self._place(path)] = self._reasons[path]
        for name, numbers in served.items():
            for number in numbers:
                reasons.setdefault((name, str(number)), "cannot be seen on the disk; it is served from memory")
        entries = []
        for name, version in sorted(reasons, key=lambda place: (place[0], len(place[1]), place[1])):
            reason = reasons[name, version]
            is_served = is_version(version) and int(version) in served.get(name, ())
            if not is_served:
                reason = "was unloaded" if name in unloaded else reason or "is not loaded yet"
            entries.append(Entry(name, version, is_served, reason))
        return entries

    def _place(self, path: Path) -> tuple[str, str]:
        """The names of model and version that a folder would have, in ASCII; empty for none."""
        parts = [part.encode("ascii", "backslashreplace").decode("ascii") for part in path.parts]
        parts = parts[len(self._models_dir.parts) :]
        name, version = [*parts, "", ""][:2]
        return name, version

    def explain(self, error: Exception) -> str:
        """What was wrong, in words that are fit for clients: no folder is named but those under the directory."""
        message = str(error)
        for directory in self._prefixes:
            message = message.replace(f"{directory}/", "")
        return ABSOLUTE_PATH.sub("", message)
