"""What a large model costs the small ones beside it: pronunciation is saturated, `/add` and `/health/live` are watched.

One process serves both. Alone, `/add` and its generator have one core. Beside pronunciation, they and its generator
have two, so that one is left to them again. Answers of pronunciation are checked for their form, as no rule gives them.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import machine, server, stats, workload
from benchmarks.contenders import CONTENDERS, Setup
from benchmarks.environments import CannotPrepare
from benchmarks.stats import Spread, percentile, significant
from benchmarks.workload import PLAIN, Question
from benchmarks.wrk import Measured, Requests, Sender, ensure
from examples.pronunciation import make_pairs

CONNECTIONS = 32
BATCH, BATCH_CONNECTIONS = 64, 4
WORDS = 2_048
PATTERN = '"source":"([^"]*)","target":"([^"]*)"'
PATH = "/models/pronunciation/predict"
PAUSE_S = 0.05

Figures = dict[str, dict[int, float]]


def run(models_dir: Path, *, rounds: int, seconds: int) -> dict[str, Any]:
    """All figures as plain data: each is measured in every round. Raises `CannotPrepare` or `ServerFailed`."""
    ensure()
    if not (models_dir / "pronunciation").exists():
        raise CannotPrepare(f"there is no {models_dir / 'pronunciation'}; examples/pronunciation says how it is made")
    figures: Figures = {}
    cores = machine.cores()[:2]
    with tempfile.TemporaryDirectory() as folder:
        senders = _senders(Path(folder), models_dir)
        asked = workload.questions(models_dir, "add", 100)
        for number in range(rounds):
            for name, found in _round(senders, models_dir, asked[0], cores, seconds):
                figures.setdefault(name, {})[number] = found
                sys.stderr.write(f"  {name:50} {found:10,.1f}\n")
            sys.stderr.write(f"round {number + 1} of {rounds} done\n")
    beside, alone = figures["/add beside pronunciation, p99 µs"], figures["/add alone, p99 µs"]
    return {
        "benchmark": "neighbours",
        "machine": machine.describe(),
        "settings": {"rounds": rounds, "seconds": seconds, "connections": CONNECTIONS, "batch": BATCH},
        "rows": [{"figure": name, **Spread.of(list(found.values())).as_data()} for name, found in figures.items()],
        **stats.spreads({"add_p99_beside_to_alone": stats.ratios(beside, alone)}),
    }


def _senders(folder: Path, models_dir: Path) -> dict[str, Sender]:
    words = list(make_pairs.split()["test"])[:WORDS]
    batches = [words[start : start + BATCH] for start in range(0, WORDS, BATCH)]
    sums = workload.questions(models_dir, "add", 1_000)
    known = [(word, "") for word in words]
    requests = {
        "words": Requests(PATH, [json.dumps({"source": word}) for word in words], known, PATTERN, check="form"),
        "batches": Requests(
            f"{PATH}/batch", [json.dumps({"sources": each}) for each in batches], known, PATTERN, BATCH, "form"
        ),
        "sums": Requests(
            "/add",
            [json.dumps({"expression": each.value}) for each in sums],
            [(each.value, str(each.truth)) for each in sums],
            PLAIN.pattern["add"],
        ),
    }
    return {name: Sender(folder, each) for name, each in requests.items()}


def _round(
    senders: Mapping[str, Sender], models_dir: Path, question: Question, cores: Sequence[int], seconds: int
) -> list[tuple[str, float]]:
    one, both = [cores[0]], list(cores)

    def serve(on: Sequence[int]) -> Any:
        setup = Setup(server.free_port(), 1, "add", models_dir)
        return server.running(CONTENDERS["ours"], setup, on, question)

    with serve(one) as running:
        port = running.setup.port
        words = _checked(senders["words"].send(port, CONNECTIONS, seconds, [cores[-1]]))
        batches = _checked(senders["batches"].send(port, BATCH_CONNECTIONS, seconds, [cores[-1]]))
        alone = _checked(senders["sums"].send(port, CONNECTIONS, seconds, one))
    with serve(both) as running, ThreadPoolExecutor() as threads:
        port, over = running.setup.port, threading.Event()
        saturated = threads.submit(senders["words"].send, port, CONNECTIONS, seconds, both)
        health = threads.submit(_health, port, over)
        try:
            beside = _checked(senders["sums"].send(port, CONNECTIONS, seconds, both))
        finally:
            over.set()
        found = health.result()
        meanwhile = _checked(saturated.result())
    return [
        ("pronunciation, words/s on a core, 32 connections", words.answers_per_second),
        ("pronunciation, words/s on a core, batches of 64", batches.answers_per_second),
        ("pronunciation beside /add, words/s", meanwhile.answers_per_second),
        ("/add alone, requests/s", alone.requests_per_second),
        ("/add alone, p99 µs", alone.p99_us),
        ("/add beside pronunciation, requests/s", beside.requests_per_second),
        ("/add beside pronunciation, p99 µs", beside.p99_us),
        ("/health/live beside both, p99 µs", percentile(found, 0.99)),
        ("/health/live beside both, most µs", max(found)),
    ]


def _checked(measured: Measured) -> Measured:
    """Raises `ServerFailed` if any answer was wrong or missing."""
    if measured.wrong or measured.errors:
        raise server.ServerFailed(f"{measured.wrong} answers wrong, {measured.errors} errors: {measured.example}")
    return measured


def _health(port: int, over: threading.Event) -> list[float]:
    """How long `/health/live` takes, in microseconds, asked again and again."""
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while not over.wait(PAUSE_S):
        started = time.perf_counter()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        took.append((time.perf_counter() - started) * 1e6)
    connection.close()
    return took


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {"figure": row["figure"], **{name: significant(row[name]) for name in ("median", "min", "max")}}
        for row in data["rows"]
    ]
