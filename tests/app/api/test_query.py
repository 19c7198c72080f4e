"""What a query asks of a prediction: alternatives, and no answer of too little confidence."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import capitals
import fakes
import jsonschema
import pytest
from client import Client, async_client

from app.main import create_app
from app.settings import Settings

PREDICT = "/models/capitals/predict"
REFERENCE = {"name": "capitals", "version": "1"}
WITHHELD = "confidence 0.81 is below min_confidence 0.9"
ALTERNATIVES = [
    {"target": "A B", "confidence": 0.81},
    {"target": "A A", "confidence": 0.045},
    {"target": "A C", "confidence": 0.045},
]


@pytest.fixture(scope="module", params=[False, True], ids=["small", "large"])
def client(request: pytest.FixtureRequest) -> Client:
    models = {**fakes.models(), "capitals": capitals.model(is_large=request.param)}
    return Client(create_app(Settings(), models))


def test_without_a_query_an_answer_is_as_ever(client: Client) -> None:
    answer = client.post(PREDICT, json={"source": " ab "})
    assert answer.text == '{"source":"ab","target":"A B","confidence":0.81,"model":{"name":"capitals","version":"1"}}'


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"source": "abd"}, ("symbol", 2, "character 3 is 'd'")),
        ({"source": ""}, ("empty", None, "the source is empty")),
        ({"source": "aaaaa"}, ("length", None, "the source has 5 characters; the most is 4")),
        ({"source": 7}, ("text", None, "a source is text")),
    ],
)
def test_source_that_is_not_accepted_is_named_with_its_place(client: Client, body: Any, error: Any) -> None:
    answer = client.post(PREDICT, json=body)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["rule"], fault.get("position")) == ("/source", error[0], error[1])
    assert fault["detail"].startswith(error[2])


def test_alternatives_are_the_likeliest_answers_best_first(client: Client) -> None:
    answer = client.post(f"{PREDICT}?n_best=3", json={"source": "ab"})
    assert answer.json() == {
        "source": "ab",
        "target": "A B",
        "confidence": 0.81,
        "alternatives": ALTERNATIVES,
        "model": REFERENCE,
    }


@pytest.mark.parametrize(("least", "is_given"), [("0", True), ("0.81", True), ("8.1e-1", True), ("0.9", False)])
def test_answer_of_too_little_confidence_is_withheld(client: Client, least: str, is_given: bool) -> None:
    answer = client.post(f"{PREDICT}?min_confidence={least}", json={"source": "ab"}).json()
    assert answer.pop("reason", None) == (None if is_given else WITHHELD)
    assert answer == {
        "source": "ab",
        "target": "A B" if is_given else None,
        "confidence": 0.81,
        "model": REFERENCE,
    }


def test_whoever_decides_instead_is_shown_the_alternatives(client: Client) -> None:
    answer = client.post(f"{PREDICT}?n_best=3&min_confidence=0.9", json={"source": "ab"}).json()
    assert (answer["target"], answer["reason"], answer["alternatives"]) == (None, WITHHELD, ALTERNATIVES)


def test_items_of_a_batch_are_searched_and_withheld_one_by_one(client: Client) -> None:
    asked = {"sources": ["ab", "d", "a"]}
    answer = client.post(f"{PREDICT}/batch?n_best=2&min_confidence=0.9", json=asked).json()
    withheld, refused, given = answer["results"]
    assert (withheld["target"], withheld["reason"]) == (None, WITHHELD)
    assert withheld["alternatives"] == ALTERNATIVES[:2]
    assert refused == {
        "error": {
            "pointer": "/sources/1",
            "detail": "character 1 is 'd', which the model does not know",
            "rule": "symbol",
            "position": 0,
        }
    }
    assert (given["target"], given["confidence"], len(given["alternatives"])) == ("A", 0.9, 2)
    assert "reason" not in given


@pytest.mark.parametrize("path", ["/add", "/models/addition/predict"])
def test_every_output_of_every_model_can_be_withheld(client: Client, path: str) -> None:
    answer = client.post(f"{path}?min_confidence=1", json={"expression": "10+6"}).json()
    assert (answer["sum"], answer["decoded"], answer["confidence"]) == (None, None, 0.997003)
    assert answer["reason"] == "confidence 0.997003 is below min_confidence 1.0"


@pytest.mark.parametrize("path", ["/add", "/models/addition/predict", "/add/batch"])
def test_model_that_gives_one_answer_refuses_to_search(client: Client, path: str) -> None:
    body = {"expressions": ["1+1"]} if path.endswith("batch") else {"expression": "1+1"}
    answer = client.post(f"{path}?n_best=2", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "The model addition gives one answer only; leave n_best out.",
    )


N_BEST = "send a whole number from 1 to 10."
CONFIDENCE = "send a number from 0 to 1."


@pytest.mark.parametrize("route", ["", "/batch"])
@pytest.mark.parametrize(
    ("query", "detail"),
    [
        *((f"n_best={value}", N_BEST) for value in ("0", "11", "-1", "", "2.0", "02", "%2B2", "many", "%D9%A3")),
        *(
            (f"min_confidence={value}", CONFIDENCE)
            for value in ("1.1", "-0.1", "", "nan", "inf", "1e9", "1e999", ".5", "high", "%D9%A3", "0_1", "0x1")
        ),
        ("n_best=2&n_best=2", "The query parameter n_best is given twice; send it once."),
        ("min_confidence=0&min_confidence=", "The query parameter min_confidence is given twice; send it once."),
    ],
)
def test_parameter_that_cannot_be_used_is_refused(client: Client, route: str, query: str, detail: str) -> None:
    answer = client.post(f"{PREDICT}{route}?{query}", json={})
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(detail)


def test_value_of_any_length_is_shown_in_short(client: Client) -> None:
    answer = client.post(f"{PREDICT}?n_best={'9' * 5_000}", json={"source": "a"})
    assert answer.status_code == 400
    assert len(answer.json()["detail"]) < 200


def test_search_has_a_deadline_and_a_place_in_the_queue() -> None:
    late = Client(create_app(Settings(deadline_s=1e-9), {"capitals": capitals.model()}))
    assert late.post(f"{PREDICT}?n_best=2", json={"source": "a"}).status_code == 504

    async def ask_at_once() -> list[int]:
        app = create_app(Settings(max_queue=2), {"capitals": capitals.model()})
        async with async_client(app) as client:
            asking = (client.post(f"{PREDICT}?n_best=2", json={"source": "a"}) for _ in range(3))
            return [answer.status_code for answer in await asyncio.gather(*asking)]

    assert asyncio.run(ask_at_once()) == [200, 200, 429]


# What is said of it


def test_document_describes_what_a_query_may_ask(client: Client) -> None:
    document = client.get("/openapi.json").json()
    for path, method, names in (
        ("/models/{name}/predict", "post", {"version", "n_best", "min_confidence"}),
        ("/models/{name}/predict/batch", "post", {"version", "n_best", "min_confidence"}),
        ("/add", "post", {"version", "min_confidence"}),
    ):
        parameters = document["paths"][path][method]["parameters"]
        assert {each["name"] for each in parameters if each.get("in") == "query"} == names
    described = {each["name"]: each for each in document["paths"]["/models/{name}/predict"]["post"]["parameters"][:-1]}
    for name, right, wrong in (("n_best", [1, 10], [0, 11, 2.5]), ("min_confidence", [0, 0.9, 1], [-0.1, 1.1])):
        validator = jsonschema.Draft202012Validator(described[name]["schema"])
        assert all(map(validator.is_valid, right))
        assert not any(map(validator.is_valid, wrong))


@pytest.mark.parametrize(
    ("path", "body", "kind"), [("", {"source": "ab"}, ""), ("/batch", {"sources": ["ab", "a", "d"]}, "batch_")]
)
@pytest.mark.parametrize("query", ["", "?n_best=3", "?min_confidence=1", "?min_confidence=0.85&n_best=10"])
def test_answers_are_as_they_are_described(client: Client, path: str, body: Any, kind: str, query: str) -> None:
    document = client.get("/openapi.json").json()
    schema = document["components"]["schemas"][f"capitals_{kind}response"]
    answer = client.post(f"{PREDICT}{path}{query}", json=body)
    assert answer.status_code == 200
    jsonschema.validate(answer.json(), schema | {"components": document["components"]})


def test_examples_and_limits_are_the_models(client: Client) -> None:
    document = client.get("/openapi.json").json()
    request = document["components"]["schemas"]["capitals_request"]["properties"]["source"]
    assert (request["type"], request["maxLength"]) == ("string", 4)
    assert request["pattern"] == "^(?:a|b|c)(?:(?:a|b|c)){0,3}$"
    predict = document["paths"]["/models/{name}/predict"]["post"]
    asked = predict["requestBody"]["content"]["application/json"]["examples"]["capitals"]["value"]
    answered = predict["responses"]["200"]["content"]["application/json"]["examples"]["capitals"]["value"]
    assert asked == {"source": "abc"}
    assert client.post(PREDICT, json=asked).json() == answered
    assert "alternatives" not in document["components"]["schemas"]["addition_response"]["properties"]


def test_model_is_described_with_its_error_rates(client: Client) -> None:
    described = client.get("/models/capitals").json()
    assert described["network"]["embedding_units"] == 3
    assert (described["n_best"], client.get("/models/addition").json()["n_best"]) == (10, 0)
    assert described["evaluation"]["tested"] == 20
    assert described["evaluation"]["sentence"].startswith("Not proven: of 20 sources that were never trained on")
    assert client.get("/models/addition").json()["evaluation"]["sentence"].startswith("All ")


def test_only_models_with_a_truth_count_right_answers() -> None:
    client = Client(create_app(Settings(), {**fakes.models(), "capitals": capitals.model()}), within_lifespan=True)
    client.post(f"{PREDICT}/batch", json={"sources": ["a", "b"]})
    client.post(f"{PREDICT}?n_best=2", json={"source": "a"})
    text = client.get("/metrics").text
    assert 'service_answers_total{is="exact",model="addition"' in text
    assert 'service_answers_total{is="exact",model="capitals"' not in text
    assert 'service_batch_size_count{model="capitals",version="1"} 2.0' in text
    assert 'service_batch_size_sum{model="capitals",version="1"} 3.0' in text
    (stats,) = client.get("/v2/models/capitals/stats").json()["model_stats"]
    assert (stats["inference_count"], stats["execution_count"]) == (3, 2)
    assert stats["inference_stats"]["success"]["count"] == 3
    assert stats["inference_stats"]["fail"]["count"] == 0


def test_examples_in_the_documentation_are_true(client: Client) -> None:
    page = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")
    examples = re.findall(r"^POST (/models/capitals/\S+)\n(.+)\n\n(.+)$", page, re.MULTILINE)
    assert len(examples) == 1
    for path, body, answer in examples:
        assert client.post(path, json=json.loads(body)).text == answer
