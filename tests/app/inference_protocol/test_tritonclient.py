"""The client of the Open Inference Protocol that is most in use, against the service as users run it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import service
import tritonclient.http as triton
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

from seq2seq import bundle

SHIPPED = [f"{path.parent.name}/{path.name}" for path in (service.ROOT / "models").glob("*/[0-9]*")]
EXPRESSIONS = ["10+6", "99+99+99", " 1 + 2 "]
SUMS = [16, 297, 3]
SEQUENCES = [[20, 36, 40, 10, 34, 28], [1, 2, 3, 4, 5, 6]]
REVERSED = [[40, 36, 20], [3, 2, 1]]
OUTPUTS = {"addition": ["decoded", "sum", "confidence"], "reversal": ["reversed", "confidence"]}


@pytest.fixture(scope="module")
def served() -> Iterator[service.Service]:
    with service.running(drain_s=0, model_control=True) as running:
        yield running


@pytest.fixture
def client(served: service.Service) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        yield client


def tensors(module: Any, model: str, binary: bool) -> list[Any]:
    """The one input of a model, filled."""
    if model == "addition":
        values, name, datatype = np.array(EXPRESSIONS, dtype=np.object_), "expression", "BYTES"
    else:
        values, name, datatype = np.array(SEQUENCES, dtype=np.int64), "sequence", "INT64"
    tensor = module.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return [tensor]


def wanted(module: Any, model: str, binary: bool) -> list[Any]:
    return [module.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS[model]]


def assert_right(result: Any, model: str) -> None:
    if model == "addition":
        assert result.as_numpy("sum").tolist() == SUMS
        texts = [text if isinstance(text, str) else text.decode() for text in result.as_numpy("decoded")]
        assert texts == [str(number) for number in SUMS]
    else:
        assert result.as_numpy("reversed").tolist() == REVERSED
    confidence = result.as_numpy("confidence")
    assert confidence.dtype == np.float64
    assert ((confidence > 0.9) & (confidence <= 1)).all()
    assert result.get_response()["model_name"] == model


VERSIONS = {"addition": "2", "reversal": "3"}
"""The newest of each that ships."""


@pytest.mark.parametrize("model", ["addition", "reversal"])
def test_infers_by_default(client: Any, model: str) -> None:
    result = client.infer(model, tensors(triton, model, binary=True), request_id="42")
    assert_right(result, model)
    response = result.get_response()
    assert response["id"] == "42"
    assert all("binary_data_size" in output["parameters"] for output in response["outputs"])


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("asked_as_binary", [True, False])
@pytest.mark.parametrize("sent_as_binary", [True, False])
@pytest.mark.parametrize("model", ["addition", "reversal"])
def test_infers_as_is_asked(
    client: Any, model: str, sent_as_binary: bool, asked_as_binary: bool, coding: str | None
) -> None:
    result = client.infer(
        model,
        tensors(triton, model, sent_as_binary),
        model_version=VERSIONS[model],
        outputs=wanted(triton, model, asked_as_binary),
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert_right(result, model)
    assert all(("data" in output) != asked_as_binary for output in result.get_response()["outputs"])


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_infers_as_many_as_may_be(client: Any, coding: str | None) -> None:
    values = np.array([f"{place % 100}+{place // 100}" for place in range(1_000)], dtype=np.object_)
    tensor = triton.InferInput("expression", [1_000, 1], "BYTES")
    tensor.set_data_from_numpy(values[:, None])
    result = client.infer(
        "addition", [tensor], request_compression_algorithm=coding, response_compression_algorithm=coding
    )
    assert result.as_numpy("sum").tolist() == [place % 100 + place // 100 for place in range(1_000)]


def test_infers_beside_itself(client: Any) -> None:
    requests = [client.async_infer("addition", tensors(triton, "addition", binary=True)) for _ in range(5)]
    for request in requests:
        assert_right(request.get_result(), "addition")


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("model", ["addition", "reversal"])
def test_infers_in_asyncio(served: service.Service, model: str, binary: bool, coding: str | None) -> None:
    async def scenario() -> None:
        async with aio.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready(model, VERSIONS[model])
            assert not await client.is_model_ready(model, "9")
            assert (await client.get_model_metadata(model))["name"] == model
            asked = [
                client.infer(
                    model,
                    tensors(aio, model, binary),
                    outputs=None if binary else wanted(aio, model, binary),
                    request_id=str(number),
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                for number in range(10)
            ]
            for number, result in enumerate(await asyncio.gather(*asked)):
                assert_right(result, model)
                assert result.get_response()["id"] == str(number)

    asyncio.run(scenario())


def test_server_and_models_describe_themselves(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("addition")
    assert client.is_model_ready("addition", "2")
    assert not client.is_model_ready("addition", "9")
    assert not client.is_model_ready("division")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("reversal", "3")
    assert "3" in metadata["versions"]
    assert metadata["inputs"] == [
        {"name": "sequence", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "take", "datatype": "INT64", "shape": [-1]},
    ]


def test_statistics_and_configuration_are_told(client: Any) -> None:
    assert {"statistics", "model_configuration"} <= set(client.get_server_metadata()["extensions"])
    (before,) = client.get_inference_statistics("addition", "2")["model_stats"]
    client.infer("addition", tensors(triton, "addition", binary=True))
    (after,) = client.get_inference_statistics("addition")["model_stats"]
    assert (after["name"], after["version"]) == ("addition", "2")
    assert after["inference_count"] == before["inference_count"] + len(EXPRESSIONS)
    assert after["execution_count"] > before["execution_count"]
    assert [model["name"] for model in client.get_inference_statistics()["model_stats"]] == sorted(
        name.partition("/")[0] for name in SHIPPED
    )
    for model, version in VERSIONS.items():
        config, metadata = client.get_model_config(model, version), client.get_model_metadata(model)
        assert (config["name"], config["platform"]) == (model, metadata["platform"])
        for side in ("input", "output"):
            shapes = {tensor["name"]: tensor["shape"][1:] for tensor in metadata[f"{side}s"]}
            assert {tensor["name"]: tensor["dims"] for tensor in config[side]} == shapes


@pytest.mark.parametrize(
    ("ask", "status", "message"),
    [
        (lambda client: client.infer("division", tensors(triton, "addition", binary=True)), "404", "no model division"),
        (
            lambda client: client.infer("addition", tensors(triton, "addition", binary=True), model_version="9"),
            "404",
            "no version 9",
        ),
        (lambda client: client.infer("addition", tensors(triton, "reversal", binary=True)), "400", 'input "sequence"'),
        (lambda client: client.get_inference_statistics("division"), "404", "no model division"),
        (lambda client: client.get_model_config("addition", "9"), "404", "no version 9"),
        (lambda client: client.get_trace_settings(), "404", "does not offer trace settings"),
        (lambda client: client.update_trace_settings("addition", {"trace_rate": "1"}), "404", "trace settings"),
        (lambda client: client.get_log_settings(), "404", "does not offer log settings"),
        (lambda client: client.update_log_settings({"log_info": True}), "404", "does not offer log settings"),
        (lambda client: client.get_system_shared_memory_status(), "404", "does not offer system shared memory"),
        (lambda client: client.register_system_shared_memory("a", "b", 8), "404", "does not offer system shared"),
        (lambda client: client.get_cuda_shared_memory_status(), "404", "does not offer CUDA shared memory"),
        (lambda client: client.register_cuda_shared_memory("a", b"b", 0, 8), "404", "does not offer CUDA shared"),
        (lambda client: client.load_model("division"), "404", "no model division"),
        (lambda client: client.load_model("addition", config="{}"), "400", "no parameters"),
    ],
)
def test_refusals_are_understood(client: Any, ask: Callable[[Any], Any], status: str, message: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        ask(client)
    assert caught.value.status() == status
    assert message in caught.value.message()
    assert_right(client.infer("addition", tensors(triton, "addition", binary=True)), "addition")


def add_version(models_dir: Path, version: str) -> Path:
    """Another version of the model that adds, the same but for its number."""
    directory = models_dir / "addition" / version
    shutil.copytree(models_dir / "addition" / "2", directory)
    manifest = json.loads((directory / "manifest.json").read_bytes())
    bundle.write_manifest(directory, manifest | {"version": version})
    return directory


def states(client: Any) -> dict[str, str]:
    return {f"{entry['name']}/{entry['version']}": entry["state"] for entry in client.get_model_repository_index()}


def version_that_answers(client: Any) -> str:
    result = client.infer("addition", tensors(triton, "addition", binary=True))
    assert_right(result, "addition")
    return str(result.get_response()["model_version"])


def test_repository_is_changed_while_it_serves(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    shutil.copytree(service.ROOT / "models", models_dir)
    with (
        service.running(models_dir=models_dir, model_control=True, watch_s=0, drain_s=0) as running,
        triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client,
    ):
        assert states(client) == dict.fromkeys(SHIPPED, "READY")

        add_version(models_dir, "3")
        assert states(client)["addition/3"] == "UNAVAILABLE"
        assert version_that_answers(client) == "2"
        client.load_model("addition")
        assert states(client) == dict.fromkeys([*SHIPPED, "addition/3"], "READY")
        assert version_that_answers(client) == "3"

        graph = add_version(models_dir, "4") / "greedy.onnx"
        graph.write_bytes(graph.read_bytes()[::-1])
        with pytest.raises(InferenceServerException) as caught:
            client.load_model("addition")
        assert caught.value.status() == "400"
        assert caught.value.message().startswith("addition/4/greedy.onnx: was altered")
        assert states(client)["addition/4"] == "UNAVAILABLE"
        assert version_that_answers(client) == "3"

        client.unload_model("addition")
        assert set(states(client).values()) == {"READY", "UNAVAILABLE"}
        assert not client.is_model_ready("addition")
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException) as caught:
            version_that_answers(client)
        assert caught.value.status() == "503"
        assert client.is_model_ready("reversal")

        shutil.rmtree(models_dir / "addition" / "4")
        client.load_model("addition")
        assert client.is_server_ready()
        assert version_that_answers(client) == "3"
