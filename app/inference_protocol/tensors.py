"""The Open Inference Protocol, version 2: its requests as what a model reads, and a model's answers as its tensors.

Knows nothing of routes. A body is JSON, or JSON and after it the binary data of tensors. A request, what it asks, and
its answer:

    {"inputs": [{"name": "source", "datatype": "BYTES", "shape": [2], "data": ["ab", "cde"]}]}
        →  ["ab", "cde"]  →  …  →
    {"outputs": [{"name": "target", "datatype": "BYTES", "shape": [2], "data": ["ba", "edc"]}, …]}

As binary data, numbers are little-endian and a text is its length, in four bytes, and its UTF-8. In the
protocol an error is of a whole request, so one item that is refused fails its request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import inf, prod
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic_core import to_json

from app.http.problem_details import ProblemError
from app.http.schemas import MOST_ITEMS
from app.inference_protocol.messages import (
    ANY,
    BINARY_SIZE,
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestInput,
    RequestOutput,
    RequestRefused,
    TensorMetadata,
    refuse,
)
from app.serving.models import Model, ModelReference, Prediction
from app.text import clipped
from seq2seq.problem import Field, Problem, RuleBroken, plural
from seq2seq.vocabulary import Symbols

Datatype = Literal["BYTES", "INT64", "FP64"]
NUMBERS = {"INT64": np.dtype("<i8"), "FP64": np.dtype("<f8")}
LENGTH_BYTES = 4
"""How many bytes the length of a text has."""

INT64 = range(-(2**63), 2**63)
SHARED_MEMORY = "shared_memory"


class AnswerUnfit(ProblemError):
    """An answer that one of the model's tensors cannot hold: 500."""

    def __init__(self, message: str):
        super().__init__(500, clipped(message))


# What a model takes and gives ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tensor:
    """Name, datatype and shape, `ANY` standing for the number of items."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    @property
    def metadata(self) -> TensorMetadata:
        return TensorMetadata(name=self.name, datatype=self.datatype, shape=list(self.shape))


@dataclass(frozen=True)
class Output(Tensor):
    """A tensor of answers, of which `read` gives one's element, or the elements of its row."""

    read: Callable[[Prediction], Any]

    def elements(self, predictions: Sequence[Prediction]) -> list[Any]:
        """All elements, row by row. Raises `AnswerUnfit`."""
        rows = [self._read(place, prediction) for place, prediction in enumerate(predictions)]
        return rows if len(self.shape) == 1 else [element for row in rows for element in row]

    def _read(self, place: int, prediction: Prediction) -> Any:
        try:
            return self.read(prediction)
        except AnswerUnfit as unfit:
            raise AnswerUnfit(f"{self.name}[{place}]: {unfit}") from None


class Wanted(NamedTuple):
    """An output that is asked for, and whether as binary data."""

    output: Output
    binary: bool


@dataclass(frozen=True)
class Interface:
    """The tensors of models that were trained on a problem."""

    problem: Problem
    input: Tensor
    outputs: tuple[Output, ...]

    def sources(self, request: InferenceRequest, binary: bytes) -> list[Symbols]:
        """What is asked, as `problem.parse` gives it, item by item. Raises `RequestRefused`."""
        rows = _rows(self.input, self._given(request.inputs), binary)
        return [self._parse(place, row) for place, row in enumerate(rows)]

    def wanted(self, request: InferenceRequest) -> list[Wanted]:
        """The outputs that are asked for, in that order. Raises `RequestRefused`."""
        binary = _flag(request.parameters, "binary_data_output", False)
        if not request.outputs:
            return [Wanted(output, binary) for output in self.outputs]
        names = [wanted.name for wanted in request.outputs]
        if len(set(names)) < len(names):
            refuse("an output is asked for twice")
        return [Wanted(self._output(each), _flag(each.parameters, "binary_data", binary)) for each in request.outputs]

    def _given(self, inputs: Sequence[RequestInput]) -> RequestInput:
        for each in inputs:
            if each.name != self.input.name:
                refuse(f'there is no input "{clipped(each.name, 60)}"; the model takes "{self.input.name}"')
        if len(inputs) > 1:
            refuse(f'the input "{self.input.name}" is given {len(inputs)} times')
        return inputs[0]

    def _output(self, wanted: RequestOutput) -> Output:
        what = f'the output "{clipped(wanted.name, 60)}"'
        _refuse_parameters(what, wanted.parameters, SHARED_MEMORY, "classification")
        known = {output.name: output for output in self.outputs}
        if wanted.name not in known:
            refuse(f'there is no output "{clipped(wanted.name, 60)}"; the model gives {", ".join(known)}')
        return known[wanted.name]

    def _parse(self, place: int, row: Any) -> Symbols:
        try:
            return self.problem.parse(row)
        except RuleBroken as broken:
            within = "".join(f"[{index}]" for index in broken.place)
            raise RequestRefused(
                f"{self.input.name}[{place}]{within}: {clipped(broken.message)} (rule: {broken.rule})"
            ) from None


