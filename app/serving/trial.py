"""Tries versions in a process of its own, so that one that loops, eats memory or crashes harms nobody.

The process loads each version as the service would, answers its examples, and prints a line of JSON about it. It has
limits on memory and on processor time. When it dies, the version that it had in hand is to blame. Knows nothing of
HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.serving import models, runtime, trial_process
from seq2seq.bundle import BundleError, BundleUnreadable

if TYPE_CHECKING:
    from app.settings import Settings

MOST_BYTES = {"onnx": 160 * 2**20, "tensorflow": 2**32}
"""How much memory a trial may ask for once its code is loaded. The models that ship need less than 20 MB."""

BY_THE_VERSION = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""How a version ends its process. Any other end says nothing of it: the system may have been short of memory."""

PROVING_BYTES, PROVING_S = 20, 100
"""How many times as much memory and processor time a version gets that is to be proven too."""

START_S = 60.0
"""How long the process may take to start, and to wait for its turn and for the disk."""


@dataclass(frozen=True)
class Terms:
    """How the service will run the versions.

    runtime     what runs the networks
    batch_size  the most requests in one run
    loop_s      the longest that a batch may take on the event loop
    prove       whether each version is to be proven anew
    seconds     how much processor time one version may take
    """

    runtime: runtime.Runtime = "onnx"
    batch_size: int = 64
    loop_s: float = 0.005
    prove: bool = False
    seconds: float = 20.0

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        return cls(
            settings.runtime, settings.max_batch_size, settings.max_loop_s, settings.prove, settings.load_timeout_s
        )

    def most_seconds(self, seconds: float | None) -> float:
        """How much processor time a version gets that is to take no longer than this."""
        return (PROVING_S if self.prove else 1) * min(self.seconds, seconds or self.seconds)

    @property
    def most_bytes(self) -> int:
        """How much memory the trial gets once its code is loaded."""
        return (PROVING_BYTES if self.prove else 1) * MOST_BYTES[self.runtime]

    def load(self, path: Path, *, is_tried: bool = True, prove: bool = False) -> models.Model:
        """Read a version, check it and warm it up. Raises `BundleError`."""
        loader = runtime.loader(self.runtime, is_tried=is_tried)
        return models.load_model(
            path, loader, batch_size=self.batch_size, loop_s=self.loop_s, is_tried=is_tried, prove=prove
        )


@dataclass(frozen=True)
class Outcome:
    """What a trial said of a version: its seal, or the reason why it is refused, and the file at fault."""

    seal: str = ""
    path: str = ""
    reason: str = ""
    is_unreadable: bool = False
    is_slow: bool = False


NOT_TRIED = Outcome(reason="was not tried, since the service stops", is_unreadable=True)


