"""Every route, through `create_app`, with networks that know the truth."""

from __future__ import annotations

from typing import Any

import fakes
import httpx
import pytest
from client import Client
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.settings import Settings

ADDITION_MODEL = {"name": "addition", "version": "1"}
REVERSAL_MODEL = {"name": "reversal", "version": "1"}


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(create_app(Settings(), fakes.models()))


def errors_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    errors: list[dict[str, Any]] = answer.json()["errors"]
    return errors


def test_add(client: Client) -> None:
    answer = client.post("/add", json={"expression": "10+6"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == (
        '{"expression":"10+6","sum":16,"decoded":"16","confidence":0.997003,"model":{"name":"addition","version":"1"}}'
    )


def test_add_drops_blanks(client: Client) -> None:
    answer = client.post("/add", json={"expression": " 10 +  6 +1 "})
    assert (answer.json()["expression"], answer.json()["sum"]) == ("10+6+1", 17)


def test_reverse(client: Client) -> None:
    answer = client.post("/reverse", json={"sequence": fakes.SEQUENCE})
    assert answer.status_code == 200
    assert answer.text == (
        '{"sequence":[20,36,40,10,34,28],"reversed":[40,36,20],"confidence":0.997003,'
        '"model":{"name":"reversal","version":"1"}}'
    )


def test_add_batch(client: Client) -> None:
    answer = client.post("/add/batch", json={"expressions": ["1+1", "4+", 3, "10+20+30"]})
    first, second, third, fourth = answer.json()["results"]
    assert answer.status_code == 200
    assert answer.json()["model"] == ADDITION_MODEL
    assert first == {"expression": "1+1", "sum": 2, "decoded": "2", "confidence": 0.997003}
    assert second["error"]["pointer"] == "/expressions/1"
    assert second["error"]["position"] == 2
    assert third["error"]["pointer"] == "/expressions/2"
    assert "position" not in third["error"]
    assert fourth["sum"] == 60


def test_reverse_batch(client: Client) -> None:
    answer = client.post("/reverse/batch", json={"sequences": [fakes.SEQUENCE, [1, 2, 3, 4, 5, 51], []]})
    first, second, third = answer.json()["results"]
    assert answer.status_code == 200
    assert answer.json()["model"] == REVERSAL_MODEL
    assert first == {"sequence": fakes.SEQUENCE, "reversed": [40, 36, 20], "confidence": 0.997003}
    assert (second["error"]["pointer"], second["error"]["rule"]) == ("/sequences/1/5", "range")
    assert (third["error"]["pointer"], third["error"]["rule"]) == ("/sequences/2", "length")


def test_batch_of_the_most_items(client: Client) -> None:
    expressions = [f"{n % 100}+{n // 100}" for n in range(1000)]
    results = client.post("/add/batch", json={"expressions": expressions}).json()["results"]
    assert [result["expression"] for result in results] == expressions
    assert [result["sum"] for result in results] == [n % 100 + n // 100 for n in range(1000)]


@pytest.mark.parametrize(
    ("expressions", "rule", "detail"),
    [
        ([], "items", '"expressions" is empty; at least 1 item is needed'),
        (["1+1"] * 1001, "items", '"expressions" holds 1001 items; at most 1000 are allowed'),
        ("1+1", "list", '"expressions" is text; it must be a list'),
        (None, "list", '"expressions" is null; it must be a list'),
    ],
)
def test_batch_of_the_wrong_size(client: Client, expressions: object, rule: str, detail: str) -> None:
    (error,) = errors_of(client.post("/add/batch", json={"expressions": expressions}))
    assert error == {"pointer": "/expressions", "rule": rule, "detail": detail}


def test_models(client: Client) -> None:
    models = client.get("/models").json()["models"]
    assert [(model["name"], model["version"]) for model in models] == [("addition", "1"), ("reversal", "1")]


def test_model(client: Client) -> None:
    model = client.get("/models/reversal").json()
    assert model["limits"] == fakes.REVERSAL.schema
    assert model["problem"] == fakes.REVERSAL.spec()
    assert model["vocabularies"]["source"]["symbols"] == list(range(51))
    assert model["lengths"] == {"source": 6, "target": 3}
    assert model["evaluation"] == fakes.reversal_manifest().evaluation.as_data()
    assert model["network"]["family"] == "repeat_vector"


def test_unknown_model(client: Client) -> None:
    answer = client.get("/models/division")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no model division; there are addition, reversal."


def test_live(client: Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}


def test_ready_within_its_lifespan() -> None:
    client = Client(create_app(Settings(), fakes.models()), within_lifespan=True)
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_not_ready_outside_its_lifespan(client: Client) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


def test_docs_page_needs_no_other_host(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f'"/docs/assets/{asset}"' in page.text
        assert client.get(f"/docs/assets/{asset}").status_code == 200


def test_a_prefixed_path_is_answered_alike(client: Client) -> None:
    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        await client.app({**scope, "root_path": "/api", "path": "/api" + scope["path"]}, receive, send)

    behind_prefix = Client(prefixed)
    for body in ({"expression": "10+6"}, {"expression": "10-6"}):
        answers = [each.post("/add", json=body) for each in (client, behind_prefix)]
        assert answers[0].status_code == answers[1].status_code
        dropped = {"instance", "request_id"}
        first, second = ({k: v for k, v in answer.json().items() if k not in dropped} for answer in answers)
        assert first == second


def test_requests_past_the_shortcut_have_ids(client: Client) -> None:
    for path in ("/add", "/models"):
        answer = client.request("POST" if path == "/add" else "GET", path, headers={"x-request-id": "me-7"})
        assert answer.headers["x-request-id"] == "me-7"