@cache
def interface(problem: Problem) -> Interface:
    """The tensors of models that were trained on a problem: those of its fields, and how sure a model is."""
    outputs = [_output(place, field) for place, field in enumerate(problem.outputs)]
    return Interface(problem, Tensor(problem.input.name, *_form(problem.input)), (*outputs, CONFIDENCE))


def _form(field: Field) -> tuple[Datatype, tuple[int, ...]]:
    """Datatype and shape of a field: texts as BYTES, integers and lists of integers as INT64."""
    kinds = field.schema["type"]
    if kinds == "string":
        return "BYTES", (ANY,)
    if kinds == "array":
        return "INT64", (ANY, field.schema["maxItems"] if _has_one_length(field) else ANY)
    return "INT64", (ANY,)


def _has_one_length(field: Field) -> bool:
    return bool(field.schema["minItems"] == field.schema["maxItems"])


def _output(place: int, field: Field) -> Output:
    if field.schema["type"] == "array":
        width = field.schema["maxItems"]

        def padded(prediction: Prediction) -> list[int]:
            """What was written, filled up with 0 where a list is shorter than it can be."""
            items = prediction.values[place]
            return [*items, *[0] * (width - len(items))]

        return Output(field.name, "INT64", (ANY, width), padded)
    read = itemgetter(place) if field.schema["type"] == "string" else partial(_number, place)
    return Output(field.name, *_form(field), lambda prediction: read(prediction.values))


CONFIDENCE = Output("confidence", "FP64", (ANY,), lambda prediction: prediction.confidence)


def _number(place: int, values: Sequence[Any]) -> int:
    value = values[place]
    if value is None:
        raise AnswerUnfit("the model wrote no number; ask for the other outputs alone to see what it wrote")
    if value not in INT64:
        raise AnswerUnfit("the model wrote a number too large for INT64; ask for the other outputs alone to see it")
    return int(value)


# Tensors ---------------------------------------------------------------------------------------------------


def pack(datatype: str, elements: Iterable[Any]) -> bytes:
    """Elements as binary data."""
    if datatype == "BYTES":
        encoded = [element.encode("utf-8") for element in elements]
        return b"".join(len(text).to_bytes(LENGTH_BYTES, "little") + text for text in encoded)
    return np.array(list(elements), NUMBERS[datatype]).tobytes()


def unpack(datatype: str, data: bytes, most: float = inf) -> list[Any]:
    """Binary data → elements. Raises `RequestRefused`, and no later than after `most` of them."""
    if datatype == "BYTES":
        return _unpack_texts(data, most)
    size = NUMBERS[datatype].itemsize
    if len(data) % size:
        refuse(f"{len(data)} bytes are not a whole number of {datatype} elements, {size} bytes each")
    elements: list[Any] = np.frombuffer(data, NUMBERS[datatype]).tolist()
    return elements


def _unpack_texts(data: bytes, most: float) -> list[str]:
    texts: list[str] = []
    start = 0
    while start < len(data):
        if len(texts) >= most:
            refuse(f"there are more than {most} elements")
        first = start + LENGTH_BYTES
        start = first + int.from_bytes(data[start:first], "little")
        if max(first, start) > len(data):
            refuse(f"element {len(texts)} is cut off; it starts with its length, in {LENGTH_BYTES} bytes")
        try:
            texts.append(data[first:start].decode("utf-8"))
        except UnicodeDecodeError:
            refuse(f"element {len(texts)} is not UTF-8")
    return texts


def _rows(expected: Tensor, given: RequestInput, binary: bytes) -> list[Any]:
    """The items of a tensor: its elements, or its rows of elements."""
    what = f'the input "{given.name}"'
    _refuse_parameters(what, given.parameters, SHARED_MEMORY)
    if given.datatype != expected.datatype:
        refuse(f"{what} has the datatype {clipped(given.datatype, 60)}; it must be {expected.datatype}")
    count = _count(what, expected, given.shape)
    try:
        elements = _elements(given, expected.datatype, binary)
    except RequestRefused as refused:
        raise RequestRefused(f"{what}: {refused}") from None
    if len(elements) != prod(given.shape):
        refuse(f"{what} holds {plural(len(elements), 'element')}; its shape {given.shape} has {prod(given.shape)}")
    if len(expected.shape) == 1:
        return elements
    width = given.shape[-1]
    return [elements[start : start + width] for start in range(0, count * width, width)] if width else [[]] * count


