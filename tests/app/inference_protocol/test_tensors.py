"""What the Open Inference Protocol's requests mean to a model, and how its answers are told."""

from __future__ import annotations

import contextlib
import json
from math import inf
from typing import Any

import fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor

from app.inference_protocol.messages import InferenceRequest, InferenceResponse, RequestRefused, parse_request
from app.inference_protocol.tensor_data import unpack
from app.inference_protocol.tensors import AnswerUnfit, answer, example_request, example_response, interface
from app.serving.models import ModelReference, Prediction
from seq2seq.problem import Field, Problem
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal

SUM = {"name": "expression", "datatype": "BYTES", "shape": [2], "data": ["10+6", " 1 + 2"]}
LIST = {"name": "sequence", "datatype": "INT64", "shape": [1, 6], "data": fakes.SEQUENCE}
REFERENCE = ModelReference("a-model", "7")
ADDED = [Prediction("16", (16, "16"), 0.5), Prediction("3", (3, "3"), 1.0)]


def sources(problem: Problem, body: dict[str, Any] | bytes, head_bytes: bytes | None = None) -> list[Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(interface(problem).sources(*parse_request(content, head_bytes)))


def refusal(problem: Problem, body: dict[str, Any] | bytes, head_bytes: bytes | None = None) -> str:
    with pytest.raises(RequestRefused) as caught:
        sources(problem, body, head_bytes)
    return str(caught.value)


def with_binary(body: dict[str, Any], binary: bytes) -> tuple[bytes, bytes]:
    """A body of JSON and binary data, and how long the JSON is."""
    head = json.dumps(body).encode()
    return head + binary, str(len(head)).encode()


# What a model takes and gives


def shapes(problem: Problem) -> list[tuple[str, str, list[int]]]:
    tensors = interface(problem)
    metadata = [each.metadata for each in (*tensors.inputs, *tensors.outputs)]
    return [(each.name, each.datatype, each.shape) for each in metadata]


def test_tensors_of_a_sum() -> None:
    assert shapes(fakes.ADDITION) == [
        ("expression", "BYTES", [-1]),
        ("sum", "INT64", [-1]),
        ("decoded", "BYTES", [-1]),
        ("confidence", "FP64", [-1]),
    ]


@pytest.mark.parametrize(("problem", "length"), [(fakes.REVERSAL, 6), (Reversal(4, 8, 9, 2), -1)])
def test_tensors_of_a_list_are_as_long_as_the_problem_says(problem: Reversal, length: int) -> None:
    assert shapes(problem) == [
        ("sequence", "INT64", [-1, length]),
        ("reversed", "INT64", [-1, problem.take]),
        ("confidence", "FP64", [-1]),
    ]


NAMES = st.text("abcdef", min_size=1)
KINDS: list[tuple[dict[str, Any], str, list[int]]] = [
    ({"type": "string"}, "BYTES", [-1]),
    ({"type": "integer"}, "INT64", [-1]),
    ({"type": ["integer", "null"]}, "INT64", [-1]),
]


@given(st.lists(st.tuples(NAMES, st.sampled_from(KINDS)), min_size=1, max_size=5, unique_by=lambda each: each[0]))
def test_tensors_are_those_of_the_problems_fields(outputs: list[tuple[str, Any]]) -> None:
    """Whatever a problem declares; its kind and names are nobody's business."""

    class Declared(Addition):
        @property
        def outputs(self) -> tuple[Field, ...]:
            return tuple(Field(name, "", kind[0], "", str) for name, kind in outputs)

    expected = [(name, datatype, shape) for name, (_, datatype, shape) in outputs]
    assert shapes(Declared(2, 3, 99, "term"))[1:] == [*expected, ("confidence", "FP64", [-1])]


# Requests


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"shape": [2, 1]},
        {"shape": [2, 1], "data": [["10+6"], [" 1 + 2"]]},
        {"parameters": {"content_type": "str", "headers": {"a": ["b"]}}},
        {"parameters": None},
        {"unknown": 1},
    ],
)
def test_texts_are_read(change: dict[str, Any]) -> None:
    assert sources(fakes.ADDITION, {"inputs": [SUM | change]}) == ["10+6", "1+2"]


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([1, 6], fakes.SEQUENCE),
        ([1, 6], [fakes.SEQUENCE]),
        ([6], fakes.SEQUENCE),
        ([2, 6], [*fakes.SEQUENCE, 1, 2, 3, 4, 5, 6]),
        ([2, 6], [fakes.SEQUENCE, [1, 2, 3, 4, 5, 6]]),
    ],
)
def test_lists_are_read(shape: list[int], data: list[Any]) -> None:
    expected = [fakes.SEQUENCE, [1, 2, 3, 4, 5, 6]][: shape[0] if len(shape) == 2 else 1]
    assert sources(fakes.REVERSAL, {"inputs": [LIST | {"shape": shape, "data": data}]}) == expected


