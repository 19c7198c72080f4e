"""The tensors of a problem: what the Open Inference Protocol's requests ask of a model, and its answers as tensors.

Knows nothing of routes. A request, what it asks, and its answer:

    {"inputs": [{"name": "source", "datatype": "BYTES", "shape": [2], "data": ["ab", "cde"]}]}
        →  ["ab", "cde"]  →  …  →
    {"outputs": [{"name": "target", "datatype": "BYTES", "shape": [2], "data": ["ba", "edc"]}, …]}

In the protocol an error is of a whole request, so one item that is refused fails its request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from pydantic_core import to_json

from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.http.schemas import MOST_ITEMS
from app.inference_protocol import tensor_data
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
from app.inference_protocol.tensor_data import Datatype
from app.serving.models import Model, ModelReference, Prediction
from app.text import clipped
from seq2seq.problem import Field, Problem, RuleBroken, plural
from seq2seq.vocabulary import Symbols

FILLERS: dict[Datatype, Any] = {"BYTES": "", "INT64": 0, "FP64": 0.0}
INT64 = range(-(2**63), 2**63)
SHARED_MEMORY = "shared_memory"


class AnswerUnfit(ProblemError):
    """An answer that one of the model's tensors cannot hold: 500."""

    def __init__(self, message: str):
        super().__init__(ProblemType.INTERNAL_ERROR, clipped(message))


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
    """A tensor of answers. `read` gives an answer's element, or the elements of its row."""

    read: Callable[[Prediction], Any]

    def elements(self, predictions: Sequence[Prediction]) -> list[Any]:
        """All elements, row by row. Raises `AnswerUnfit`."""
        rows: list[Any] = []
        for place, prediction in enumerate(predictions):
            try:
                rows.append(self.read(prediction))
            except AnswerUnfit as unfit:
                raise AnswerUnfit(f"{self.name}[{place}]: {unfit}") from None
        return rows if len(self.shape) == 1 else [element for row in rows for element in row]


class Wanted(NamedTuple):
    """An output that is asked for, and whether as binary data."""

    output: Output
    binary: bool


@dataclass(frozen=True)
class Interface:
    """The tensors of models that were trained on a problem."""

    problem: Problem
    inputs: tuple[Tensor, ...]
    outputs: tuple[Output, ...]

    def sources(self, request: InferenceRequest, binary: bytes) -> list[Symbols]:
        """What is asked, as `problem.parse` gives it, item by item. Raises `RequestRefused`."""
        given, expected = request.inputs, self.inputs[0]
        if len(given) == 1 and given[0].name == expected.name:
            rows = _rows(expected, given[0], binary)
        else:
            rows = self._with_options(given, binary)
        return [self._parse(place, row) for place, row in enumerate(rows)]

    def wanted(self, request: InferenceRequest) -> list[Wanted]:
        """The outputs that are asked for, in that order. Raises `RequestRefused`."""
        binary = _flag(request.parameters, "binary_data_output", False)
        given = [*self.outputs]
        if request.n_best:
            given += [_alternatives(output, request.n_best) for output in self.outputs]
        if not request.outputs:
            return [Wanted(output, binary) for output in given]
        names = [wanted.name for wanted in request.outputs]
        if len(set(names)) < len(names):
            refuse("an output is asked for twice")
        known = {output.name: output for output in given}
        return [Wanted(_output(each, known), _flag(each.parameters, "binary_data", binary)) for each in request.outputs]

    def _with_options(self, given: Sequence[RequestInput], binary: bytes) -> list[dict[str, Any]]:
        """The fields of each item, from several inputs. Raises `RequestRefused`."""
        known = {each.name: each for each in self.inputs}
        columns: dict[str, list[Any]] = {}
        for each, data in zip(given, _parts(given, binary), strict=True):
            if each.name not in known:
                names = " and ".join(f'"{name}"' for name in known)
                refuse(f'there is no input "{clipped(each.name, 60)}"; the model takes {names}')
            if each.name in columns:
                refuse(f'the input "{each.name}" is given {sum(each.name == other.name for other in given)} times')
            columns[each.name] = _rows(known[each.name], each, data)
        first = self.inputs[0].name
        if first not in columns:
            refuse(f'the input "{first}" is missing')
        for name, rows in columns.items():
            if len(rows) != len(columns[first]):
                refuse(f'the input "{name}" has {plural(len(rows), "item")}; "{first}" has {len(columns[first])}')
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _parse(self, place: int, row: Any) -> Symbols:
        try:
            return self.problem.parse(row)
        except RuleBroken as broken:
            names = [each for each in broken.place if isinstance(each, str)] or [self.inputs[0].name]
            within = "".join(f"[{index}]" for index in broken.place if isinstance(index, int))
            raise RequestRefused(
                f"{names[0]}[{place}]{within}: {clipped(broken.message)} (rule: {broken.rule})"
            ) from None