class Trial:
    """Tries versions on these terms, for one caller at a time.

    `first` is a process that waits already. It may be another's child, so its end says nothing of a version.
    """

    def __init__(self, terms: Terms, first: trial_process.Process | None = None):
        self._terms = terms
        self.first = first
        self._begun = b""
        self._process: trial_process.Process | None = None
        self._in_turn = threading.Lock()
        self._has_ended = threading.Event()

    def __call__(self, paths: Sequence[Path], seconds: float | None = None) -> Generator[Outcome, None, None]:
        """Try versions one after another; what became of each, in order, as soon as it is known.

        Each may take so many seconds of processor time, or what the terms say.
        """
        seconds = self._terms.most_seconds(seconds)
        tried = 0
        with self._in_turn:
            while tried < len(paths):
                for outcome in self._run(paths[tried:], seconds):
                    tried += 1
                    yield outcome

    def begin(self, paths: Sequence[Path], seconds: float) -> None:
        """Have the first process begin with what the first call is to ask for. If it asks otherwise, this is undone.

        A start with six models is 0.1 s shorter so.
        """
        if self.first is not None:
            self._begun = self._order(paths, self._terms.most_seconds(seconds))
            _tell(self.first, self._begun)

    def end(self) -> None:
        """Give up whatever is being tried, and try nothing more."""
        self._has_ended.set()
        if self._process is not None:
            trial_process.kill(self._process)

    def _run(self, paths: Sequence[Path], seconds: float) -> Iterator[Outcome]:
        """The outcomes that a process gives, and that of the version at which it ends, if that says anything."""
        if self._has_ended.is_set():
            yield NOT_TRIED
            return
        order = self._order(paths, seconds)
        first, self.first = self.first, None
        begun, self._begun = self._begun, b""
        if begun not in (b"", order):
            trial_process.end(first)
            first, begun = None, b""
        try:
            self._process = first or trial_process.start()
        except OSError as error:
            yield Outcome(reason=f"cannot be tried: {error.strerror}", is_unreadable=True)
            return
        process, tried = self._process, 0
        too_late = threading.Timer(START_S + 2 * seconds * len(paths), trial_process.kill, [process])
        too_late.daemon = True
        try:
            too_late.start()
            if self._has_ended.is_set():
                trial_process.kill(process)
            if not begun:
                _tell(process, order)
            assert process.stdout is not None  # noqa: S101
            for line in process.stdout:
                tried += 1
                yield Outcome(**json.loads(line))
            process.wait()
        except RuntimeError as error:  # no thread can be started
            yield Outcome(reason=f"cannot be tried: {error}", is_unreadable=True)
            return
        finally:
            too_late.cancel()
            trial_process.end(process)
        if tried < len(paths) and not first:
            yield self._blamed(process.returncode, seconds)

    def _order(self, paths: Sequence[Path], seconds: float) -> bytes:
        order = {"terms": asdict(self._terms), "seconds": seconds, "paths": [str(path) for path in paths]}
        return f"{json.dumps(order)}\n".encode("ascii")

    def _blamed(self, status: int, seconds: float) -> Outcome:
        """What a version is refused for that was being tried when the process ended."""
        if status == -signal.SIGXCPU:
            proven = ", and to be proven" if self._terms.prove else ""
            reason = f"takes more than {seconds:g} s of processor time to load and to answer its examples{proven}"
            return Outcome(reason=reason, is_slow=True)
        if self._has_ended.is_set():
            return NOT_TRIED
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        if -status in BY_THE_VERSION:
            return Outcome(reason=f"ends the process that tries it, by {how}")
        return Outcome(reason=f"was not tried to the end: the process ended by {how}", is_unreadable=True)


def _tell(process: trial_process.Process, order: bytes) -> None:
    """Give a process its one order."""
    assert process.stdin is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError), process.stdin as orders:
        orders.write(order)


def main() -> int:
    """Try what a line on stdin says. Returns the exit status."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that nothing else can write among the answers
    runtime.loader("onnx")  # which is needed next, as a rule
    line = sys.stdin.readline()
    if not line:  # nobody needs this process
        return 0
    order = json.loads(line)
    terms = Terms(**order["terms"])
    runtime.loader(terms.runtime)  # so that its code is loaded before anything is limited
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, _data_bytes() + terms.most_bytes)
    with contextlib.suppress(OSError):  # the system is to kill this process before the service
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for path in map(Path, order["paths"]):
        used = resource.getrusage(resource.RUSAGE_SELF)  # the limit counts from the process's start
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + order["seconds"]) + 1)
        outcome = attempt(partial(terms.load, path, is_tried=False, prove=terms.prove))
        answers.write(f"{json.dumps(asdict(outcome))}\n")
        answers.flush()
    return 0


def attempt(load: Callable[[], models.Model]) -> Outcome:
    """What becomes of a version when it is loaded."""
    try:
        return Outcome(seal=load().manifest.seal)
    except BundleError as error:
        return Outcome("", str(error.path), error.fault, isinstance(error, BundleUnreadable))


def _data_bytes() -> int:
    """How much memory this process has asked for."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    return 0


def _limit(what: int, most: int) -> None:
    """Set a limit, unless the one that holds already is lower."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
