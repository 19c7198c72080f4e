"""Texts as tensors, and the alternatives that the parameter n_best asks for."""

from __future__ import annotations

from typing import Any

import capitals
import fakes
import pytest
from client import Client

from app.inference_protocol import tensor_data
from app.main import create_app
from app.settings import Settings

INFER = "/v2/models/capitals/infer"


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(create_app(Settings(), {**fakes.models(), "capitals": capitals.model()}))


def asked(sources: list[str], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "source", "datatype": "BYTES", "shape": [len(sources)], "data": sources}], **more}


def test_texts_are_tensors(client: Client) -> None:
    metadata = client.get("/v2/models/capitals").json()
    assert metadata["inputs"] == [{"name": "source", "datatype": "BYTES", "shape": [-1]}]
    assert [each["name"] for each in metadata["outputs"]] == ["target", "confidence"]
    outputs = client.post(INFER, json=asked(["ab", "c"])).json()["outputs"]
    assert [(each["name"], each["shape"], each["data"]) for each in outputs] == [
        ("target", [2], ["A B", "C"]),
        ("confidence", [2], [0.81, 0.9]),
    ]


def test_alternatives_are_tensors_beside_the_answers_and_filled_up(client: Client) -> None:
    outputs = client.post(INFER, json=asked(["ab", "c"], parameters={"n_best": 4})).json()["outputs"]
    assert [(each["name"], each["datatype"], each["shape"], each["data"]) for each in outputs] == [
        ("target", "BYTES", [2], ["A B", "C"]),
        ("confidence", "FP64", [2], [0.81, 0.9]),
        ("target_alternatives", "BYTES", [2, 4], ["A B", "A A", "A C", "B B", "C", "A", "B", ""]),
        ("confidence_alternatives", "FP64", [2, 4], [0.81, 0.045, 0.045, 0.045, 0.9, 0.05, 0.05, 0.0]),
    ]


def test_one_tensor_of_alternatives_can_be_asked_for_as_binary_data(client: Client) -> None:
    wanted = [{"name": "target_alternatives", "parameters": {"binary_data": True}}]
    answer = client.post(INFER, json=asked(["a"], parameters={"n_best": 2}, outputs=wanted))
    head = int(answer.headers["inference-header-content-length"])
    assert tensor_data.unpack("BYTES", answer.content[head:]) == ["A", "B"]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        *(
            ({"parameters": {"n_best": value}}, "the parameter n_best must be a whole number from 1 to 10")
            for value in (0, 11, 2.0, "2", True, None)
        ),
        (
            {"parameters": {"min_confidence": 0.9}},
            "the parameter min_confidence is for the other routes; here, compare the output confidence",
        ),
        (
            {"outputs": [{"name": "target_alternatives"}]},
            'there is no output "target_alternatives"; the model gives target, confidence',
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(client: Client, more: dict[str, Any], error: str) -> None:
    answer = client.post(INFER, json=asked(["a"], **more))
    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_model_that_gives_one_answer_refuses_to_search(client: Client) -> None:
    body = {"inputs": [{"name": "expression", "datatype": "BYTES", "shape": [1], "data": ["1+1"]}]}
    answer = client.post("/v2/models/addition/infer", json=body | {"parameters": {"n_best": 2}})
    assert answer.status_code == 400
    assert answer.json() == {"error": "The model addition gives one answer only; leave n_best out."}


def test_document_has_an_example_that_works(client: Client) -> None:
    infer = client.get("/openapi.json").json()["paths"]["/v2/models/{name}/infer"]["post"]
    example = infer["requestBody"]["content"]["application/json"]["examples"]["capitals"]["value"]
    assert example["inputs"][0]["data"] == ["abc"]
    expected = infer["responses"]["200"]["content"]["application/json"]["examples"]["capitals"]["value"]
    assert client.post(INFER, json=example).json() == expected