def interface(problem: Problem) -> Interface:
    """The tensors of models that were trained on a problem: those of its fields, and how sure a model is."""
    outputs = [_tensor(place, field) for place, field in enumerate(problem.outputs)]
    inputs = tuple(Tensor(field.name, *_form(field)) for field in (problem.input, *problem.options))
    return Interface(problem, inputs, (*outputs, CONFIDENCE))


def _form(field: Field) -> tuple[Datatype, tuple[int, ...]]:
    """Datatype and shape of a field: texts as BYTES, integers and lists of integers as INT64."""
    kinds = field.schema["type"]
    if kinds == "string":
        return "BYTES", (ANY,)
    if kinds == "array":
        shortest, longest = field.schema["minItems"], field.schema["maxItems"]
        return "INT64", (ANY, longest if shortest == longest else ANY)
    return "INT64", (ANY,)


def _tensor(place: int, field: Field) -> Output:
    if field.schema["type"] == "array":
        width = field.schema["maxItems"]
        return Output(field.name, "INT64", (ANY, width), lambda prediction: _padded(prediction.values[place], width))
    if field.schema["type"] == "string":
        return Output(field.name, *_form(field), lambda prediction: prediction.values[place])
    return Output(field.name, *_form(field), lambda prediction: _number(prediction.values[place]))


CONFIDENCE = Output("confidence", "FP64", (ANY,), lambda prediction: prediction.confidence)


def _alternatives(output: Output, most: int) -> Output:
    """The same output of so many alternatives, best first. Where fewer were found, it is filled up."""
    rank, filler = len(output.shape), FILLERS[output.datatype]

    def read(prediction: Prediction) -> list[Any]:
        rows = [output.read(each) for each in prediction.alternatives]
        found = rows if rank == 1 else [element for row in rows for element in row]
        return [*found, *[filler] * (most * prod(output.shape[1:]) - len(found))]

    return Output(f"{output.name}_alternatives", output.datatype, (ANY, most, *output.shape[1:]), read)


def _padded(items: Sequence[int], width: int) -> list[int]:
    return [*items, *[0] * (width - len(items))]


def _number(value: int | None) -> int:
    if value is None:
        raise AnswerUnfit("the model wrote no number; ask for the other outputs alone to see what it wrote")
    if value not in INT64:
        raise AnswerUnfit("the model wrote a number too large for INT64; ask for the other outputs alone to see it")
    return value


def _output(wanted: RequestOutput, known: Mapping[str, Output]) -> Output:
    what = f'the output "{clipped(wanted.name, 60)}"'
    _refuse_parameters(what, wanted.parameters, SHARED_MEMORY, "classification")
    if wanted.name not in known:
        refuse(f'there is no output "{clipped(wanted.name, 60)}"; the model gives {", ".join(known)}')
    return known[wanted.name]


# Requests ---------------------------------------------------------------------------------------------------


def _rows(expected: Tensor, given: RequestInput, binary: bytes) -> list[Any]:
    """The items of a tensor: its elements, or its rows of elements."""
    what = f'the input "{given.name}"'
    _refuse_parameters(what, given.parameters, SHARED_MEMORY)
    if given.datatype != expected.datatype:
        refuse(f"{what} has the datatype {clipped(given.datatype, 60)}; it must be {expected.datatype}")
    count = _count(what, expected, given.shape)
    try:
        elements = tensor_data.elements(given, expected.datatype, binary)
    except RequestRefused as refused:
        raise RequestRefused(f"{what}: {refused}") from None
    if len(elements) != prod(given.shape):
        refuse(f"{what} holds {plural(len(elements), 'element')}; its shape {given.shape} has {prod(given.shape)}")
    if len(expected.shape) == 1:
        return elements
    width = given.shape[-1]
    rows = [elements[place * width : (place + 1) * width] for place in range(count)]
    return rows if expected.shape[1] != ANY else [*map(_unpadded, rows)]


def _unpadded(row: list[Any]) -> list[Any]:
    """A row without the zeros that fill it up to the length of others."""
    length = len(row)
    while length and row[length - 1] == 0 and type(row[length - 1]) is int:
        length -= 1
    return row[:length]


def _parts(inputs: Sequence[RequestInput], binary: bytes) -> list[bytes]:
    """The binary data of each input, one after another: as many bytes as each says, the rest for the last one."""
    parts = []
    for each in inputs[:-1]:
        size = (each.parameters or {}).get(BINARY_SIZE)
        end = max(size, 0) if type(size) is int else 0
        parts.append(binary[:end])
        binary = binary[end:]
    return [*parts, binary]


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
            binary.append(tensor_data.pack(output.datatype, elements))
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
    fields, tensors = model.problem.request(source), interface(model.problem).inputs
    given = [_given(tensor, fields[tensor.name]) for tensor in tensors if tensor.name in fields]
    return InferenceRequest(id="1", inputs=given), [prediction]


def _given(tensor: Tensor, value: Any) -> RequestInput:
    """One item of an input."""
    data = [value] if len(tensor.shape) == 1 else list(value)
    shape = [1, len(data)][: len(tensor.shape)]
    return RequestInput(name=tensor.name, datatype=tensor.datatype, shape=shape, data=data)
