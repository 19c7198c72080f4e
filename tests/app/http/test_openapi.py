"""The OpenAPI document is whole: real limits, real examples, and every error that a route can give."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import fakes
import jsonschema
import pytest
from client import Client, async_client, client_of_fakes

from app.main import create_app
from app.operations import metrics
from app.settings import Settings

POSTS = (
    "/add",
    "/add/batch",
    "/reverse",
    "/reverse/batch",
    "/models/{name}/predict",
    "/models/{name}/predict/batch",
    "/models/{name}/explain",
    "/models/{name}/embed",
    "/models/{name}/embed/batch",
)
INFERS = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{number}/infer")
MODELS = dict.fromkeys(POSTS, ("addition", "reversal")) | {
    **dict.fromkeys(("/add", "/add/batch"), ("addition",)),
    **dict.fromkeys(("/reverse", "/reverse/batch"), ("reversal",)),
}
"""Which models each route may ask."""

OF_CONNECTIONS = {"400", "408", "431"}
GETS = ("/models", "/models/{name}", "/models/{name}/report/{file}", "/health/live", "/health/ready", "/metrics")


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of_fakes()


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    result: dict[str, Any] = client.get("/openapi.json").json()
    return result


def body(document: dict[str, Any], path: str) -> dict[str, Any]:
    """The JSON that a route takes, as it is described."""
    result: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return result


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_route_is_described(document: dict[str, Any]) -> None:
    assert {path for path in document["paths"] if not path.startswith("/v2")} == {*POSTS, *GETS}
    assert document["info"]["version"] == "1.0.0"


def test_operations_are_called_as_clients_would_call_them(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document)]
    assert len(set(names)) == len(names)
    assert {"add", "add_batch", "reverse", "predict", "predict_batch"} <= set(names)
    assert {"list_models", "describe_model", "infer", "infer_by_version", "model_metadata"} <= set(names)
    assert max(map(len, names)) < 20


def test_head_is_answered_but_not_described(document: dict[str, Any]) -> None:
    methods = {method for described in document["paths"].values() for method in described}
    assert methods == {"get", "post"}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    defined = {f"#/components/{kind}/{name}" for kind, named in document["components"].items() for name in named}
    assert set(references(document)) == defined


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        *[(path, "post", {"200", "404", "413", "415", "422", "429", "500", "503", "504"}) for path in POSTS],
        ("/models", "get", {"200", "500"}),
        ("/models/{name}", "get", {"200", "404", "500", "503"}),
        ("/health/live", "get", {"200", "500", "503"}),
        ("/health/ready", "get", {"200", "500", "503"}),
        ("/metrics", "get", {"200", "500"}),
    ],
)
def test_every_answer_is_described(document: dict[str, Any], path: str, method: str, statuses: set[str]) -> None:
    responses = document["paths"][path][method]["responses"]
    assert set(responses) == statuses | OF_CONNECTIONS
    for status, response in responses.items():
        ((media_type, content),) = response["content"].items()
        if status == "200":
            assert media_type == (metrics.CONTENT_TYPE if path == "/metrics" else "application/json")
        else:
            assert media_type == "application/problem+json"
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize(
    ("model", "field", "limits"),
    [("addition", "expression", fakes.ADDITION.input.schema), ("reversal", "sequence", fakes.REVERSAL.input.schema)],
)
def test_limits_are_the_models(document: dict[str, Any], model: str, field: str, limits: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert limits.items() <= schemas[f"{model}_request"]["properties"][field].items()
    batch = schemas[f"{model}_batch_request"]["properties"][f"{field}s"]
    assert (batch["minItems"], batch["maxItems"]) == (1, 1000)
    assert batch["items"]["anyOf"][0] == limits


@pytest.mark.parametrize(("path", "kind"), [("/models/{name}/predict", ""), ("/models/{name}/predict/batch", "batch_")])
def test_predict_takes_and_gives_what_any_model_does(document: dict[str, Any], path: str, kind: str) -> None:
    success = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
    for described, what in ((body(document, path), "request"), (success, "response")):
        names = [f"#/components/schemas/{model}_{kind}{what}" for model in ("addition", "reversal")]
        assert described["schema"] == {"anyOf": [{"$ref": name} for name in names]}


@pytest.mark.parametrize("path", ["/add/batch", "/reverse/batch"])
def test_batch_items_of_any_kind_are_described_as_they_are_taken(
    document: dict[str, Any], client: Client, path: str
) -> None:
    name = body(document, path)["schema"]["$ref"].rpartition("/")[2]
    ((field, described),) = document["components"]["schemas"][name]["properties"].items()
    items: list[Any] = ["", None, 4.0, {"a": 1}, []]
    jsonschema.validate(items, described)
    answer = client.post(path, json={field: items})
    assert answer.status_code == 200
    assert all("error" in result for result in answer.json()["results"])


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def test_every_answer_carries_an_id(document: dict[str, Any], client: Client) -> None:
    for operation in operations(document):
        assert {"$ref": "#/components/parameters/X-Request-ID"} in operation["parameters"]
        for response in operation["responses"].values():
            assert response["headers"]["X-Request-ID"] == {"$ref": "#/components/headers/X-Request-ID"}
    described = document["components"]["headers"]["X-Request-ID"]
    for given in ("order-66", "no id", "x" * 65):
        answer = client.get("/models", headers={"X-Request-ID": given})
        jsonschema.validate(answer.headers["x-request-id"], described["schema"])


def test_every_error_has_an_example_of_its_status(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for operation in operations(document):
        for status, answer in operation["responses"].items():
            for kind, content in answer["content"].items() if status != "200" else ():
                schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
                for slug, example in content["examples"].items():
                    shown = example["value"]
                    jsonschema.validate(shown, {**schema, "components": document["components"]})
                    assert (shown.get("detail") or shown["error"]).endswith(".")
                    if kind == "application/problem+json":
                        assert (shown["status"], shown["type"]) == (int(status), f"/problems/{slug}")


def test_every_operation_says_what_it_does_in_one_line(document: dict[str, Any]) -> None:
    for operation in operations(document):
        assert len(operation["summary"].split()) > 2, operation["operationId"]
        assert operation["description"].startswith(operation["summary"])


def test_optional_headers_can_be_left_as_a_generated_client_leaves_them(document: dict[str, Any]) -> None:
    """Each has an example that the service takes: converters send the type's name where there is none."""
    for operation in operations(document):
        for parameter in operation["parameters"]:
            if parameter.get("in") == "header":
                assert parameter["schema"]["examples"]
                assert not parameter.get("required")


