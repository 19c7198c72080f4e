"""A model's configuration and statistics, in Triton's form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fakes
import pytest
from client import Client

from app.main import create_app
from app.serving.models import Model
from app.settings import Settings

NONE = {"count": 0, "ns": 0}


@pytest.fixture
def client() -> Client:
    return Client(create_app(Settings(), fakes.models()), within_lifespan=True)


@pytest.mark.parametrize("path", ["/v2/models/reversal/config", "/v2/models/reversal/versions/1/config"])
def test_model_is_configured(client: Client, path: str) -> None:
    assert client.get(path).json() == {
        "name": "reversal",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [1]}},
        "max_batch_size": 1000,
        "input": [{"name": "sequence", "data_type": "TYPE_INT64", "dims": [6]}],
        "output": [
            {"name": "reversed", "data_type": "TYPE_INT64", "dims": [3]},
            {"name": "confidence", "data_type": "TYPE_FP64", "dims": []},
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
    }


def stated(client: Client, path: str) -> list[dict[str, Any]]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    models: list[dict[str, Any]] = answer.json()["model_stats"]
    return models


def test_before_the_first_request_nothing_is_counted(client: Client) -> None:
    for model in stated(client, "/v2/models/stats"):
        assert (model["inference_count"], model["execution_count"], model["batch_stats"]) == (0, 0, [])
        assert set(map(str, model["inference_stats"].values())) == {str(NONE)}


@pytest.mark.parametrize(
    "path", ["/v2/models/addition/stats", "/v2/models/addition/versions/1/stats", "/v2/models/stats"]
)
def test_items_are_counted_and_timed(client: Client, path: str) -> None:
    client.post("/add/batch", json={"expressions": ["1+1"] * 5})
    client.post("/add", json={"expression": "1+1"})
    model = stated(client, path)[0]
    assert (model["name"], model["version"]) == ("addition", "1")
    assert (model["inference_count"], model["execution_count"]) == (6, 2)
    times = model["inference_stats"]
    assert times["fail"] == times["compute_input"] == times["cache_hit"] == NONE
    assert times["success"]["count"] == times["queue"]["count"] == times["compute_infer"]["count"] == 6
    assert times["success"]["ns"] == times["queue"]["ns"] + times["compute_infer"]["ns"]


def test_items_that_are_not_answered_are_failures() -> None:
    client = Client(create_app(Settings(deadline_s=1e-9), fakes.models()), within_lifespan=True)
    client.post("/add", json={"expression": "1+1"})
    (model,) = stated(client, "/v2/models/addition/stats")
    assert (model["inference_count"], model["inference_stats"]["fail"]) == (0, {"count": 1, "ns": 0})


@pytest.mark.parametrize("what", ["config", "stats"])
@pytest.mark.parametrize("model", ["division", "addition/versions/9"])
def test_unknown_model_has_neither(client: Client, what: str, model: str) -> None:
    answer = client.get(f"/v2/models/{model}/{what}")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("There is no ")


def test_model_that_is_called_as_a_route_is_still_served() -> None:
    """Triton's own path of all statistics hides its metadata, but those of its versions are there, as with Triton."""
    stats = Model(replace(fakes.addition_manifest(), name="stats"), fakes.truthful(fakes.ADDITION))
    client = Client(create_app(Settings(), fakes.models() | {"stats": stats}), within_lifespan=True)
    assert [model["name"] for model in stated(client, "/v2/models/stats")] == ["addition", "reversal", "stats"]
    assert [model["name"] for model in stated(client, "/v2/models/stats/stats")] == ["stats"]
    assert client.get("/v2/models/stats/config").json()["name"] == "stats"
    assert client.get("/v2/models/stats/ready").json() == {"name": "stats", "ready": True}
    assert client.get("/v2/models/stats/versions/1").json()["name"] == "stats"
    tensor = {"name": "expression", "datatype": "BYTES", "shape": [1], "data": ["10+6"]}
    assert client.post("/v2/models/stats/infer", json={"inputs": [tensor]}).json()["model_name"] == "stats"
