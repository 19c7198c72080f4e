"""BentoML, by its guide: adaptive batching, a worker a core, no access log.

Its batchable endpoints take a list of items and give a list, so a request holds one item in each.
"""

from __future__ import annotations

from typing import Any

import bentoml

from benchmarks.servers import model
from benchmarks.servers.model import Answers


@bentoml.service(
    workers=model.cores(),
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Answering:
    def __init__(self) -> None:
        self.answers = Answers(model.route())

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=60_000)
    def add(self, expression: list[str]) -> list[dict[str, Any]]:
        return self.answers(expression)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=60_000)
    def reverse(self, sequence: list[list[int]]) -> list[dict[str, Any]]:
        return self.answers(sequence)
