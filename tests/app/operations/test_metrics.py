"""What is counted and timed, and how it is shown to Prometheus."""

from __future__ import annotations

import asyncio
import platform
import re
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import fakes
import numpy as np
import pytest
from client import Client, async_client, client_of_fakes
from prometheus_client.parser import text_string_to_metric_families

from app import VERSION
from app.main import create_app, make_repository
from app.operations.metrics import CONTENT_TYPE, Samples, collect, families, text, total
from app.serving.batching import DeadlinePassed
from app.serving.counters import Histogram, Traffic
from app.serving.models import Model
from app.settings import Settings
from seq2seq.vocabulary import IdArray

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
METRIC = re.compile(r"`((?:service|process)_\w+)`")

Shown = dict[str, dict[frozenset[str], float]]


def unordered(samples: Mapping[tuple[str, ...], float]) -> dict[frozenset[str], float]:
    """Samples as `shown` gives them: Prometheus' text sorts labels by name."""
    return {frozenset(labels): value for labels, value in samples.items()}


def shown(content: str) -> Shown:
    """Every sample by its name and the values of its labels."""
    samples: Shown = {}
    for family in text_string_to_metric_families(content):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.values())] = sample.value
    return samples


def scrape(client: Client) -> Shown:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    return shown(answer.text)


@pytest.fixture
def client() -> Client:
    return client_of_fakes()


def test_requests_are_counted_by_route_and_status(client: Client) -> None:
    for _ in range(3):
        client.post("/add", json={"expression": "1+1"})
    client.post("/add", json={"expression": "1+"})
    client.get("/models/addition")
    client.get("/models/none")
    client.get("/made/up")
    samples = scrape(client)
    assert samples["service_requests_total"] == unordered(
        {
            ("/add", "200"): 3,
            ("/add", "422"): 1,
            ("/models/{name}", "200"): 1,
            ("/models/{name}", "404"): 1,
            ("other", "404"): 1,
        }
    )
    assert samples["service_request_seconds_count"][frozenset({"/add"})] == 4
    assert 0 < samples["service_request_seconds_sum"][frozenset({"/add"})] < 60


def test_answers_are_held_against_the_truth() -> None:
    def plus_signs(sources: IdArray) -> IdArray:
        return np.full((len(sources), fakes.ADDITION.target_length), 10, dtype=np.int32)

    wrong = Model(fakes.addition_manifest(), fakes.truthful(fakes.ADDITION, plus_signs))
    client = Client(create_app(Settings(), fakes.models() | {"addition": wrong}))
    assert client.post("/add", json={"expression": "1+1"}).json()["sum"] is None
    client.post("/reverse/batch", json={"sequences": [fakes.SEQUENCE] * 5})
    assert scrape(client)["service_answers_total"] == unordered(
        {
            ("addition", "1", "exact"): 0,
            ("addition", "1", "wrong"): 1,
            ("reversal", "1", "exact"): 5,
            ("reversal", "1", "wrong"): 0,
        }
    )


def test_queue_model_and_batches_are_measured_apart(client: Client) -> None:
    client.post("/add/batch", json={"expressions": ["1+1"] * 100})
    samples = scrape(client)
    addition = frozenset({"addition", "1"})
    assert samples["service_queue_seconds_count"][addition] == 100
    assert samples["service_model_seconds_count"][addition] == 2
    assert samples["service_batch_size_sum"][addition] == 100
    assert samples["service_batch_size_bucket"][addition | {"64.0"}] == 2
    assert samples["service_batch_size_bucket"][addition | {"32.0"}] == 0
    assert samples["service_queue_depth"][addition] == 0
    assert samples["service_model_info"][addition | {"repeat_vector", "1324", "true"}] == 1
    assert samples["service_build_info"] == {
        frozenset({VERSION, platform.python_version(), metadata.version("onnxruntime")}): 1
    }
    assert samples["service_model_loads_total"][frozenset({"addition", "loaded"})] == 1