def _count(what: str, expected: Tensor, shape: Sequence[int]) -> int:
    """How many items a shape has. A text may have a dimension of its own, and a single row may do without the first."""
    match len(expected.shape), list(shape):
        case (1, [count]) | (1, [count, 1]) | (2, [count, _]):
            pass
        case (2, [_]):
            count = 1
        case _:
            right = "[n] or [n, 1]" if len(expected.shape) == 1 else "[n, length] or [length]"
            refuse(f"{what} has the shape {clipped(str(list(shape)), 60)}; it must be {right}")
    if not 1 <= count <= MOST_ITEMS:
        refuse(f"{what} has {plural(count, 'item')}; a request holds 1 to {MOST_ITEMS}")
    return count


def _elements(given: RequestInput, datatype: str, binary: bytes) -> list[Any]:
    size = (given.parameters or {}).get(BINARY_SIZE)
    if size is None:
        if given.data is None:
            refuse(f"there is no data; send data, or {BINARY_SIZE} and binary data after the JSON")
        if binary:
            refuse(f"{len(binary)} bytes follow the JSON, of which {BINARY_SIZE} says nothing")
        return _flat(given.data, given.shape)
    if given.data is not None:
        refuse(f"there are both data and {BINARY_SIZE}; send one")
    if type(size) is not int or size != len(binary):
        refuse(
            f"{BINARY_SIZE} is {size!r:.60}, but {len(binary)} bytes follow the JSON,"
            " whose length the header Inference-Header-Content-Length must say"
        )
    return unpack(datatype, binary, prod(given.shape))


def _flat(data: list[Any], shape: Sequence[int]) -> list[Any]:
    """The elements of data that is flat, or nested as its shape is. Long data costs no look at each of its elements."""
    if not (data and isinstance(data[0], list)):
        return data
    if len(shape) != 2 or not all(isinstance(row, list) and len(row) == shape[1] for row in data):
        refuse(f"data must be flat, or nested as its shape {list(shape)} is")
    return [element for row in data for element in row]


def _flag(parameters: Parameters | None, name: str, default: bool) -> bool:
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        refuse(f"the parameter {name} must be true or false")
    return value


def _refuse_parameters(what: str, parameters: Parameters | None, *unknown: str) -> None:
    """Refuse parameters that ask for what is not done here, and that cannot be passed over."""
    for name in parameters or ():
        if name.startswith(unknown):
            refuse(f"{what} has the parameter {clipped(name, 60)}, which this service does not support")


# Answers ---------------------------------------------------------------------------------------------------


def answer(
    model: ModelReference,
    request_id: str | None,
    wanted: Sequence[Wanted],
    predictions: Sequence[Prediction],
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON where binary data follows. Raises `AnswerUnfit`."""
    outputs, binary = [], []
    for output, as_binary in wanted:
        elements = output.elements(predictions)
        shape = [len(predictions), *output.shape[1:]]
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": shape}
        if as_binary:
            binary.append(pack(output.datatype, elements))
            tensor["parameters"] = {BINARY_SIZE: len(binary[-1])}
        else:
            tensor["data"] = elements
        outputs.append(tensor)
    named = {"model_name": model.name, "model_version": model.version}
    head = to_json({**named, **({} if request_id is None else {"id": request_id}), "outputs": outputs})
    return b"".join([head, *binary]), len(head) if binary else None


def example_request(model: Model) -> dict[str, Any]:
    """A request for the first of a model's golden examples."""
    request, _ = _example(model)
    return request.model_dump(exclude_none=True)


def example_response(model: Model) -> dict[str, Any]:
    """The answer to it."""
    request, predictions = _example(model)
    content, _ = answer(model.reference, request.id, interface(model.problem).wanted(request), predictions)
    return InferenceResponse.model_validate_json(content).model_dump(exclude_none=True)


def _example(model: Model) -> tuple[InferenceRequest, list[Prediction]]:
    source, prediction = model.examples[0]
    tensor = interface(model.problem).input
    data = [str(source)] if len(tensor.shape) == 1 else list(source)
    given = RequestInput(
        name=tensor.name, datatype=tensor.datatype, shape=[1, len(data)][: len(tensor.shape)], data=data
    )
    return InferenceRequest(id="1", inputs=[given]), [prediction]
