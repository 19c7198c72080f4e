"""The routes of the Open Inference Protocol, on models whose networks know the truth."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import httpx
import numpy as np
import pytest
from client import Client, client_of_fakes

from app.inference_protocol.tensor_data import unpack
from app.main import create_app
from app.operations.lifecycle import Lifecycle
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.serving.repository import Repository
from app.settings import Settings
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from seq2seq.vocabulary import IdArray

SUMS = {"inputs": [{"name": "expression", "datatype": "BYTES", "shape": [2], "data": ["10+6", "1 + 2"]}]}
LISTS = {"inputs": [{"name": "sequence", "datatype": "INT64", "shape": [1, 6], "data": fakes.SEQUENCE}]}
ADD = "/v2/models/addition/infer"
TEXT = json.dumps(SUMS).encode()
PLACES = ("/v2/models/{name}", "/v2/models/{name}/versions/{number}")
HEAD_BYTES = "inference-header-content-length"


@pytest.fixture
def client() -> Client:
    return Client(create_app(Settings(model_control=True), fakes.models()), within_lifespan=True)


def error(answer: httpx.Response, status: int) -> str:
    """What a refusal says, in the protocol's form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 16
    content = answer.json()
    assert list(content) == ["error"]
    assert content["error"]
    return str(content["error"])


def outputs(answer: httpx.Response) -> dict[str, Any]:
    """The data of each output, wherever it stands."""
    assert answer.status_code == 200, answer.text
    size = answer.headers.get(HEAD_BYTES)
    assert answer.headers["content-type"] == ("application/json" if size is None else "application/octet-stream")
    head, binary = (answer.content, b"") if size is None else (answer.content[: int(size)], answer.content[int(size) :])
    found = {}
    for output in json.loads(head)["outputs"]:
        end = output.get("parameters", {}).get("binary_data_size", 0)
        found[output["name"]] = output["data"] if "data" in output else unpack(output["datatype"], binary[:end])
        binary = binary[end:]
    assert binary == b""
    return found


# The server and its models


def test_server_describes_itself(client: Client) -> None:
    assert client.get("/v2").json() == {
        "name": "sequences-to-service",
        "version": "1.0.0",
        "extensions": [
            "binary_tensor_data",
            "model_configuration",
            "model_repository",
            "model_repository(unload_dependents)",
            "statistics",
        ],
    }


def test_server_is_live_and_ready(client: Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_server_that_stops_is_live_but_not_ready() -> None:
    lifecycle = Lifecycle()
    client = Client(create_app(Settings(), fakes.models(), lifecycle=lifecycle))
    lifecycle.drain()
    assert client.get("/v2/health/live").status_code == 200
    assert error(client.get("/v2/health/ready"), 503).startswith("The service is stopping")


@pytest.mark.parametrize("path", ["/v2/models/addition", "/v2/models/addition/versions/1"])
def test_model_is_described(client: Client, path: str) -> None:
    assert client.get(path).json() == {
        "name": "addition",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "expression", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "sum", "datatype": "INT64", "shape": [-1]},
            {"name": "decoded", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP64", "shape": [-1]},
        ],
    }


@pytest.mark.parametrize("path", ["/v2/models/reversal/ready", "/v2/models/reversal/versions/1/ready"])
def test_model_is_ready(client: Client, path: str) -> None:
    assert client.get(path).json() == {"name": "reversal", "ready": True}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v2/models/division", "There is no model division; there are addition, reversal."),
        ("/v2/models/division/ready", "There is no model division; there are addition, reversal."),
        ("/v2/models/addition/versions/2", "There is no version 2 of addition; served: 1."),
        ("/v2/models/addition/versions/x/ready", "There is no version x of addition; served: 1."),
        ("/v2/models/addition/konfig", "There is no route /v2/models/addition/konfig; see /docs."),
        ("/v2/models/addition/", "There is no route /v2/models/addition/; try it without the slash at the end."),
        ("/v2/models/..%2f..%2fetc", "There is no route /v2/models/../../etc; see /docs."),
        ("/v2/trace/setting", "This service does not offer trace settings; GET /v2 lists its extensions."),
        ("/v2/models/addition/trace/setting", "This service does not offer trace settings"),
        ("/v2/logging", "This service does not offer log settings"),
        ("/v2/systemsharedmemory/status", "This service does not offer system shared memory"),
        ("/v2/cudasharedmemory/region/a/status", "This service does not offer CUDA shared memory"),
        ("/v2/loggings", "There is no route /v2/loggings; see /docs."),
        ("/v2/models/\u00e9" + "x" * 3_000, "There is no model \\xe9xxx"),
    ],
)
def test_what_there_is_not(client: Client, path: str, message: str) -> None:
    assert error(client.get(path), 404).startswith(message)


