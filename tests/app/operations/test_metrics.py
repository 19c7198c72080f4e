"""What is counted and timed, and how it is shown to Prometheus."""

from __future__ import annotations

import asyncio
import json
import platform
import re
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import fakes
import httpx
import numpy as np
import pytest
from client import Client
from prometheus_client.parser import text_string_to_metric_families

from app import VERSION
from app.main import create_app
from app.operations.metrics import CONTENT_TYPE, Family, text, total
from app.serving.batching import DeadlinePassed
from app.serving.counters import Histogram
from app.serving.models import Model
from app.serving.predictor import deadline
from app.settings import Settings
from seq2seq.vocabulary import IdArray

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
METRIC = re.compile(r"`((?:service|process)_\w+)`")

Samples = dict[str, dict[frozenset[str], float]]


def unordered(samples: Mapping[tuple[str, ...], float]) -> dict[frozenset[str], float]:
    """Samples as `shown` gives them: Prometheus' text sorts labels by name."""
    return {frozenset(labels): value for labels, value in samples.items()}


def shown(content: str) -> Samples:
    """Every sample by its name and the values of its labels."""
    samples: Samples = {}
    for family in text_string_to_metric_families(content):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.values())] = sample.value
    return samples


def scrape(client: Client) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    return shown(answer.text)


@pytest.fixture
def client() -> Client:
    return Client(create_app(Settings(), fakes.models()))


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


def test_what_is_not_run_is_counted_by_reason() -> None:
    app = create_app(Settings(max_queue=2), fakes.models())
    body = {"expression": "1+1"}

    async def play() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await asyncio.gather(*(client.post("/add", json=body) for _ in range(5)))

    async def come_too_late() -> None:
        (predictor,) = app.state.repository["addition"].predictors.values()
        token = deadline.set(0.0)
        with pytest.raises(DeadlinePassed):
            await predictor.predict("1+1")
        deadline.reset(token)

    asyncio.run(play())
    asyncio.run(come_too_late())
    samples = scrape(Client(app))
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


def test_of_several_workers_numbers_the_rule_makes_one() -> None:
    families = [
        Family("gauge", "info", "1.", ("version",), {("1",): 1, (version,): 1}, "max") for version in ("1", "2", "3")
    ]
    families += [Family("gauge", "start", "When.", (), {(): when}, "min") for when in (20, 10, 30)]
    families += [Family("gauge", "memory", "How much.", (), {(): bytes_}) for bytes_ in (20, 10, 30)]
    others = [Family.from_data(json.loads(json.dumps(family.as_data()))) for family in families]
    info, start, memory = total([], others)
    assert info.samples == {("1",): 1, ("2",): 1, ("3",): 1}
    assert (start.samples, memory.samples) == ({(): 10}, {(): 60})
    assert (info.rule, start.rule, memory.rule) == ("max", "min", "sum")


def test_families_of_workers_add_up() -> None:
    families = []
    for values in ((0.5, 3.0), (1.0, 9.0)):
        histogram = Histogram((1.0, 5.0))
        for value in values:
            histogram.observe(value)
        seconds = Family("histogram", "seconds", "How long.", ("route",))
        seconds.add(("/a",), histogram)
        requests = Family("counter", "requests", "How many.", ("route",))
        requests.add(("/a",), 2)
        requests.add((f"/{values[0]}",), 1)
        families.append([Family.from_data(family.as_data()) for family in (seconds, requests)])
    samples = shown(text(total(families[0], families[1])).decode("ascii"))
    assert samples["requests_total"] == unordered({("/a",): 4, ("/0.5",): 1, ("/1.0",): 1})
    assert samples["seconds_bucket"] == unordered({("/a", "1.0"): 2, ("/a", "5.0"): 3, ("/a", "+Inf"): 4})
    assert samples["seconds_sum"] == unordered({("/a",): 13.5})
    assert samples["seconds_count"] == unordered({("/a",): 4})
