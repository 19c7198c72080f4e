"""Every route, through `create_app`, with networks that know the truth."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from typing import Any

import fakes
import httpx
import pytest
from client import Client, client_of_fakes

from app.main import create_app
from app.settings import Settings

ADDITION_MODEL = {"name": "addition", "version": "1"}
REVERSAL_MODEL = {"name": "reversal", "version": "1"}


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of_fakes()


def errors_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    errors: list[dict[str, Any]] = answer.json()["errors"]
    return errors


@pytest.mark.parametrize(
    ("path", "body", "model", "result"),
    [
        (
            "/add",
            {"expression": " 10 +  6 +1 "},
            "addition",
            '"expression":"10+6+1","sum":17,"decoded":"17","confidence":0.997003',
        ),
        (
            "/reverse",
            {"sequence": fakes.SEQUENCE},
            "reversal",
            '"sequence":[20,36,40,10,34,28],"reversed":[40,36,20],"confidence":0.997003',
        ),
    ],
)
def test_answer_to_the_byte(client: Client, path: str, body: dict[str, Any], model: str, result: str) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.text == f'{{{result},"model":{{"name":"{model}","version":"1"}}}}'


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
    assert model["limits"] == fakes.REVERSAL.input.schema
    assert model["problem"] == fakes.REVERSAL.spec()
    assert model["vocabularies"]["source"]["symbols"] == list(range(51))
    assert model["lengths"] == {"source": 6, "target": 3}
    assert model["evaluation"] == fakes.reversal_manifest().evaluation.as_data()
    assert model["network"]["family"] == "repeat_vector"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/models/division"), ("POST", "/models/division/predict"), ("POST", "/models/division/predict/batch")],
)
def test_unknown_model(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
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
        assert f'"docs/assets/{asset}"' in page.text
        assert client.get(f"/docs/assets/{asset}").status_code == 200


def test_page_at_the_address_leads_to_what_is_served() -> None:
    for settings, expected in (
        (Settings(), ["docs", "openapi.json", "models", "health/ready", "v2", "problems", "metrics"]),
        (Settings(docs=False, metrics=False), ["models", "health/ready", "v2", "problems"]),
    ):
        client = Client(create_app(settings, fakes.models()), within_lifespan=True)
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        links = re.findall('href="([^"]*)"', page.text.partition("<footer")[2])
        assert links == expected
        assert {client.get(f"/{link}").status_code for link in links} == {200}


def test_slash_at_the_end_is_named(client: Client) -> None:
    assert client.post("/add/").json()["detail"] == "There is no route /add/; try it without the slash at the end."
    assert client.get("/v2/").json() == client.get("/v2").json()


CODED = [
    ("/add", {"expression": "10+6"}),
    ("/reverse", {"sequence": fakes.SEQUENCE}),
    ("/add/batch", {"expressions": ["10+6"]}),
    ("/reverse/batch", {"sequences": [fakes.SEQUENCE]}),
    ("/models/addition/predict", {"expression": "10+6"}),
    ("/models/reversal/predict/batch", {"sequences": [fakes.SEQUENCE]}),
    ("/models/addition/explain", {"expression": "10+6"}),
    ("/models/reversal/embed/batch", {"sequences": [fakes.SEQUENCE]}),
    (
        "/v2/models/addition/infer",
        {"inputs": [{"name": "expression", "datatype": "BYTES", "shape": [1], "data": ["1+1"]}]},
    ),
    ("/v2/repository/index", {"ready": True}),
]
"""Every route that takes a body, less those that change what is served."""


def post_coded(client: Client, path: str, body: bytes, *codings: str) -> httpx.Response:
    headers = [("content-type", "application/json"), *(("content-encoding", coding) for coding in codings)]
    return client.post(path, content=body, headers=headers)


@pytest.mark.parametrize(("path", "body"), CODED)
def test_every_route_inflates_within_its_limit(client: Client, path: str, body: Any) -> None:
    plain = json.dumps(body).encode()
    for coding in ("gzip", "x-gzip", "GZIP", "identity, gzip"):
        assert post_coded(client, path, gzip.compress(plain), coding).status_code == 200
    assert post_coded(client, path, zlib.compress(plain), "deflate").status_code == 200
    assert post_coded(client, path, plain, "identity").status_code == 200
    assert post_coded(client, path, gzip.compress(plain[:-1]), "gzip").status_code in (400, 422)
    assert post_coded(client, path, plain, "gzip").status_code == 400
    assert post_coded(client, path, gzip.compress(bytes(2_000_000)), "gzip").status_code == 413
    assert post_coded(client, path, b"x" * 2_000_000, "gzip").status_code == 413


@pytest.mark.parametrize(("path", "_"), CODED)
@pytest.mark.parametrize(
    ("codings", "named"),
    [
        (["br"], "br"),
        (["zstd"], "zstd"),
        (["gzip, gzip"], "gzip, gzip"),
        (["gzip", "gzip"], "gzip, gzip"),
        (["br", "gzip"], "br, gzip"),
        (["gzip;q=1"], "gzip;q=1"),
    ],
)
def test_every_route_names_a_coding_that_it_does_not_know(
    client: Client, path: str, _: Any, codings: list[str], named: str
) -> None:
    answer = post_coded(client, path, b"{}", *codings)
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    assert f"Content-Encoding is {named}; send one of gzip, deflate" in answer.text


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("version=1", 200, None),
        ("utm=5&version=1&a", 200, None),
        ("version=1&version=1", 400, "The query parameter version is given twice; send it once."),
        ("version=1&version=2", 400, "The query parameter version is given twice; send it once."),
        ("version=", 404, "There is no version  of addition; served: 1."),
        ("version=9", 404, "There is no version 9 of addition; served: 1."),
        ("a&" * 30_000, 400, "The query holds more than 100 parameters; send fewer."),
    ],
)
def test_query(client: Client, query: str, status: int, detail: str | None) -> None:
    answer = client.post(f"/add?{query}", json={"expression": "10+6"})
    assert (answer.status_code, answer.json().get("detail")) == (status, detail)


@pytest.mark.parametrize("path", ["/add", "/models/addition/predict", "/v2/models/addition/infer", "/models", "/no"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_has_an_id(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path, headers={"x-request-id": "me-7"})
    assert answer.headers.get_list("x-request-id") == ["me-7"]


@pytest.mark.parametrize(
    ("short", "model", "body"),
    [
        ("/add", "addition", {"expression": " 10 + 6"}),
        ("/add", "addition", {"expression": "10+"}),
        ("/add/batch", "addition", {"expressions": ["1+1", "4+", 3]}),
        ("/reverse", "reversal", {"sequence": fakes.SEQUENCE}),
        ("/reverse/batch", "reversal", {"sequences": [fakes.SEQUENCE, [], 1]}),
    ],
)
@pytest.mark.parametrize("query", ["", "?version=1", "?version=9"])
def test_short_name_is_another_name_for_predict(
    client: Client, short: str, model: str, body: dict[str, Any], query: str
) -> None:
    long = f"/models/{model}/predict{'/batch' if short.endswith('/batch') else ''}"
    answers = [client.post(path + query, json=body, headers={"x-request-id": "same"}) for path in (short, long)]
    one, other = ({**answer.json(), "instance": ""} for answer in answers)
    assert one == other
    assert answers[0].status_code == answers[1].status_code


@pytest.mark.parametrize("path", ["/models/addition/predict", "/models/addition/predict/batch"])
def test_predict_takes_what_the_model_takes(client: Client, path: str) -> None:
    (error,) = errors_of(client.post(path, json={}))
    field = "expressions" if path.endswith("batch") else "expression"
    assert (error["pointer"], error["rule"]) == (f"/{field}", "missing_field")
    assert len(errors_of(client.post(path, json={"sequence": fakes.SEQUENCE}))) == 2
