"""How many requests a second, at what latency: the service against its floor, its peers and the tutorials' way.

All contenders are measured in every round, so that what disturbs the machine disturbs all alike. Servers that are
compared closely run side by side and take turns load by load; all but one are idle. Knows nothing of how a contender
works, nor of what is reported: that is serving_report.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks import machine, open_loop, server, workload, wrk
from benchmarks.contenders import CONTENDERS, Contender, Setup
from benchmarks.environments import CannotPrepare
from benchmarks.server import Running, ServerFailed
from benchmarks.workload import ROUTES, Route
from benchmarks.wrk import Measured, Requests, Sender

DISTINCT = 5_000
BATCH_BODIES = 5
WARM_UP_S = 1
CHECKED = 2_000
CHECK_S = 1.0
SLOW_WINDOW_S = 8
"""For servers whose answers take a second or more and arrive many at once."""

FAILURES_ALLOWED = 2
"""How often a contender may fail before it is left out for good."""

SWEEP = (0.02, 0.05, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)
"""Rates of the open loop, as shares of what the floor answers in the closed loop at 32 connections."""

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """A load: the route, the number of connections, and one item a request or 1,000."""

    route: Route
    connections: int
    batch: bool = False

    @property
    def label(self) -> str:
        return f"/{self.route}/batch" if self.batch else f"/{self.route}"


@dataclass(frozen=True)
class Entry:
    """A contender, its number of cores, and its loads."""

    contender: Contender
    cores: int
    loads: tuple[Load, ...]


Key = tuple[str, str, int, int]
"""Contender, route, connections, cores."""


@dataclass(frozen=True)
class Sample:
    """A window of load on one server: the generator's figures, and the share of a core that the server took."""

    measured: Measured
    server_cpu: float

    @property
    def server_us(self) -> float:
        """The server's processor time for a request, in microseconds."""
        return 1e6 * self.server_cpu * self.measured.seconds / max(1, self.measured.requests)