def test_process_is_measured(client: Client) -> None:
    samples = {name: values[frozenset()] for name, values in scrape(client).items() if name.startswith("process_")}
    assert samples["process_resident_memory_bytes"] > 10_000_000
    assert samples["process_cpu_seconds_total"] > 0
    assert 3 <= samples["process_open_fds"] < samples["process_max_fds"]
    assert 0 < samples["process_start_time_seconds"] <= time.time()


def test_the_page_lists_every_metric(client: Client) -> None:
    listed = {name for line in PAGE.splitlines() if line.startswith("| `") for name in METRIC.findall(line)}
    assert listed == set(re.findall(r"^# TYPE (\S+)", client.get("/metrics").text, re.MULTILINE))


async def test_what_is_not_run_is_counted_by_reason() -> None:
    settings = Settings(max_queue=2)
    repository = make_repository(settings)
    app = create_app(settings, fakes.models(), repository=repository)
    async with async_client(app) as client:
        await asyncio.gather(*(client.post("/add", json={"expression": "1+1"}) for _ in range(5)))
        with pytest.raises(DeadlinePassed):
            await repository["addition"].pick().predict("1+1", 0.0)
        samples = shown((await client.get("/metrics")).text)
    assert samples["service_dropped_total"] == unordered(
        {("addition", "1", "overload"): 3, ("addition", "1", "deadline"): 1}
    )
    assert samples["service_requests_total"][frozenset({"/add", "429"})] == 3


def test_readiness_is_shown() -> None:
    app = create_app(Settings(), fakes.models())
    assert scrape(Client(app))["service_ready_workers"] == unordered({(): 0})
    assert scrape(Client(app, within_lifespan=True))["service_ready_workers"] == unordered({(): 1})


@pytest.mark.parametrize("values", [[], [0.5], [4.0, 3.0, 2.0], [9.0, 5.0, 4.0, 1.0, 0.0]])
def test_many_values_at_once_are_observed_as_one_by_one(values: list[float]) -> None:
    together, apart = Histogram((1.0, 5.0)), Histogram((1.0, 5.0))
    together.observe_falling(values)
    for value in values:
        apart.observe(value)
    assert (together.counts, together.total) == (apart.counts, apart.total)


def test_gauges_of_several_workers_become_one_number() -> None:
    def info(version: str) -> tuple[str, ...]:
        return ("addition", version, "repeat_vector", "1324", "true")

    parts: list[Samples] = [
        {
            "service_model_info": {info("1"): [1], info(version): [1]},
            "process_start_time_seconds": {(): [when]},
            "process_resident_memory_bytes": {(): [when]},
        }
        for version, when in (("1", 20), ("2", 10), ("3", 30))
    ]
    samples = total(parts)
    assert samples["service_model_info"] == {info("1"): [1], info("2"): [1], info("3"): [1]}
    assert samples["process_start_time_seconds"] == {(): [10]}
    assert samples["process_resident_memory_bytes"] == {(): [60]}


def test_counts_and_times_of_several_workers_add_up() -> None:
    parts = []
    for status, seconds in ((200, (0.15, 3.0)), (404, (0.2, 90.0))):
        traffic = Traffic()
        for each in seconds:
            traffic.note({}, "/a", status, each)
        traffic.note({}, f"/{status}", 500, 1.0)
        parts.append(collect(traffic, fakes.repository(), is_ready=True))
    samples = shown(text(families(total(parts))).decode("ascii"))
    assert samples["service_requests_total"] == unordered(
        {("/a", "200"): 2, ("/a", "404"): 2, ("/200", "500"): 1, ("/404", "500"): 1}
    )
    buckets = samples["service_request_seconds_bucket"]
    assert [buckets[frozenset({"/a", bound})] for bound in ("0.1", "0.2", "2.0", "5.0", "+Inf")] == [0, 2, 2, 3, 4]
    assert samples["service_request_seconds_sum"][frozenset({"/a"})] == pytest.approx(93.35)
    assert samples["service_request_seconds_count"][frozenset({"/a"})] == 4
    assert samples["service_ready_workers"] == unordered({(): 2})
