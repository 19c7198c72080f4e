"""Requests that say how many items to take, on our own routes and by the Open Inference Protocol."""

from __future__ import annotations

import json
from typing import Any

import fakes
import numpy as np
import pytest
from client import Client

from app.main import create_app
from app.serving.models import Model
from app.settings import Settings
from seq2seq.bundle import Golden
from seq2seq.problems.reversal import Reversal

PROBLEM = Reversal(1, 8, 50, 3, any_take=True)
GOLDEN = (
    Golden([20, 36, 40, 10], [40, 36, 20], fakes.CERTAINTY**3),
    Golden({"sequence": [20, 36, 40], "take": 2}, [36, 20], fakes.CERTAINTY**3),
)
MODEL = {"name": "reversal", "version": "3"}
INFER = "/v2/models/reversal/infer"


@pytest.fixture(scope="module")
def client() -> Client:
    manifest = fakes.manifest(PROBLEM, "reversal", version="3", golden=GOLDEN)
    return Client(create_app(Settings(), {"reversal": Model(manifest, fakes.truthful(PROBLEM))}))


@pytest.mark.parametrize(
    ("given", "reversed_"),
    [
        ({"sequence": [20, 36, 40, 10]}, [40, 36, 20]),
        ({"sequence": [20, 36]}, [36, 20]),
        ({"sequence": [20, 36, 40, 10], "take": 1}, [20]),
        ({"take": 2, "sequence": [20, 36, 40, 10]}, [36, 20]),
    ],
)
@pytest.mark.parametrize("path", ["/reverse", "/models/reversal/predict"])
def test_the_answer_has_what_was_asked(client: Client, path: str, given: dict[str, Any], reversed_: list[int]) -> None:
    answer = client.post(path, json=given)
    assert answer.status_code == 200
    assert answer.json() == {**given, "reversed": reversed_, "confidence": 0.997003, "model": MODEL}


def test_the_most_that_can_be_taken_is_what_no_take_means(client: Client) -> None:
    asked, other = ({"sequence": [1, 2, 3, 4], "take": 3}, {"sequence": [1, 2, 3, 4]})
    assert client.post("/reverse", json=asked).text == client.post("/reverse", json=other).text