@pytest.mark.parametrize("length", [4, 8])
def test_lists_of_any_length_are_read_where_the_problem_allows_it(length: int) -> None:
    data = list(range(1, length + 1))
    assert sources(Reversal(4, 8, 9, 2), {"inputs": [LIST | {"shape": [1, length], "data": data}]}) == [data]


def test_texts_are_read_as_binary_data() -> None:
    data = serialize_byte_tensor(np.array(["10+6", b" 1 + 2"], dtype=np.object_)).item()
    tensor = {**SUM, "parameters": {"binary_data_size": len(data)}}
    del tensor["data"]
    assert sources(fakes.ADDITION, *with_binary({"inputs": [tensor]}, data)) == ["10+6", "1+2"]


def test_lists_are_read_as_binary_data() -> None:
    data = np.array([fakes.SEQUENCE] * 3, dtype="<i8").tobytes()
    tensor = {**LIST, "shape": [3, 6], "parameters": {"binary_data_size": len(data)}}
    del tensor["data"]
    assert sources(fakes.REVERSAL, *with_binary({"inputs": [tensor]}, data)) == [fakes.SEQUENCE] * 3


def test_fields_of_others_making_are_passed_over() -> None:
    body = {"model_name": "addition", "inputs": [SUM], "id": None, "outputs": None, "parameters": {"priority": 1}}
    assert len(sources(fakes.ADDITION, body)) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", 'the body is empty; send an object with "inputs"'),
        (b"{", "the body is not valid JSON"),
        (b"[" * 10_000, "the body is nested too deeply"),
        (b'{"inputs": "\xff"}', "the body is not valid UTF-8"),
        (b"[]", 'the body is a list; send an object with "inputs"'),
        (b"{}", '/inputs: the field "inputs" is missing; send an object with "inputs"'),
        ({"inputs": []}, '/inputs: "inputs" is empty'),
        ({"inputs": {}}, '/inputs: "inputs" is an object; it must be a list'),
        ({"inputs": [5]}, "/inputs/0: item 0 is a number; send"),
        ({"inputs": [{}]}, '/inputs/0/name: the field "name" is missing'),
        (b'{"inputs": [' + b"{}, " * 9_000 + b"{}]}", '/inputs/0/name: the field "name" is missing'),
        (b'{"inputs": [' + b"{}, " * 100_000 + b"{}]}", "the body holds more than 10000 lists, objects and fields"),
        ({"inputs": [SUM | {"shape": [1] * 9}]}, '/inputs/0/shape: "shape" holds 9 items; at most 8 are allowed'),
        ({"inputs": [SUM], "id": 5}, '/id: "id" is a number; it must be text'),
        ({"inputs": [SUM], "id": "x" * 1_001}, '/id: "id" has over 1,000 characters; send fewer'),
        ({"inputs": [SUM], "parameters": []}, '/parameters: "parameters" is a list; it must be an object'),
        ({"inputs": [SUM], "outputs": [7]}, "/outputs/0: item 0 is a number"),
        ({"inputs": [SUM | {"shape": [2.0]}]}, "/inputs/0/shape/0: item 0 is a number; it must be an integer"),
        ({"inputs": [SUM | {"shape": [True]}]}, "/inputs/0/shape/0: item 0 is a boolean; it must be an integer"),
        ({"inputs": [SUM | {"shape": [-1]}]}, "/inputs/0/shape/0: item 0: Input should be greater than or equal to 0"),
        ({"inputs": [SUM | {"shape": [2**63]}]}, "/inputs/0/shape/0: item 0: Input should be less than"),
        ({"inputs": [SUM | {"data": "10+6"}]}, '/inputs/0/data: "data" is text; it must be a list'),
    ],
)
def test_what_is_no_request_is_refused(body: dict[str, Any] | bytes, message: str) -> None:
    assert refusal(fakes.ADDITION, body).startswith(message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([SUM | {"name": "text"}], 'there is no input "text"; the model takes "expression"'),
        ([SUM, SUM], 'the input "expression" is given 2 times'),
        ([SUM, SUM | {"name": "b"}], 'there is no input "b"; the model takes "expression"'),
        ([SUM | {"datatype": "FP16"}], 'the input "expression" has the datatype FP16; it must be BYTES'),
        ([SUM | {"shape": []}], 'the input "expression" has the shape []; it must be [n] or [n, 1]'),
        ([SUM | {"shape": [1, 2]}], 'the input "expression" has the shape [1, 2]; it must be [n] or [n, 1]'),
        ([SUM | {"shape": [2, 1, 1]}], 'the input "expression" has the shape [2, 1, 1]; it must be [n] or [n, 1]'),
        ([SUM | {"shape": [0], "data": []}], 'the input "expression" has 0 items; a request holds 1 to 1000'),
        ([SUM | {"shape": [1001]}], 'the input "expression" has 1001 items; a request holds 1 to 1000'),
        ([SUM | {"shape": [2**62, 1]}], f'the input "expression" has {2**62} items; a request holds 1 to 1000'),
        ([SUM | {"shape": [3]}], 'the input "expression" holds 2 elements; its shape [3] has 3'),
        ([SUM | {"shape": [1]}], 'the input "expression" holds 2 elements; its shape [1] has 1'),
        ([SUM | {"data": None}], 'the input "expression": there is no data; send data, or binary_data_size'),
        ([SUM | {"data": [["1+1"], "1+2"]}], 'the input "expression": data must be flat, or nested as its shape [2]'),
        ([SUM | {"data": ["1+1", ["1+2"]]}], "expression[1]: an expression is text such as '10+6+7', not a list"),
        ([SUM | {"data": ["1+1", "1+"]}], "expression[1]: term 2 is empty; write a number on each side of every +"),
        ([SUM | {"data": ["1+1", 7]}], "expression[1]: an expression is text such as '10+6+7', not a number"),
        ([SUM | {"data": ["1+1", None]}], "expression[1]: an expression is text such as '10+6+7', not null"),
        ([SUM | {"data": ["1+1", "\u0663+4"]}], "expression[1]: character 1 is '\\u0663'"),
        (
            [SUM | {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}],
            'the input "expression" has the parameter shared_memory_region, which this service does not support',
        ),
        ([SUM | {"parameters": {"binary_data_size": 0}}], 'the input "expression": there are both data and binary'),
    ],
)
def test_wrong_texts_are_refused(inputs: list[Any], message: str) -> None:
    assert refusal(fakes.ADDITION, {"inputs": inputs}).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [1, 5], "data": [1, 2, 3, 4, 5]}, "sequence[0]: the sequence has 5 items; exactly 6 are needed"),
        ({"shape": [1, 0], "data": []}, "sequence[0]: the sequence has 0 items; exactly 6 are needed"),
        ({"shape": [1, 1, 6]}, 'the input "sequence" has the shape [1, 1, 6]; it must be [n, length] or [length]'),
        ({"shape": [1000, 2**62]}, f'the input "sequence" holds 6 elements; its shape [1000, {2**62}] has'),
        ({"data": [[1, 2, 3], [4, 5, 6]]}, 'the input "sequence": data must be flat, or nested as its shape [1, 6] is'),
        ({"data": [[[1, 2, 3, 4, 5, 6]]]}, 'the input "sequence": data must be flat, or nested as its shape [1, 6] is'),
        ({"data": [1, 2, 3, 4, 5, 51]}, "sequence[0][5]: item 6 is 51; an item is from 1 to 50 (rule: range)"),
        ({"data": [1, 2, 3, 4, 5, 6.0]}, "sequence[0][5]: item 6 is 6.0; an item is an integer"),
        ({"data": [1, 2, 3, 4, 5, True]}, "sequence[0][5]: item 6 is true; an item is an integer"),
        ({"data": [1, 2, 3, 4, 5, "6"]}, 'sequence[0][5]: item 6 is "6"; an item is an integer'),
        ({"data": [1, 2, 3, 4, 5, 10**4000]}, "sequence[0][5]: item 6 is a number of more than 18 digits"),
        ({"datatype": "INT32"}, 'the input "sequence" has the datatype INT32; it must be INT64'),
    ],
)
def test_wrong_lists_are_refused(change: dict[str, Any], message: str) -> None:
    assert refusal(fakes.REVERSAL, {"inputs": [LIST | change]}).startswith(message)


