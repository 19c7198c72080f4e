"""The OpenAPI document is whole: real limits, real examples, and every error that a route can give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fakes
import pytest
from client import Client

from app.main import create_app
from app.registry import Model
from app.settings import Settings

POSTS = ("/add", "/add/batch", "/reverse", "/reverse/batch")
GETS = ("/models", "/models/{name}", "/health/live", "/health/ready")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    result: dict[str, Any] = Client(create_app(Settings(), fakes.models())).get("/openapi.json").json()
    return result


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_route_is_described(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {*POSTS, *GETS}
    assert document["info"]["version"] == "1.0.0"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    used = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert used == set(schemas)


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        *[(path, "post", {"200", "413", "415", "422", "500"}) for path in POSTS],
        ("/models", "get", {"200", "500"}),
        ("/models/{name}", "get", {"200", "404", "500"}),
        ("/health/live", "get", {"200", "500"}),
        ("/health/ready", "get", {"200", "500", "503"}),
    ],
)
def test_every_answer_is_described(document: dict[str, Any], path: str, method: str, statuses: set[str]) -> None:
    responses = document["paths"][path][method]["responses"]
    assert set(responses) == statuses
    for status, response in responses.items():
        ((media_type, content),) = response["content"].items()
        if status == "200":
            assert media_type == "application/json"
        else:
            assert media_type == "application/problem+json"
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize(
    ("schema", "field", "limits", "example"),
    [
        ("AddRequest", "expression", fakes.ADDITION.schema, "10+6"),
        ("ReverseRequest", "sequence", fakes.REVERSAL.schema, fakes.SEQUENCE),
    ],
)
def test_limits_and_examples_are_the_models(
    document: dict[str, Any], schema: str, field: str, limits: dict[str, Any], example: object
) -> None:
    described = document["components"]["schemas"][schema]["properties"][field]
    assert limits.items() <= described.items()
    assert described["examples"] == [example]
    batch = document["components"]["schemas"][schema.replace("Request", "BatchRequest")]["properties"][f"{field}s"]
    assert (batch["minItems"], batch["maxItems"], batch["items"]) == (1, 1000, limits)


@pytest.mark.parametrize("path", POSTS)
def test_example_answer_is_what_the_example_request_gets(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["post"]
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = document["components"]["schemas"][name]["properties"]
    request = {field: described["examples"][0] for field, described in fields.items()}
    answer = Client(create_app(Settings(), fakes.models())).post(path, json=request)
    assert answer.json() == operation["responses"]["200"]["content"]["application/json"]["example"]


def test_model_without_examples_is_described_without() -> None:
    models = {
        "addition": Model(fakes.manifest(fakes.ADDITION, "addition"), fakes.truthful(fakes.ADDITION)),
        "reversal": Model(fakes.manifest(fakes.REVERSAL, "reversal"), fakes.truthful(fakes.REVERSAL)),
    }
    client = Client(create_app(Settings(), models))
    assert client.get("/openapi.json").status_code == 200
    assert client.post_json("/add", b"").json()["detail"] == 'The body is empty; send an object with "expression".'
