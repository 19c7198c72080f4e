"""Where a request's time goes, part by part, and how the cost of a network grows with its size.

Measures the service's own code part by part, in one process, without sockets, on one core. `serving` reports the core's
whole time for a request. The difference is what the HTTP server, the event loop and the kernel add.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import uvloop
from pydantic_core import from_json, to_json

from app.main import create_app, make_repository, started
from app.serving.batching import Batcher
from app.serving.folders import is_version
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.settings import Settings
from benchmarks import machine, workload
from benchmarks.servers.floor import Constant
from benchmarks.stats import significant
from benchmarks.workload import ROUTES, Route
from seq2seq import bundle
from seq2seq.bundle import Bundle, Manifest, NetworkSpec
from seq2seq.decoding import VARYING, Network
from seq2seq.evidence import UNKNOWN
from seq2seq.problem import Problem
from seq2seq.problems.addition import Addition
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import IdArray, Symbols

PAUSE_S = 300e-6
"""About how long a server rests between two requests of a single connection."""

TOGETHER = 32
BATCHES = (1, 4, 16, 64, 256)
Action = Callable[[], object]


def run(models_dir: Path, *, repeats: int) -> dict[str, Any]:
    """Both accounts, as plain data."""
    os.sched_setaffinity(0, machine.divide(machine.cores(), 1).server)
    parts = [row for route in ROUTES for row in _parts(route, models_dir, repeats)]
    return {
        "benchmark": "cost",
        "machine": machine.describe(),
        "settings": {"repeats": repeats, "pause_s": PAUSE_S, "together": TOGETHER},
        "rows": parts,
        "growth": [*_growth(repeats), *_shipped(models_dir, repeats // 10)],
    }


# A request, part by part ----------------------------------------------------------------------------------


def _parts(route: Route, models_dir: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """One row a part, in microseconds a request: alone, alone after a pause, and with 32 at hand."""
    service = _Service(route, models_dir, Predictor)
    floor = _Service(route, models_dir, Constant)
    model, values, bodies = service.model, service.values, service.bodies
    problem = model.problem
    answer = from_json(service.respond(1))
    makers: dict[str, Callable[[int], Action]] = {
        "JSON to objects": lambda n: lambda: [from_json(body) for body in bodies[:n]],
        "validation": lambda n: lambda: [problem.parse(value) for value in values[:n]],
        "queueing": lambda n: _queueing(values[:n]),
        "encoding": lambda n: lambda: problem.encode(values[:n]),
        "network": lambda n: _network(model, problem.encode(values[:n])),
        "decoding": lambda n: _decoding(model, values[:n]),
        "objects to JSON": lambda n: lambda: [to_json(answer) for _ in range(n)],
        "all, without queue and model": lambda n: lambda: floor.respond(n),
        "all": lambda n: lambda: service.respond(n),
    }
    for name, make in makers.items():
        alone, together = make(1), make(TOGETHER)
        yield {
            "route": f"/{route}",
            "part": name,
            "alone": _microseconds(alone, repeats),
            "after a pause": _microseconds(alone, repeats, pause=PAUSE_S),
            f"of {TOGETHER}": significant(_microseconds(together, repeats) / TOGETHER, 3),
        }
    sys.stderr.write(f"/{route} done\n")


def _queueing(values: Sequence[Any]) -> Action:
    """Through a batcher whose function does nothing."""
    batcher: Batcher[Any, Any] = Batcher(lambda items: items, TOGETHER)

    async def ask() -> None:
        for future in [batcher.submit(value) for value in values]:
            await future

    loop = uvloop.new_event_loop()
    return lambda: loop.run_until_complete(ask())


def _network(model: Model, sources: IdArray) -> Action:
    return lambda: model.network.greedy(sources)


def _decoding(model: Model, values: Sequence[Any]) -> Action:
    problem = model.problem
    decoded = model.network.greedy(problem.encode(values))
    return lambda: ([problem.render(written) for written in problem.decode(decoded.ids)], decoded.confidence)


class _Service:
    """The service as the HTTP server calls it, with one or another predictor."""

    def __init__(self, route: Route, models_dir: Path, predictor: type[Predictor]):
        settings = Settings(models_dir=models_dir)
        self.values = [question.value for question in workload.questions(models_dir, route, TOGETHER)]
        field = workload.FIELDS[route][0]
        self.bodies = [to_json({field: value}) for value in self.values]
        self._path = f"/{route}"
        repository = started(make_repository(settings, predictor=predictor), settings)
        self._app = create_app(settings, repository=repository)
        self.model = repository[workload.MODELS[route]].pick().model
        self._loop = uvloop.new_event_loop()

    def respond(self, n: int) -> bytes:
        """Ask n requests at once; returns the last answer."""
        return self._loop.run_until_complete(self._gather(n))

    async def _gather(self, n: int) -> bytes:
        answers = await asyncio.gather(*map(self._respond, self.bodies[:n]))
        return answers[-1]

    async def _respond(self, body: bytes) -> bytes:
        received = False
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            nonlocal received
            if received:
                return {"type": "http.disconnect"}
            received = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            parts.append(message.get("body", b""))

        headers = [(b"host", b"test"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        scope = {"type": "http", "method": "POST", "path": self._path, "headers": headers, "query_string": b""}
        await self._app(scope, receive, send)
        return b"".join(parts)


# A network, by its size -----------------------------------------------------------------------------------


SUMS = Addition(2, 3, 99, "term")


@dataclass(frozen=True)
class Size:
    """A network to time. Its weights are fresh, because the time of a run does not depend on them."""

    problem: Addition = SUMS
    units: int = 24
    layers: int = 1

    @property
    def spec(self) -> NetworkSpec:
        return NetworkSpec("repeat_vector", (self.units,) * self.layers, (self.units,) * self.layers, 0)


SIZES = (
    *(Size(units=units) for units in (8, 16, 24, 32, 64, 128, 256)),
    *(Size(layers=layers) for layers in (2, 3)),
    *(Size(problem=Addition(2, terms, 99, "term")) for terms in (2, 6, 12)),
)


def _growth(repeats: int) -> Iterator[dict[str, Any]]:
    """One row a network: microseconds an answer, in batches of each size."""
    for size in SIZES:
        with tempfile.TemporaryDirectory() as directory:
            network, parameters = _network_of(size, Path(directory))
        row: dict[str, Any] = {
            "network": "fresh",
            "units": size.units,
            "layers": size.layers,
            "reads": size.problem.source_length,
            "writes": size.problem.target_length,
            "parameters": parameters,
        }
        sources = size.problem.sample_sources(np.random.default_rng(0), max(BATCHES))
        yield row | _in_batches(network, partial(_first, sources), repeats)


def _shipped(models_dir: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """The same for each version of each model, asked for its examples again and again."""
    versions = [path for path in models_dir.glob("*/*") if is_version(path.name)]
    for path in sorted(versions, key=lambda path: (path.parent, int(path.name))):
        files = bundle.check_files(path, bundle.read_manifest(path))
        problem, spec = files.manifest.problem, files.manifest.network
        examples = sorted((problem.parse(example.request) for example in files.manifest.golden), key=len)
        middle_first = [*examples[len(examples) // 2 :], *examples[: len(examples) // 2]]
        network = onnx_runtime.load(files)
        sources = problem.encode(middle_first)
        is_varying = spec.family in VARYING
        yield {
            "network": f"{path.parent.name}/{path.name}",
            "units": spec.decoder_units[-1],
            "layers": len(spec.encoder_units),
            "reads": _mean_length(sources) if is_varying else problem.source_length,
            "writes": _mean_length(network.greedy(sources).ids) if is_varying else problem.target_length,
            "parameters": spec.parameters,
            **_in_batches(network, partial(_encoded, problem, middle_first), repeats),
        }


def _first(sources: IdArray, n: int) -> IdArray:
    return sources[:n]


def _encoded(problem: Problem, asked: Sequence[Symbols], n: int) -> IdArray:
    """The ids of n sources (n, S); those that are asked come again if they are fewer."""
    return problem.encode([*islice(cycle(asked), n)])


def _mean_length(ids: IdArray) -> float:
    """In symbols, without padding."""
    return round(float((ids > 0).sum(axis=1).mean()), 1)


def _in_batches(network: Network, sources: Callable[[int], IdArray], repeats: int) -> dict[str, float]:
    """Microseconds an answer, in batches of each size."""
    return {
        f"of {batch}": significant(_microseconds(partial(network.greedy, sources(batch)), repeats) / batch, 3)
        for batch in BATCHES
    }


def _network_of(size: Size, directory: Path) -> tuple[Network, int]:
    """The graph that would be served for a network of this size, and its number of parameters."""
    from training import fused, networks

    models = networks.build(size.problem, size.spec)
    onnx.save(fused.build(size.problem, size.spec, models), directory / "greedy.onnx")
    manifest = Manifest("size", "1", size.problem, size.spec, {}, UNKNOWN, {}, (), {})
    return onnx_runtime.load(Bundle(directory, manifest)), models.parameters


def _microseconds(action: Action, repeats: int, pause: float = 0.0) -> float:
    """The median time of an action, with `pause` seconds of rest before each."""
    times = []
    for _ in range(repeats):
        if pause:
            time.sleep(pause)
        started = time.perf_counter_ns()
        action()
        times.append(time.perf_counter_ns() - started)
    return significant(median(times) / 1e3, 3)


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed: first the parts of a request."""
    return [dict(row) for row in data["rows"]]