def test_every_refusal_for_load_says_when_to_come_again(document: dict[str, Any]) -> None:
    for operation in operations(document):
        if "429" in operation["responses"]:
            assert operation["responses"]["429"]["headers"]["Retry-After"]["required"]


@pytest.mark.parametrize("path", [*POSTS, *INFERS])
@pytest.mark.parametrize(("given", "status"), [("5000", 200), ("-1", 400), ("1.5", 400), ("", 400), ("9" * 13, 400)])
def test_timeout_is_described_as_it_is_taken(
    document: dict[str, Any], client: Client, path: str, given: str, status: int
) -> None:
    (described,) = [
        each for each in document["paths"][path]["post"]["parameters"] if each.get("name") == "X-Timeout-Ms"
    ]
    assert not described.get("required")
    if given.lstrip("-").isdigit():
        assert jsonschema.Draft202012Validator(described["schema"]).is_valid(int(given)) == (status == 200)
    for model, example in body(document, path)["examples"].items():
        address = path.format(name=model, number=1)
        assert client.post(address, json=example["value"], headers={"X-Timeout-Ms": given}).status_code == status


def test_version_is_described_as_a_number(document: dict[str, Any]) -> None:
    for path, method in [*((path, "post") for path in POSTS), ("/models/{name}", "get")]:
        parameters = document["paths"][path][method]["parameters"]
        (version,) = [each for each in parameters if each.get("name") == "version"]
        assert (version["schema"]["type"], version["schema"]["pattern"]) == ("string", "^[1-9][0-9]*$")
        assert not version.get("required")


def test_links_lead_to_operations_and_their_parameters(document: dict[str, Any]) -> None:
    known = {operation["operationId"]: operation for operation in operations(document)}
    links = [
        link for operation in operations(document) for link in operation["responses"]["200"].get("links", {}).values()
    ]
    assert len(links) == 5
    for link in links:
        parameters = known[link["operationId"]]["parameters"]
        assert set(link["parameters"]) <= {f"{each['in']}.{each['name']}" for each in parameters if "in" in each}


@pytest.mark.parametrize(("parameters", "status"), [(None, 200), ({}, 200), ({"config": "{}"}, 400)])
def test_what_a_load_may_say_is_described(document: dict[str, Any], parameters: object, status: int) -> None:
    described = document["components"]["schemas"]["LoadRequest"]
    asked = {"parameters": parameters}
    assert jsonschema.Draft202012Validator(described).is_valid(asked) == (status == 200)


@pytest.mark.parametrize("path", POSTS)
def test_example_answer_is_what_the_example_request_gets(document: dict[str, Any], client: Client, path: str) -> None:
    asked = body(document, path)
    answered = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
    assert set(asked["examples"]) == set(answered["examples"]) == set(MODELS[path])
    whole = {"components": document["components"]}
    for model, example in asked["examples"].items():
        jsonschema.validate(example["value"], asked["schema"] | whole)
        answer = client.post(path.format(name=model), json=example["value"]).json()
        jsonschema.validate(answer, answered["schema"] | whole)
        assert answer == answered["examples"][model]["value"]


def test_model_without_examples_is_described_without() -> None:
    models = {
        name: replace(model, manifest=replace(model.manifest, golden=())) for name, model in fakes.models().items()
    }
    client = Client(create_app(Settings(), models))
    document = client.get("/openapi.json").json()
    for path in (*POSTS, *INFERS):
        assert body(document, path)["examples"] == {}
    assert client.post_json("/add", b"").json()["detail"] == 'The body is empty; send an object with "expression".'


async def test_document_is_whole_for_all_who_ask_while_it_is_written() -> None:
    """It is written on threads; nobody gets half of it, and meanwhile every route answers as ever."""
    heads: list[int] = []
    async with async_client(create_app(Settings(), fakes.models())) as client:
        asking = asyncio.gather(*(client.get("/openapi.json") for _ in range(3)))
        while not heads or not asking.done():
            heads.append((await client.head("/models")).status_code)
            await asyncio.sleep(0.001)
        documents = [answer.json() for answer in await asking]
    assert documents == [create_app(Settings(), fakes.models()).openapi()] * 3
    assert set(heads) == {200}
