"""Many items a request: 1,000 sums as binary tensors of the Open Inference Protocol, and as JSON by `/add/batch`.

One connection asks again once it is answered. The client is Python, on a core of its own, and compares every sum with
the truth. While it does, the server waits, so a server can do somewhat more than is shown.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import machine, server, stats, workload
from benchmarks.contenders import CONTENDERS, Setup
from benchmarks.stats import Spread
from benchmarks.workload import BATCH_ITEMS, Question

BODIES = 5
RATE, TARGET = "binary_c1_items_per_second", 120_000
HEAD = "Inference-Header-Content-Length"


class Body(NamedTuple):
    """A request, and its right sums."""

    content: bytes
    headers: dict[str, str]
    sums: npt.NDArray[np.int64]


def run(models_dir: Path, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Items a second each way, in turn in every round. All figures as plain data. Raises `ServerFailed`."""
    asked = workload.questions(models_dir, "add", BODIES * BATCH_ITEMS)
    batches = workload.batches(asked)
    ways = {
        "/v2/models/addition/infer": [_binary(batch) for batch in batches],
        "/add/batch": [_json(batch) for batch in batches],
    }
    rates: dict[str, dict[int, float]] = {path: {} for path in ways}
    cores = machine.divide(machine.cores(), 1)
    setup = Setup(server.free_port(), 1, "add", models_dir)
    os.sched_setaffinity(0, cores.generator)
    with server.running(CONTENDERS["ours"], setup, cores.server, asked[0]):
        for number in range(rounds):
            for path in ways if number % 2 == 0 else reversed(ways):
                _rate(setup.port, path, ways[path], 1)
                rates[path][number] = _rate(setup.port, path, ways[path], seconds)
                sys.stderr.write(f"  {path:28} {rates[path][number]:10,.0f} items/s\n")
    binary, plain = rates.values()
    spreads = stats.spreads({RATE: list(binary.values()), "binary_to_json": stats.ratios(binary, plain)})
    return {
        "benchmark": "tensors",
        "machine": machine.describe(),
        "settings": {"rounds": rounds, "seconds": seconds, "items": BATCH_ITEMS},
        "rows": [{"route": path, **Spread.of(list(found.values())).as_data()} for path, found in rates.items()],
        **spreads,
        "targets": {RATE: {"target": f"at least {TARGET:,}", "met": spreads["ratios"][RATE] >= TARGET}},
    }


def _binary(batch: Sequence[Question]) -> Body:
    texts = [str(question.value).encode("ascii") for question in batch]
    data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    tensor = {
        "name": "expression",
        "shape": [len(batch), 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(data)},
    }
    outputs = [{"name": "sum", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode("ascii")
    headers = {"Content-Type": "application/octet-stream", HEAD: str(len(head))}
    return Body(head + data, headers, _sums(batch))


def _json(batch: Sequence[Question]) -> Body:
    content = json.dumps(workload.batch_body("add", batch)).encode("ascii")
    return Body(content, {"Content-Type": "application/json"}, _sums(batch))


def _sums(batch: Sequence[Question]) -> npt.NDArray[np.int64]:
    return np.array([question.truth for question in batch], dtype=np.int64)


def _rate(port: int, path: str, bodies: list[Body], seconds: float) -> float:
    """Items a second. Raises `ServerFailed` if an answer is wrong."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        items, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            body = bodies[items // BATCH_ITEMS % len(bodies)]
            connection.request("POST", path, body.content, body.headers)
            response = connection.getresponse()
            content = response.read()
            head = response.getheader(HEAD)
            if response.status != 200 or not np.array_equal(_read(content, head), body.sums):
                raise server.ServerFailed(f"{path} answered with status {response.status}: {content[:200]!r}")
            items += BATCH_ITEMS
    return items / passed


def _read(content: bytes, head: str | None) -> Any:
    if head is not None:
        return np.frombuffer(content[int(head) :], dtype="<i8")
    return [result.get("sum") for result in json.loads(content)["results"]]


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {"route": row["route"], "items/s": row["median"], "least": row["min"], "most": row["max"]}
        for row in data["rows"]
    ]