def test_wrong_method(client: Client) -> None:
    answer = client.get(ADD)
    assert error(answer, 405) == f"{ADD} answers POST, not GET."
    assert answer.headers["allow"] == "POST"


def test_errors_elsewhere_are_problems(client: Client) -> None:
    for path in ("/v20", "/v"):
        assert client.get(path).headers["content-type"] == "application/problem+json"


# Inference


@pytest.mark.parametrize("path", [ADD, "/v2/models/addition/versions/1/infer"])
def test_sums_are_inferred(client: Client, path: str) -> None:
    assert client.post(path, json=SUMS | {"id": "42"}).json() == {
        "model_name": "addition",
        "model_version": "1",
        "id": "42",
        "outputs": [
            {"name": "sum", "datatype": "INT64", "shape": [2], "data": [16, 3]},
            {"name": "decoded", "datatype": "BYTES", "shape": [2], "data": ["16", "3"]},
            {"name": "confidence", "datatype": "FP64", "shape": [2], "data": [0.997003, 0.997003]},
        ],
    }


def test_lists_are_inferred(client: Client) -> None:
    answer = client.post("/v2/models/reversal/infer", json=LISTS)
    assert outputs(answer) == {"reversed": [40, 36, 20], "confidence": [0.997003]}
    assert "id" not in answer.json()


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/octet-stream", "application/json"])
def test_body_need_not_be_declared(client: Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert outputs(client.post(ADD, content=TEXT, headers=headers))["sum"] == [16, 3]


def test_binary_tensors_come_and_go(client: Client) -> None:
    data = np.array([fakes.SEQUENCE, [1, 2, 3, 4, 5, 6]], dtype="<i8").tobytes()
    tensor = {"name": "sequence", "datatype": "INT64", "shape": [2, 6], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = client.post("/v2/models/reversal/infer", content=head + data, headers={HEAD_BYTES: str(len(head))})
    assert outputs(answer) == {"reversed": [40, 36, 20, 3, 2, 1], "confidence": [0.997003] * 2}
    assert HEAD_BYTES in answer.headers


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_body_is_inflated(client: Client, coding: str, compress: Callable[[bytes], bytes]) -> None:
    answer = client.post(ADD, content=compress(TEXT), headers={"content-encoding": coding})
    assert outputs(answer)["sum"] == [16, 3]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_answer_is_compressed_where_that_is_asked_for(client: Client, coding: str) -> None:
    tensor = SUMS["inputs"][0] | {"shape": [100], "data": ["10+6"] * 100}
    answer = client.post(ADD, json={"inputs": [tensor]}, headers={"accept-encoding": coding})
    assert answer.headers["content-encoding"] == coding
    assert outputs(answer)["sum"] == [16] * 100
    assert int(answer.headers["content-length"]) < len(answer.content)


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"", {}, 400, "the body is empty"),
        (b'{"inputs": [}', {}, 400, "the body is not valid JSON"),
        (json.dumps(LISTS).encode(), {}, 400, 'there is no input "sequence"; the model takes "expression"'),
        (TEXT, {HEAD_BYTES: "x"}, 400, "the header Inference-Header-Content-Length is 'x'"),
        (TEXT, {"x-timeout-ms": "soon"}, 400, "The header X-Timeout-Ms is soon"),
        (TEXT, {"content-encoding": "gzip"}, 400, "The body is not gzip"),
        (TEXT, {"content-encoding": "br"}, 415, "The header Content-Encoding is br"),
        (gzip.compress(bytes(2**20 + 1)), {"content-encoding": "gzip"}, 413, "The body is larger than 1048576 bytes"),
        (bytes(2**20 + 1), {}, 413, "The body is larger than 1048576 bytes"),
    ],
)
def test_wrong_request_is_refused(
    client: Client, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    assert error(client.post(ADD, content=body, headers=headers), status).startswith(message)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ADD, b'{"id": "1", "id": "2", %b' % TEXT[1:]),
        (ADD, TEXT.replace(b'"shape": [2]', b'"shape": [2], "shape": [2]')),
        (ADD, TEXT.replace(b'"shape": [2]', b'"shape": [2], "parameters": {"a": 1, "a": 1}')),
        (ADD, b'{"parameters": {"binary_data_output": true, "binary_data_output": false}, %b' % TEXT[1:]),
        (ADD, b'{"outputs": [{"name": "sum", "name": "decoded"}], %b' % TEXT[1:]),
        (ADD, b'{"unknown": {"a": {"b": 1, "b": 2}}, %b' % TEXT[1:]),
        ("/v2/repository/index", b'{"ready": true, "ready": false}'),
        ("/v2/repository/models/addition/unload", b'{"parameters": {"unload_dependents": 1, "unload_dependents": 0}}'),
    ],
)
def test_field_that_is_given_twice_is_refused(path: str, body: bytes) -> None:
    client = client_of_fakes(model_control=True)
    assert error(client.post(path, content=body), 400).endswith("is given twice")