@pytest.mark.parametrize(
    ("size", "binary", "message"),
    [
        (8, b"", 'the input "sequence": binary_data_size is 8, but 0 bytes follow the JSON'),
        (8, b"12345678x", 'the input "sequence": binary_data_size is 8, but 9 bytes follow the JSON'),
        (9, b"123456789", 'the input "sequence": 9 bytes are not a whole number of INT64 elements, 8 bytes each'),
        (16, bytes(16), 'the input "sequence" holds 2 elements; its shape [1, 6] has 6'),
        (48, bytes(48), "sequence[0][0]: item 1 is 0; an item is from 1 to 50"),
        (None, b"x", 'the input "sequence": there is no data'),
        (True, b"x", 'the input "sequence": binary_data_size is True, but 1 bytes follow the JSON'),
        ("8", b"12345678", "the input \"sequence\": binary_data_size is '8', but 8 bytes follow the JSON"),
    ],
)
def test_wrong_binary_lists_are_refused(size: Any, binary: bytes, message: str) -> None:
    tensor = LIST | {"data": None, "parameters": {"binary_data_size": size}}
    assert refusal(fakes.REVERSAL, *with_binary({"inputs": [tensor]}, binary)).startswith(message)


def test_binary_data_of_which_nothing_is_said_is_refused() -> None:
    assert "1 bytes follow the JSON, of which" in refusal(fakes.REVERSAL, *with_binary({"inputs": [LIST]}, b"x"))


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        (b"\1", "element 0 is cut off"),
        (b"\1\0\0\0", "element 0 is cut off"),
        (b"\1\0\0\0x\xff\xff\xff\xffx", "element 1 is cut off"),
        (b"\1\0\0\0\xff", "element 0 is not UTF-8"),
        (bytes(4 * 3), 'the input "expression": there are more than 2 elements'),
    ],
)
def test_wrong_binary_texts_are_refused(binary: bytes, message: str) -> None:
    tensor = SUM | {"data": None, "parameters": {"binary_data_size": len(binary)}}
    assert message in refusal(fakes.ADDITION, *with_binary({"inputs": [tensor]}, binary))