@pytest.mark.parametrize(
    ("body", "pointer", "rule", "words"),
    [
        ({"sequence": [1, 2], "take": 3}, "/take", "take", "take is 3, but the sequence has 2 items"),
        ({"sequence": [1, 2], "take": None}, "/take", "integer", "take is null"),
        ({"sequence": [1, 2], "take": 9}, "/take", "range", "it is from 1 to 3"),
        ({"sequence": [1, 51], "take": 1}, "/sequence/1", "range", "item 2 is 51"),
        ({"sequence": {"sequence": [1]}}, "/sequence", "list", "not an object"),
        ({"take": 1}, "/sequence", "missing_field", 'the field "sequence" is missing'),
        ({"sequence": [1], "taken": 1}, "/taken", "unknown_field", 'the field "taken" is unknown'),
        ('{"sequence": [1], "sequence": [1]}', "/sequence", "repeated_field", "given twice"),
        ('{"sequence": [1], "take": 1, "take": 1}', "/take", "repeated_field", "given twice"),
    ],
)
@pytest.mark.parametrize("route", ["predict", "explain", "embed"])
def test_a_refusal_points_to_the_field(
    client: Client, route: str, body: object, pointer: str, rule: str, words: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.post_json(f"/models/reversal/{route}", content.encode())
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"], error["rule"]) == (422, pointer, rule)
    assert words in error["detail"]


def test_an_item_of_a_batch_is_a_list_or_a_request(client: Client) -> None:
    items = [[1, 2, 3, 4], {"sequence": [1, 2, 3, 4], "take": 2}, {"sequence": [1, 0], "take": 1}, {"take": 1}, [5]]
    results = client.post("/reverse/batch", json={"sequences": items}).json()["results"]
    assert results[0] == {"sequence": [1, 2, 3, 4], "reversed": [3, 2, 1], "confidence": 0.997003}
    assert results[1] == {"sequence": [1, 2, 3, 4], "take": 2, "reversed": [2, 1], "confidence": 0.997003}
    assert results[2]["error"]["pointer"] == "/sequences/2/sequence/1"
    assert results[3]["error"] == {
        "pointer": "/sequences/3",
        "detail": "the field sequence is missing",
        "rule": "missing_field",
    }
    assert results[4]["reversed"] == [5]


def test_it_is_described(client: Client) -> None:
    interface = client.get("/models/reversal").json()["interface"]
    assert [each["name"] for each in interface["options"]] == ["take"]
    assert client.get("/models/reversal").json()["examples"][1] == {
        "sequence": [20, 36, 40], "take": 2, "reversed": [36, 20], "confidence": 0.997003,
    }  # fmt: skip
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert schemas["reversal_request"]["required"] == ["sequence"]
    assert schemas["reversal_request"]["properties"]["take"]["maximum"] == 3
    assert "take" not in schemas["reversal_response"]["required"]
    assert "take" in schemas["reversal_response"]["properties"]
    assert schemas["reversal_explain_request"]["required"] == ["sequence"]
    assert set(schemas["reversal_explain_request"]["properties"]) == {"sequence", "take", "prefix"}
    body = document["paths"]["/reverse/batch"]["post"]["requestBody"]["content"]["application/json"]
    example = body["examples"]["reversal"]["value"]
    assert example == {"sequences": [[20, 36, 40, 10], {"sequence": [20, 36, 40], "take": 2}]}
    assert client.post("/reverse/batch", json=example).status_code == 200


# The Open Inference Protocol


def tensor(name: str, shape: list[int], data: list[int] | None = None, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "INT64", "shape": shape, "data": data, "parameters": parameters}


SEQUENCES = tensor("sequence", [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0])


def reversed_of(answer: Any) -> list[list[int]]:
    assert answer.status_code == 200, answer.text
    flat = answer.json()["outputs"][0]["data"]
    return [flat[place : place + 3] for place in range(0, len(flat), 3)]


def test_takes_are_a_tensor_of_their_own(client: Client) -> None:
    metadata = client.get("/v2/models/reversal").json()["inputs"]
    assert metadata == [
        {"name": "sequence", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "take", "datatype": "INT64", "shape": [-1]},
    ]
    assert [each["dims"] for each in client.get("/v2/models/reversal/config").json()["input"]] == [[-1], []]
    alone = client.post(INFER, json={"inputs": [SEQUENCES]})
    assert reversed_of(alone) == [[3, 2, 1], [7, 6, 5], [9, 0, 0]]
    for shape in ([3], [3, 1]):
        both = [tensor("take", shape, [3, 2, 1]), SEQUENCES]
        assert reversed_of(client.post(INFER, json={"inputs": both})) == [[3, 2, 1], [6, 5, 0], [9, 0, 0]]


def test_both_tensors_can_be_binary(client: Client) -> None:
    lists, takes = np.array([[1, 2], [3, 4]], "<i8").tobytes(), np.array([1, 2], "<i8").tobytes()
    inputs = [tensor("sequence", [2, 2], binary_data_size=32), tensor("take", [2], binary_data_size=16)]
    for each in inputs:
        del each["data"]

    def sent(data: bytes) -> Any:
        head = json.dumps({"inputs": inputs}).encode()
        return client.post(INFER, content=head + data, headers={"inference-header-content-length": str(len(head))})

    assert reversed_of(sent(lists + takes)) == [[1, 0, 0], [4, 3, 0]]
    assert sent(lists + takes + b"1").status_code == 400
    assert sent(lists).status_code == 400


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([SEQUENCES, tensor("take", [2], [1, 1])], 'the input "take" has 2 items; "sequence" has 3'),
        ([SEQUENCES, tensor("take", [3], [1, 3, 2])], "take[2]: take is 2, but the sequence has 1 item"),
        ([SEQUENCES, tensor("take", [3], [1, 0, 1])], "take[1]: take is 0; it is from 1 to 3"),
        ([tensor("sequence", [1, 2], [1, 99]), tensor("take", [1], [1])], "sequence[0][1]: item 2 is 99"),
        ([tensor("sequence", [1, 3], [1, 0, 2])], "sequence[0][1]: item 2 is 0"),
        ([tensor("sequence", [1, 3], [0, 0, 0])], "sequence[0]: the sequence has 0 items"),
        ([tensor("take", [1], [1])], 'the input "sequence" is missing'),
        ([SEQUENCES, SEQUENCES], 'the input "sequence" is given 2 times'),
        ([SEQUENCES, tensor("taken", [1], [1])], 'there is no input "taken"; the model takes "sequence" and "take"'),
    ],
)
def test_a_wrong_tensor_is_refused(client: Client, inputs: list[dict[str, Any]], words: str) -> None:
    answer = client.post(INFER, json={"inputs": inputs})
    assert answer.status_code == 400
    assert words in answer.json()["error"]