def test_refused_item_is_named(client: Client) -> None:
    tensor = SUMS["inputs"][0] | {"data": ["10+6", "10+"]}
    assert error(client.post(ADD, json={"inputs": [tensor]}), 400) == (
        "expression[1]: term 2 is empty; write a number on each side of every + (rule: empty_term)"
    )


@pytest.mark.parametrize("path", ["/v2/models/division/infer", "/v2/models/addition/versions/9/infer"])
def test_unknown_model_does_not_infer(client: Client, path: str) -> None:
    error(client.post(path, json=SUMS), 404)


def answering(problem: Addition | Reversal, name: str, **options: Any) -> Repository:
    return fakes.repository(Model(fakes.manifest(problem, name), fakes.truthful(problem, **options)))


def infer(repository: Repository, name: str, body: dict[str, Any], **settings: Any) -> httpx.Response:
    client = Client(create_app(Settings(**settings), repository=repository))
    return client.post(f"/v2/models/{name}/infer", json=body)


def test_any_model_of_a_known_kind_is_served() -> None:
    tensor = LISTS["inputs"][0] | {"shape": [1, 4], "data": [4, 3, 2, 1]}
    answer = infer(answering(Reversal(3, 5, 9, 2), "mirror"), "mirror", {"inputs": [tensor]})
    assert (answer.json()["model_name"], outputs(answer)["reversed"]) == ("mirror", [3, 4])


def test_model_that_writes_no_number() -> None:
    def wordless(sources: IdArray) -> IdArray:
        return np.full((len(sources), fakes.ADDITION.target_length), 10)  # a +

    repository = answering(fakes.ADDITION, "addition", answer=wordless)
    answer = infer(repository, "addition", SUMS)
    assert error(answer, 500) == (
        "sum[0]: the model wrote no number; ask for the other outputs alone to see what it wrote"
    )
    assert outputs(infer(repository, "addition", SUMS | {"outputs": [{"name": "decoded"}]})) == {"decoded": ["+++"] * 2}


def test_failing_model_is_a_500_without_a_trace() -> None:
    def broken(_: IdArray) -> IdArray:
        raise RuntimeError("secret of the house")

    answer = infer(answering(fakes.ADDITION, "addition", answer=broken), "addition", SUMS)
    assert error(answer, 500).startswith("The service failed to answer")


def test_full_queue_turns_away() -> None:
    repository = fakes.repository(fakes.models()["addition"], serve=lambda model, _: Predictor(model, 8, max_queue=0))
    answer = infer(repository, "addition", SUMS)
    assert error(answer, 429)
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(("seconds", "body"), [(1e-9, {}), (10.0, {"parameters": {"timeout": 1}})])
def test_past_its_deadline_a_request_is_not_answered(seconds: float, body: dict[str, Any]) -> None:
    answer = infer(answering(fakes.ADDITION, "addition"), "addition", SUMS | body, deadline_s=seconds)
    assert error(answer, 504).startswith("The deadline passed")


# The repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """What serves the bundles of a directory."""
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    fakes.write_bundle(tmp_path, fakes.reversal_manifest())
    repository = fakes.repository(models_dir=tmp_path)
    repository.start()
    return repository


@pytest.fixture
def keeper(repository: Repository) -> Client:
    """A client of a service whose models may be changed."""
    settings = Settings(model_control=True, max_body_bytes=1_000)
    return Client(create_app(settings, repository=repository))


def index(keeper: Client, **asked: Any) -> list[tuple[str, str, str, str]]:
    entries = keeper.post("/v2/repository/index", **asked).json()
    return [(entry["name"], entry["version"], entry["state"], entry["reason"]) for entry in entries]


ADDITION = ("addition", "1", "READY", "")
REVERSAL = ("reversal", "1", "READY", "")


def test_repository_is_listed(keeper: Client) -> None:
    assert index(keeper) == index(keeper, json={}) == index(keeper, json={"ready": False}) == [ADDITION, REVERSAL]