@pytest.mark.parametrize("head_bytes", [b"", b"-1", b"1.0", b"9999", b"1" * 10_000, b"\xff", b"\xb2"])
def test_wrong_length_of_the_json_is_refused(head_bytes: bytes) -> None:
    message = refusal(fakes.ADDITION, {"inputs": [SUM]}, head_bytes)
    assert message.startswith("the header Inference-Header-Content-Length is ")
    assert len(message) < 250


@pytest.mark.parametrize(("timeout", "seconds"), [(0, inf), (1, 1e-6), (2_500_000, 2.5)])
def test_timeout_is_in_microseconds(timeout: int, seconds: float) -> None:
    body = {"inputs": [SUM], "parameters": {"timeout": timeout}}
    assert parse_request(json.dumps(body).encode())[0].seconds == seconds
    assert parse_request(json.dumps({"inputs": [SUM]}).encode())[0].seconds == inf


@pytest.mark.parametrize("timeout", [-1, 1.5, "1", True, None, 2**63, 10**4000])
def test_wrong_timeout_is_refused(timeout: Any) -> None:
    request, _ = parse_request(json.dumps({"inputs": [SUM], "parameters": {"timeout": timeout}}).encode())
    with pytest.raises(RequestRefused, match="timeout must be a number of microseconds"):
        assert request.seconds


