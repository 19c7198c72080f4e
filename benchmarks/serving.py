"""How many requests a second, at what latency: the service against its floor, its peers and the tutorials' way.

Knows nothing of how a contender works. All are measured in every round, so that what disturbs the machine disturbs all
alike, and what is reported are ratios within a round. Servers that are compared closely run side by side, idle but for
the one that is asked, and take turns load by load.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks import machine, open_loop, server, stats, workload, wrk
from benchmarks.contenders import CONTENDERS, Contender, Setup
from benchmarks.environments import CannotPrepare
from benchmarks.server import Running, ServerFailed
from benchmarks.stats import Spread
from benchmarks.workload import Route
from benchmarks.wrk import Measured, Requests, Sender

DISTINCT = 5_000
BATCH_BODIES = 5
WARM_UP_S = 1
CHECKED = 2_000
CHECK_S = 1.0
SLOW_WINDOW_S = 8
"""Where a second or more passes before an answer, and many come at once."""

FAILURES_ALLOWED = 2
"""How often a contender may fail before it is left out for good."""

SWEEP = (0.02, 0.05, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)
"""Rates of the open loop, as shares of what the floor answers in the closed loop at 32 connections."""

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """What is sent: the route, over how many connections, one item a request or 1,000."""

    route: Route
    connections: int
    batch: bool = False

    @property
    def label(self) -> str:
        return f"/{self.route}/batch" if self.batch else f"/{self.route}"


@dataclass(frozen=True)
class Entry:
    """A contender with so many cores, and the loads that it is measured under."""

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


@dataclass
class Results:
    """What was measured, round by round, and who fell out."""

    samples: dict[Key, dict[int, Sample]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    sweep: list[dict[str, Any]] = field(default_factory=list)

    def per_round(self, key: Key, figure: Callable[[Measured], float]) -> dict[int, float]:
        return {number: figure(sample.measured) for number, sample in self.samples.get(key, {}).items()}


def plan(names: Sequence[str], *, quick: bool, cores: int) -> list[list[Entry]]:
    """Who is measured under what: groups, each of which runs side by side."""
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
    """The headline, on one core: both routes at 1 and 32 connections; beside service and floor, `/add` at 32."""
    if cores > 1 or contender.name == "keras-thread":
        return ()
    if contender.name not in ("ours", "floor"):
        return (Load("add", 32),)
    singles = (Load("add", 1), Load("add", 32), Load("reverse", 1), Load("reverse", 32))
    return (*singles, Load("add", 1, batch=True)) if contender.name == "ours" else singles


def _loads(contender: Contender, cores: int) -> tuple[Load, ...]:
    if contender.slow:
        return (Load("add", 1), Load("add", 32)) if cores == 1 else ()
    if cores > 1:
        more = (Load("reverse", 32),) if contender.kind in ("ours", "floor") else ()
        return (Load("add", 32), Load("add", 256), *more)
    routes: tuple[Route, ...] = ("add", "reverse")
    singles = tuple(Load(route, connections) for route in routes for connections in (1, 32, 256))
    batches = tuple(Load(route, connections, batch=True) for route in routes for connections in (1, 4))
    return (*singles, *batches) if contender.name in ("ours", "floor") else singles


class Bench:
    """One run: questions, senders, and the figures as they come."""

    def __init__(self, models_dir: Path, directory: Path, window: int):
        self.results = Results()
        self._models_dir, self._directory, self._window = models_dir, directory, window
        routes: tuple[Route, ...] = ("add", "reverse")
        self.questions = {
            route: workload.questions(models_dir, route, max(DISTINCT, BATCH_BODIES * workload.BATCH_ITEMS))
            for route in routes
        }
        self._senders: dict[tuple[str, Load], Sender] = {}

    def measure(self, groups: Sequence[Sequence[Entry]], rounds: int) -> None:
        """Every group in every round, in turn from the other end."""
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
        """What `action` gives; or None, where a contender fails, which is then left out for a round, or for good."""
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
    """The routes that a group is asked on, each with those that are."""
    routes: tuple[Route, ...] = ("add", "reverse")
    for route in routes:
        if entries := [entry for entry in group if any(load.route == route for load in entry.loads)]:
            yield route, entries


def _rotated(items: Sequence[T], by: int) -> list[T]:
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]


def run(names: Sequence[str], models_dir: Path, *, quick: bool, rounds: int, window: int) -> dict[str, Any]:
    """Measure those named, and give all figures as plain data. Raises `CannotPrepare`."""
    wrk.ensure()
    cores = len(machine.cores())
    groups = plan(names, quick=quick, cores=cores)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(models_dir, Path(directory), window)
        bench.measure(groups, rounds)
        results = bench.results
        full = results.per_round(("floor", "/add", 32, 1), lambda measured: measured.requests_per_second)
        if full and not quick:
            best = best_peer(results)
            swept = [name for name in ("ours", "floor", best) if name in CONTENDERS]
            bench.sweep(swept, median(full.values()), window)
    divided = {workers: machine.divide(machine.cores(), workers) for workers in {1, cores}}
    return {
        "benchmark": "serving",
        "machine": machine.describe(),
        "settings": {
            "rounds": rounds,
            "window_s": window,
            "warm_up_s": WARM_UP_S,
            "quick": quick,
            "cores": {
                str(workers): {"server": sorted(each.server), "generator": sorted(each.generator)}
                for workers, each in divided.items()
            },
        },
        "contenders": {name: CONTENDERS[name].about for name in names},
        "failures": results.failures,
        "rows": rows(results),
        "open_loop": results.sweep,
        **headline(results),
    }


def rows(results: Results) -> list[dict[str, Any]]:
    """A row for each contender, route and load."""
    return [
        _row(key, list(samples.values()), results.checked.get(key[0], 0)) for key, samples in results.samples.items()
    ]


def _row(key: Key, samples: Sequence[Sample], checked: int) -> dict[str, Any]:
    name, route, connections, cores = key
    measured = [sample.measured for sample in samples]

    def spread(figure: Callable[[Measured], float]) -> dict[str, float]:
        return Spread.of([figure(each) for each in measured]).as_data()

    return {
        "contender": name,
        "route": route,
        "connections": connections,
        "workers": cores,
        "requests_per_second": spread(lambda each: each.requests_per_second),
        "answers_per_second": spread(lambda each: each.answers_per_second),
        "p50_us": spread(lambda each: each.p50_us),
        "p90_us": spread(lambda each: each.p90_us),
        "p99_us": spread(lambda each: each.p99_us),
        "max_us": spread(lambda each: each.max_us),
        "requests": sum(each.requests for each in measured),
        "answers_checked": sum(each.answers for each in measured) if CONTENDERS[name].check == "truth" else 0,
        "answers_checked_before": checked,
        "wrong": sum(each.wrong for each in measured),
        "errors": sum(each.errors for each in measured),
        "generator_cpu": median(each.generator_cpu for each in measured),
        "server_cpu": median(sample.server_cpu for sample in samples),
        "rounds": len(samples),
    }


def best_peer(results: Results, cores: int = 1) -> str:
    """The peer that answers most `/add` requests at 32 connections; empty where none was measured."""
    rates = {
        name: median(per_round.values())
        for name, contender in CONTENDERS.items()
        if contender.kind == "peer"
        and (per_round := results.per_round((name, "/add", 32, cores), lambda each: each.requests_per_second))
    }
    return max(rates, key=lambda name: rates[name], default="")


def headline(results: Results) -> dict[str, Any]:
    """The ratios, each the median over the rounds of the ratio within a round, and their spreads."""
    most = max((cores for _, _, _, cores in results.samples), default=1)
    figures: dict[str, list[float]] = {}

    def compare(name: str, ours: Key, theirs: Key, figure: Callable[[Measured], float] = _rate) -> None:
        figures[name] = stats.ratios(results.per_round(ours, figure), results.per_round(theirs, figure))

    def key(name: str, route: str = "/add", connections: int = 32, cores: int = 1) -> Key:
        return name, route, connections, cores

    compare("add_to_floor_c32", key("ours"), key("floor"))
    compare("reverse_to_floor_c32", key("ours", "/reverse"), key("floor", "/reverse"))
    compare("add_to_plain_fastapi_c32", key("ours"), key("plain"))
    compare("reverse_to_plain_fastapi_c32", key("ours", "/reverse"), key("plain", "/reverse"))
    compare("add_to_best_peer_c32", key("ours"), key(best_peer(results)))
    compare("add_to_tutorial_c32", key("ours"), key("tutorial"))
    compare("add_to_keras_thread_c32", key("ours"), key("keras-thread"))
    compare("add_p99_to_floor_c32", key("ours"), key("floor"), _p99)
    compare("reverse_p99_to_floor_c32", key("ours", "/reverse"), key("floor", "/reverse"), _p99)
    for route in ("add", "reverse"):
        one = (key(name, f"/{route}", 1) for name in ("ours", "floor"))
        figures[f"{route}_c1_median_over_floor_us"] = stats.differences(
            *(results.per_round(each, _p50) for each in one)
        )
    for connections in (1, 4):
        batch = results.per_round(key("ours", "/add/batch", connections), lambda each: each.answers_per_second)
        figures[f"add_batch_c{connections}_expressions_per_second"] = list(batch.values())
    if most > 1:
        peer = best_peer(results, most)
        compare("add_to_floor_c32_all_cores", key("ours", cores=most), key("floor", cores=most))
        compare("add_to_best_peer_c32_all_cores", key("ours", cores=most), key(peer, cores=most))
        compare("add_all_cores_to_one_c32", key("ours", cores=most), key("ours"))
    measured = {name: values for name, values in figures.items() if values}
    return {
        "best_peer": best_peer(results),
        "ratios": {name: Spread.of(values).as_data()["median"] for name, values in measured.items()},
        "ratios_spread": {name: Spread.of(values).as_data() for name, values in measured.items()},
    }


def _rate(measured: Measured) -> float:
    return measured.requests_per_second


def _p50(measured: Measured) -> float:
    return measured.p50_us


def _p99(measured: Measured) -> float:
    return measured.p99_us


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {
            "contender": row["contender"],
            "route": row["route"],
            "connections": row["connections"],
            "workers": row["workers"],
            "answers/s": row["answers_per_second"]["median"],
            "least": row["answers_per_second"]["min"],
            "most": row["answers_per_second"]["max"],
            "p50 ms": row["p50_us"]["median"] / 1000,
            "p99 ms": row["p99_us"]["median"] / 1000,
            "errors": row["errors"] + row["wrong"],
            "generator": row["generator_cpu"],
            "server": row["server_cpu"],
            "server µs": 1e6 * row["server_cpu"] / row["requests_per_second"]["median"],
        }
        for row in sorted(data["rows"], key=lambda row: (row["workers"], row["route"], row["connections"]))
    ]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