def test_what_is_not_served_is_listed_with_the_reason(keeper: Client, repository: Repository) -> None:
    for version in ("2", "10"):
        fakes.write_bundle(repository.models_dir, fakes.addition_manifest(version))
    (repository.models_dir / "addition" / "2" / "greedy.onnx").write_bytes(b"xxxx.onnx.")
    message = error(keeper.post("/v2/repository/models/addition/load"), 400)
    assert message.startswith("addition/2/greedy.onnx: ")
    fakes.write_bundle(repository.models_dir, fakes.manifest(fakes.REVERSAL, "mirror"))
    keeper.post("/v2/repository/models/reversal/unload")
    assert index(keeper) == [
        ADDITION,
        ("addition", "2", "UNAVAILABLE", message),
        ("addition", "10", "READY", ""),
        ("mirror", "1", "UNAVAILABLE", "is not loaded yet"),
        ("reversal", "1", "UNAVAILABLE", "was unloaded"),
    ]
    assert index(keeper, json={"ready": True}) == [ADDITION, ("addition", "10", "READY", "")]


def test_new_version_is_loaded(keeper: Client, repository: Repository) -> None:
    fakes.write_bundle(repository.models_dir, fakes.addition_manifest("2"))
    answer = keeper.post("/v2/repository/models/addition/load", json={"parameters": {}})
    assert (answer.status_code, answer.json()) == (200, {})
    assert keeper.get("/v2/models/addition").json()["versions"] == ["1", "2"]
    assert keeper.post(ADD, json=SUMS).json()["model_version"] == "2"
    assert keeper.post("/v2/models/addition/versions/1/infer", json=SUMS).json()["model_version"] == "1"


def test_new_model_is_loaded(keeper: Client, repository: Repository) -> None:
    fakes.write_bundle(repository.models_dir, fakes.manifest(fakes.ADDITION, "sums"))
    assert keeper.get("/v2/models/sums").status_code == 404
    assert keeper.post("/v2/repository/models/sums/load").status_code == 200
    assert outputs(keeper.post("/v2/models/sums/infer", json=SUMS))["sum"] == [16, 3]


def test_broken_version_is_refused_without_a_path_of_this_machine(keeper: Client, repository: Repository) -> None:
    directory = fakes.write_bundle(repository.models_dir, fakes.addition_manifest("2"))
    (directory / "manifest.json").unlink()
    message = error(keeper.post("/v2/repository/models/addition/load"), 400)
    assert message == "addition/2/manifest.json: is missing; this is not a bundle"
    assert keeper.post(ADD, json=SUMS).json()["model_version"] == "1"
    assert repository.refused == {"addition": 1}


def test_unloaded_model_is_not_served_until_it_is_loaded(keeper: Client) -> None:
    answer = keeper.post("/v2/repository/models/addition/unload", json={"parameters": {"unload_dependents": False}})
    assert (answer.status_code, answer.json()) == (200, {})
    for path in ("/v2/models/addition", "/v2/models/addition/ready"):
        assert error(keeper.get(path), 503) == "No version of addition is loaded."
    assert error(keeper.post(ADD, json=SUMS), 503) == "No version of addition is loaded."
    assert keeper.get("/v2/models/reversal/ready").status_code == 200
    assert keeper.post("/v2/repository/models/addition/load").status_code == 200
    assert keeper.get("/v2/models/addition/ready").status_code == 200


@pytest.mark.parametrize("name", ["division", "..", "addition%2f1", "x" * 3_000])
def test_unknown_model_is_neither_loaded_nor_unloaded(keeper: Client, name: str) -> None:
    for change in ("load", "unload"):
        answer = keeper.post(f"/v2/repository/models/{name}/{change}")
        assert answer.status_code == 404
        assert len(answer.content) < 500


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("index", b"{", "the body is not valid JSON"),
        ("index", b"[]", "the body is a list; send an object"),
        ("index", b'{"ready": "yes"}', '/ready: "ready" is text; it must be a boolean'),
        ("models/addition/load", b'{"parameters": {"config": "{}"}}', "This service takes no parameters"),
        ("models/addition/load", b'{"parameters": 1}', '/parameters: "parameters" is a number; it must be an object'),
        ("models/addition/unload", b"unload", "the body is not valid JSON"),
    ],
)
def test_wrong_change_is_refused(keeper: Client, path: str, body: bytes, message: str) -> None:
    assert error(keeper.post(f"/v2/repository/{path}", content=body), 400).startswith(message)
    assert error(keeper.post(f"/v2/repository/{path}", content=bytes(1_001)), 413)
    assert index(keeper, json={"ready": True}) == [ADDITION, REVERSAL]