@dataclass
class Results:
    """All measurements, round by round, and the failures."""

    samples: dict[Key, dict[int, Sample]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    sweep: list[dict[str, Any]] = field(default_factory=list)

    def per_round(self, key: Key, figure: str = "requests_per_second") -> dict[int, float]:
        of = self.samples.get(key, {})
        return {
            number: sample.server_us if figure == "server_us" else getattr(sample.measured, figure)
            for number, sample in of.items()
        }

    def best_peer(self, cores: int = 1) -> str:
        """The peer that answers most `/add` requests at 32 connections; empty if none was measured."""
        rates = self._of_peers(32, "requests_per_second", cores)
        return max(rates, key=lambda name: rates[name], default="")

    def quickest_peer(self) -> str:
        """The peer that answers `/add` soonest at one connection; empty if none was measured."""
        medians = self._of_peers(1, "p50_us", 1)
        return min(medians, key=lambda name: medians[name], default="")

    def _of_peers(self, connections: int, figure: str, cores: int) -> dict[str, float]:
        return {
            name: median(per_round.values())
            for name, contender in CONTENDERS.items()
            if contender.kind == "peer" and (per_round := self.per_round((name, "/add", connections, cores), figure))
        }


def plan(names: Sequence[str], *, quick: bool, cores: int) -> list[list[Entry]]:
    """The groups of contenders that run side by side, with their loads."""
    loads = _quick_loads if quick else _loads
    chosen = [CONTENDERS[name] for name in names]
    close = [contender for contender in chosen if contender.kind in ("ours", "floor")]
    others = [contender for contender in chosen if contender not in close]
    groups = [
        [Entry(contender, 1, loads(contender, 1)) for contender in close],
        *([Entry(contender, 1, loads(contender, 1))] for contender in others),
    ]
    if cores > 1:
        groups += [[Entry(contender, cores, loads(contender, cores))] for contender in chosen]
    return [kept for group in groups if (kept := [entry for entry in group if entry.loads])]


def _quick_loads(contender: Contender, cores: int) -> tuple[Load, ...]:
    """The headline, on one core: both routes at 1 and 32 connections; for the others, `/add` alone."""
    if cores > 1 or contender.name == "keras-thread":
        return ()
    if contender.name not in ("ours", "floor"):
        return (Load("add", 32),) if contender.slow else (Load("add", 1), Load("add", 32))
    singles = (Load("add", 1), Load("add", 32), Load("reverse", 1), Load("reverse", 32))
    return (*singles, Load("add", 1, batch=True)) if contender.name == "ours" else singles


def _loads(contender: Contender, cores: int) -> tuple[Load, ...]:
    if contender.slow:
        return (Load("add", 1), Load("add", 32)) if cores == 1 else ()
    if cores > 1:
        more = (Load("reverse", 32),) if contender.kind in ("ours", "floor") else ()
        return (Load("add", 32), Load("add", 256), *more)
    singles = tuple(Load(route, connections) for route in ROUTES for connections in (1, 32, 256))
    batches = tuple(Load(route, connections, batch=True) for route in ROUTES for connections in (1, 4))
    return (*singles, *batches) if contender.name in ("ours", "floor") else singles


class Bench:
    """One run: questions, senders, and the figures as they come."""

    def __init__(self, models_dir: Path, directory: Path, window: int):
        self.results = Results()
        self._models_dir, self._directory, self._window = models_dir, directory, window
        distinct = max(DISTINCT, BATCH_BODIES * workload.BATCH_ITEMS)
        self.questions = {route: workload.questions(models_dir, route, distinct) for route in ROUTES}
        self._senders: dict[tuple[str, Load], Sender] = {}

    def measure(self, groups: Sequence[Sequence[Entry]], rounds: int) -> None:
        """Measure every group in every round, every second round in reverse."""
        for number in range(rounds):
            for group in groups if number % 2 == 0 else reversed(groups):
                for route, entries in _by_route(group):
                    self._measure_group(number, route, entries)
            _say(f"round {number + 1} of {rounds} done")

    def _measure_group(self, number: int, route: Route, entries: Sequence[Entry]) -> None:
        with ExitStack() as stack:
            running = [(entry, each) for entry in entries if (each := self._start(stack, entry, route))]
            loads = list(dict.fromkeys(load for entry, _ in running for load in entry.loads if load.route == route))
            for turn, load in enumerate(loads):
                for entry, each in _rotated(running, number + turn):
                    if load not in entry.loads:
                        continue
                    if not self._guarded(entry, partial(self._measure, number, entry, each, load)):
                        running.remove((entry, each))  # until the next round

    def _start(self, stack: ExitStack, entry: Entry, route: Route) -> Running | None:
        name = entry.contender.name
        if len(self.results.failures.get(name, [])) >= FAILURES_ALLOWED:
            return None

        def start() -> Running:
            setup = Setup(server.free_port(), entry.cores, route, self._models_dir)
            cores = machine.divide(machine.cores(), entry.cores)
            asked = self.questions[route]
            running = stack.enter_context(server.running(entry.contender, setup, cores.server, asked[0]))
            answered = running.check(asked[:CHECKED], CHECK_S)
            self.results.checked[name] = self.results.checked.get(name, 0) + answered
            return running

        return self._guarded(entry, start)

    def _guarded(self, entry: Entry, action: Callable[[], T]) -> T | None:
        """The result of `action`, or None if the contender fails. It is then left out for a round, or for good."""
        try:
            return action()
        except (ServerFailed, CannotPrepare, OSError, RuntimeError) as error:
            self.results.failures.setdefault(entry.contender.name, []).append(str(error))
            _say(f"{entry.contender.name} failed: {error}")
            return None

    def _measure(self, number: int, entry: Entry, running: Running, load: Load) -> Sample:
        contender = entry.contender
        sender = self._sender(contender, load)
        generator = machine.divide(machine.cores(), entry.cores).generator
        timeout = 60 if contender.slow else 10
        in_lumps = contender.slow or (load.batch and load.connections > 1)
        window = max(self._window, SLOW_WINDOW_S) if in_lumps else self._window
        send = partial(sender.send, running.setup.port, load.connections, cores=generator, timeout=timeout)
        try:
            if not contender.slow:
                send(seconds=WARM_UP_S)
            pids = running.pids()
            before = machine.cpu_seconds(pids)
            measured = send(seconds=window)
        except RuntimeError as error:
            raise ServerFailed(running.end() or str(error)) from error
        sample = Sample(measured, round((machine.cpu_seconds(pids) - before) / measured.seconds, 3))
        key = (contender.name, load.label, load.connections, entry.cores)
        self.results.samples.setdefault(key, {})[number] = sample
        _say(f"  {contender.name:13}{load.label:15}{load.connections:>4} connections  {entry.cores} cores"
             f"{measured.answers_per_second:>10,.0f} answers/s  p99 {measured.p99_us / 1000:.2f} ms")  # fmt: skip
        if measured.wrong or measured.bad_status:
            raise ServerFailed(
                f"{measured.wrong} wrong answers and {measured.bad_status} other than 200 of {measured.requests}"
                f" requests: {measured.example}"
            )
        return sample

    def _sender(self, contender: Contender, load: Load) -> Sender:
        key = (contender.name, load)
        if key not in self._senders:
            self._senders[key] = Sender(self._directory, self._requests(contender, load))
        return self._senders[key]

    def _requests(self, contender: Contender, load: Load) -> Requests:
        asked, form = self.questions[load.route], contender.form
        truths = [(workload.key(question.value), workload.key(question.truth)) for question in asked]
        if load.batch:
            bodies = [workload.batch_body(load.route, batch) for batch in workload.batches(asked)[:BATCH_BODIES]]
            path, items = load.label, workload.BATCH_ITEMS
        else:
            bodies = [form.body(load.route, question.value) for question in asked]
            path, items = form.path(load.route), 1
        lines = [json.dumps(body, separators=(",", ":")) for body in bodies]
        return Requests(path, lines, truths, form.pattern[load.route], items, contender.check)

    def sweep(self, names: Sequence[str], full_rate: float, seconds: int) -> None:
        """Latency at given rates of `/add`, one core, until a server no longer keeps up."""
        cores = machine.divide(machine.cores(), 1)
        if cores.shared:
            _say("no open loop: it needs a core of its own for the generator")
            return
        for name in names:
            with ExitStack() as stack:
                entry = Entry(CONTENDERS[name], 1, ())
                if running := self._start(stack, entry, "add"):
                    self._sweep_one(running, cores, full_rate, seconds)

    def _sweep_one(self, running: Running, cores: machine.Cores, full_rate: float, seconds: int) -> None:
        contender = running.contender
        payloads = [open_loop.payload(contender, "add", question) for question in self.questions["add"]]
        self._sender(contender, Load("add", 32)).send(running.setup.port, 32, WARM_UP_S, cores.generator)
        for share in SWEEP:
            result = open_loop.run(running.setup.port, payloads, full_rate * share, seconds, cores.generator)
            wrong = open_loop.wrong(contender, "add", self.questions["add"], result)
            self.results.sweep.append({"contender": contender.name, **result.as_data(), "wrong": wrong})
            _say(f"  {contender.name:13}{result.rate:>8,.0f} asked/s {result.achieved:>8,.0f} answered/s"
                 f"  p50 {result.p50_us / 1000:.2f} ms  p99 {result.p99_us / 1000:.2f} ms")  # fmt: skip
            if not result.kept_up:
                return


def _by_route(group: Sequence[Entry]) -> Iterator[tuple[Route, list[Entry]]]:
    """The routes of a group's loads, each with its entries."""
    for route in ROUTES:
        if entries := [entry for entry in group if any(load.route == route for load in entry.loads)]:
            yield route, entries


def _rotated(items: Sequence[T], by: int) -> list[T]:
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]


def run(names: Sequence[str], models_dir: Path, *, quick: bool, rounds: int, window: int) -> Results:
    """Measure these contenders. Raises `CannotPrepare`."""
    wrk.ensure()
    groups = plan(names, quick=quick, cores=len(machine.cores()))
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(models_dir, Path(directory), window)
        bench.measure(groups, rounds)
        results = bench.results
        full = results.per_round(("floor", "/add", 32, 1))
        if full and not quick:
            swept = [name for name in ("ours", "floor", results.best_peer()) if name in CONTENDERS]
            bench.sweep(swept, median(full.values()), window)
    return results


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
