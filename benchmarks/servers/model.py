"""The network that is served: the newest bundle of a route, run by ONNX Runtime as the service runs it, or otherwise.

Imports nothing but `seq2seq`, so that it runs in any peer's environment. Knows nothing of servers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.workload import FIELDS, Route, newest
from seq2seq import bundle
from seq2seq.bundle import Bundle
from seq2seq.decoding import Network
from seq2seq.runtimes import onnx as onnx_runtime


def route() -> Route:
    """The route that this process answers."""
    return "reverse" if os.environ["BENCH_ROUTE"] == "reverse" else "add"


def port() -> int:
    return int(os.environ["BENCH_PORT"])


def cores() -> int:
    """How many cores this server may use."""
    return int(os.environ["BENCH_CORES"])


def directory(route: Route) -> Path:
    """The bundle that a route is answered from."""
    return newest(Path(os.environ["APP_MODELS_DIR"]), route)


class Answers:
    """The values of many requests → the service's answers."""

    def __init__(self, route: Route, load: Callable[[Bundle], Network] = onnx_runtime.load):
        loaded = bundle.read(directory(route))
        self.field, self._answer = FIELDS[route]
        self._network = load(loaded)
        self._problem = loaded.manifest.problem
        self._model = {"name": loaded.manifest.name, "version": loaded.manifest.version}
        self._decoded = {"decoded"} if route == "add" else set()

    def __call__(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        sources = [self._problem.parse(value) for value in values]
        decoded = self._network.greedy(self._problem.encode(sources))
        return [
            {
                self.field: self._problem.input.value(source),
                self._answer: self._problem.render(symbols),
                **dict.fromkeys(self._decoded, symbols),
                "confidence": round(confidence, 6),
                "model": self._model,
            }
            for source, symbols, confidence in zip(
                sources, self._problem.decode(decoded.ids), decoded.confidence, strict=True
            )
        ]