@given(st.binary(max_size=100), st.none() | st.binary(max_size=3))
def test_whatever_comes_is_read_or_refused(body: bytes, head_bytes: bytes | None) -> None:
    with contextlib.suppress(RequestRefused):
        assert sources(fakes.ADDITION, body, head_bytes)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1+1", "", "\ud800", "BYTES", "INT64"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2),
    max_leaves=6,
)


@given(
    st.sampled_from([fakes.ADDITION, fakes.REVERSAL]),
    st.fixed_dictionaries(
        {},
        optional={
            "shape": JSON_VALUES | st.lists(st.integers(-1, 7), max_size=3),
            "data": JSON_VALUES | st.lists(JSON_VALUES, max_size=7),
            "parameters": JSON_VALUES | st.dictionaries(st.just("binary_data_size"), JSON_VALUES),
            "datatype": JSON_VALUES,
        },
    ),
    st.binary(max_size=20),
)
def test_whatever_tensor_comes_is_read_or_refused(problem: Problem, change: dict[str, Any], binary: bytes) -> None:
    usual = SUM if problem is fakes.ADDITION else LIST
    with contextlib.suppress(RequestRefused):
        assert sources(problem, *with_binary({"inputs": [usual | change]}, binary))


# Answers


def told(body: dict[str, Any], predictions: list[Prediction], problem: Problem = fakes.ADDITION) -> tuple[Any, bytes]:
    """The JSON of an answer, and the binary data after it."""
    request = InferenceRequest.model_validate_json(json.dumps({"inputs": [SUM]} | body))
    content, head_bytes = answer(REFERENCE, request.id, interface(problem).wanted(request), predictions)
    response = json.loads(content[:head_bytes])
    InferenceResponse.model_validate_json(content[:head_bytes])
    assert (head_bytes is None) == ("binary_data_size" not in content.decode("latin-1"))
    return response, b"" if head_bytes is None else content[head_bytes:]


@pytest.mark.parametrize("body", [{}, {"outputs": []}, {"outputs": None}])
def test_every_output_is_given_where_none_is_asked_for(body: dict[str, Any]) -> None:
    response, binary = told(body, ADDED)
    assert (response.pop("model_name"), response.pop("model_version"), list(response)) == ("a-model", "7", ["outputs"])
    assert response["outputs"] == [
        {"name": "sum", "datatype": "INT64", "shape": [2], "data": [16, 3]},
        {"name": "decoded", "datatype": "BYTES", "shape": [2], "data": ["16", "3"]},
        {"name": "confidence", "datatype": "FP64", "shape": [2], "data": [0.5, 1.0]},
    ]
    assert binary == b""


@pytest.mark.parametrize("request_id", ["", "42", "a b\u00e9\U0001f600\x00", "x" * 1_000])
def test_id_is_given_back(request_id: str) -> None:
    assert told({"id": request_id}, ADDED)[0]["id"] == request_id