def test_models_of_a_directory_that_is_gone_are_listed(keeper: Client, repository: Repository) -> None:
    repository.models_dir.rename(repository.models_dir.with_name("gone"))
    assert {entry[2] for entry in index(keeper)} == {"READY"}
    message = error(keeper.post("/v2/repository/models/addition/load"), 400)
    assert message == f"{repository.models_dir.name}: cannot be listed: No such file or directory"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "Loading and unloading is off; APP_MODEL_CONTROL=true turns it on."),
        ({"model_control": True, "workers": 2}, "Several workers serve here, and a request reaches only one;"),
    ],
)
def test_changes_are_off_unless_a_setting_turns_them_on(
    repository: Repository, settings: dict[str, Any], reason: str
) -> None:
    client = Client(create_app(Settings(**settings), repository=repository))
    for change in ("load", "unload"):
        assert error(client.post(f"/v2/repository/models/addition/{change}"), 403).startswith(reason)
    assert index(client) == [ADDITION, REVERSAL]


def test_unload_leaves_the_service_ready(client: Client) -> None:
    assert client.post("/v2/repository/models/addition/unload").status_code == 200
    for path in ("/health/ready", "/v2/health/ready"):
        assert client.get(path).status_code == 200
    assert client.post("/add", json={"expression": "1+1"}).status_code == 503


# The OpenAPI document

PATHS = {
    "/v2": "get",
    "/v2/health/live": "get",
    "/v2/health/ready": "get",
    "/v2/models/stats": "get",
    **{f"{place}{what}": "get" for place in PLACES for what in ("", "/config", "/stats", "/ready")},
    **{f"{place}/infer": "post" for place in PLACES},
    "/v2/repository/index": "post",
    "/v2/repository/models/{name}/load": "post",
    "/v2/repository/models/{name}/unload": "post",
}


@pytest.fixture(scope="module")
def paths() -> dict[str, Any]:
    document = client_of_fakes().get("/openapi.json").json()
    return {path: described for path, described in document["paths"].items() if path.startswith("/v2")}


def test_every_route_is_described(paths: dict[str, Any]) -> None:
    assert {path: method for path, described in paths.items() for method in described} == PATHS


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_described(paths: dict[str, Any], path: str) -> None:
    responses = paths[path][PATHS[path]]["responses"]
    of_connections = {"400", "408", "431"}
    expected = {"200", "500"} | of_connections
    for statuses, is_given in (
        ({"404"}, "{name}" in path),
        ({"503"}, path not in ("/v2", "/v2/models/stats")),
        ({"400", "413", "415"}, PATHS[path] == "post"),
        ({"403"}, path.endswith("load")),
        ({"429", "504"}, path.endswith("/infer")),
    ):
        expected |= statuses if is_given else set()
    assert set(responses) == expected
    protocol_error, problem = ("application/json", "ProtocolError"), ("application/problem+json", "Problem")
    for status in set(responses) - {"200"} - of_connections:
        assert referred(responses[status]) == {protocol_error}
    assert referred(responses["400"]) == referred(responses["408"]) == {protocol_error, problem}
    assert referred(responses["431"]) == {problem}


def referred(response: dict[str, Any]) -> set[tuple[str, str]]:
    """The media types of an answer, each with the name of its schema."""
    return {(kind, each["schema"]["$ref"].rpartition("/")[2]) for kind, each in response["content"].items()}


@pytest.mark.parametrize("path", [path for path in PATHS if path.endswith("/infer")])
@pytest.mark.parametrize("model", ["addition", "reversal"])
def test_example_answer_is_what_the_example_request_gets(paths: dict[str, Any], path: str, model: str) -> None:
    operation = paths[path]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["examples"][model]["value"]
    answered = operation["responses"]["200"]["content"]["application/json"]["examples"][model]["value"]
    client = client_of_fakes()
    assert client.post(path.format(name=model, number=1), json=asked).json() == answered


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/v2/repository")])
def test_example_of_a_change_is_accepted(paths: dict[str, Any], keeper: Client, path: str) -> None:
    body = paths[path]["post"]["requestBody"]["content"]["application/json"]
    assert keeper.post(path.format(name="addition"), json=body["example"]).status_code == 200


def test_model_without_examples_is_described_without() -> None:
    models = {
        name: replace(model, manifest=replace(model.manifest, golden=())) for name, model in fakes.models().items()
    }
    document = Client(create_app(Settings(), models)).get("/openapi.json").json()
    body = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"] == {}