def test_outputs_come_in_the_order_in_which_they_are_asked_for() -> None:
    response, _ = told({"outputs": [{"name": "confidence"}, {"name": "sum", "parameters": {}}]}, ADDED)
    assert [output["name"] for output in response["outputs"]] == ["confidence", "sum"]


def test_outputs_are_binary_where_that_is_asked_for() -> None:
    response, binary = told({"parameters": {"binary_data_output": True}}, ADDED)
    sizes = [output["parameters"]["binary_data_size"] for output in response["outputs"]]
    assert not any("data" in output for output in response["outputs"])
    assert sizes == [16, 4 + 2 + 4 + 1, 16]
    assert unpack("INT64", binary[:16]) == [16, 3]
    assert unpack("BYTES", binary[16:27]) == ["16", "3"]
    assert unpack("FP64", binary[27:]) == [0.5, 1.0]


@pytest.mark.parametrize("default", [True, False])
def test_an_outputs_own_wish_counts_more(default: bool) -> None:
    outputs = [{"name": "sum", "parameters": {"binary_data": not default}}, {"name": "confidence"}]
    response, binary = told({"parameters": {"binary_data_output": default}, "outputs": outputs}, ADDED)
    assert ["parameters" in output for output in response["outputs"]] == [not default, default]
    assert len(binary) == 16


@pytest.mark.parametrize(
    ("rows", "data"), [([[3, 2, 1], [6, 5, 4]], [3, 2, 1, 6, 5, 4]), ([[3], []], [3, 0, 0, 0, 0, 0])]
)
def test_rows_are_told_flat_and_filled_up_with_what_is_no_item(rows: list[list[int]], data: list[int]) -> None:
    predictions = [Prediction(row, (row,), 1.0) for row in rows]
    response, _ = told({"outputs": [{"name": "reversed"}]}, predictions, fakes.REVERSAL)
    assert response["outputs"] == [{"name": "reversed", "datatype": "INT64", "shape": [2, 3], "data": data}]


@pytest.mark.parametrize(("value", "message"), [(None, "no number"), (2**63, "too large for INT64")])
def test_what_is_no_number_cannot_be_told_as_one(value: int | None, message: str) -> None:
    predictions = [*ADDED, Prediction("1+", (value, "1+"), 0.25)]
    with pytest.raises(AnswerUnfit, match=rf"sum\[2\]: the model wrote .*{message}"):
        told({}, predictions)
    response, _ = told({"outputs": [{"name": "decoded"}]}, predictions)
    assert response["outputs"][0]["data"] == ["16", "3", "1+"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"outputs": [{"name": "total"}]}, 'there is no output "total"; the model gives sum, decoded, confidence'),
        ({"outputs": [{"name": "sum"}, {"name": "sum"}]}, "an output is asked for twice"),
        ({"outputs": [{"name": "sum", "parameters": {"binary_data": 1}}]}, "the parameter binary_data must be true"),
        ({"parameters": {"binary_data_output": "yes"}}, "the parameter binary_data_output must be true or false"),
        (
            {"outputs": [{"name": "sum", "parameters": {"classification": 2}}]},
            'the output "sum" has the parameter classification, which this service does not support',
        ),
        (
            {"outputs": [{"name": "sum", "parameters": {"shared_memory_region": "r"}}]},
            'the output "sum" has the parameter shared_memory_region, which this service does not support',
        ),
    ],
)
def test_wrong_wish_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        told(body, ADDED)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["addition", "reversal"])
def test_examples_are_those_of_the_model(name: str) -> None:
    model = fakes.models()[name]
    (source,) = sources(model.problem, example_request(model))
    (expected, prediction), *_ = model.examples
    assert source == expected
    response, _ = told({"id": "1"}, [prediction], model.problem)
    assert example_response(model) == response | {"model_name": name, "model_version": "1"}
