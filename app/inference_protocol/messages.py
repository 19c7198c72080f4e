"""The messages of the Open Inference Protocol, version 2, as JSON has them, and how a body is read as one.

`tensors` says what they mean to a model.
"""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.http import validation
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.serving.models import MOST_ALTERNATIVES
from app.text import clipped

ANY = -1
"""A dimension of whatever size."""

MOST_OF_ID = 1_000
"""How many characters an id may have. It is held while the answer is awaited."""

MOST_DIMENSIONS = 8
"""How many dimensions a shape may have. A tensor here has two at most."""

N_BEST = "n_best"
MIN_CONFIDENCE = "min_confidence"
BINARY_SIZE = "binary_data_size"
HEAD_BYTES = "Inference-Header-Content-Length"

LONGEST_REFUSAL = 400
"""How many characters say why a request was refused."""


class RequestRefused(ProblemError):
    """A request that the protocol or the model does not accept: 400. The message says what is wrong, and where."""

    def __init__(self, message: str):
        super().__init__(ProblemType.BAD_REQUEST, clipped(message, LONGEST_REFUSAL))


class ProtocolMessage(BaseModel):
    """The base of all messages of the protocol. Values are not coerced, and unknown fields are ignored.

    Only the first wrong item of a list is looked at, for a body may have 100,000 of them.
    """

    model_config = ConfigDict(strict=True, frozen=True)


Message = TypeVar("Message", bound=ProtocolMessage)
Parameters = dict[str, Any]
Data = Annotated[list[Any] | None, WithJsonSchema({"type": "array", "items": {}})]
Dimension = Annotated[int, Field(ge=0, lt=2**63)]


class RequestInput(ProtocolMessage):
    """A tensor that is sent: its data here, flat or nested, or after the JSON as binary data."""

    name: str
    datatype: str
    shape: list[Dimension] = Field(fail_fast=True, max_length=MOST_DIMENSIONS)
    parameters: Parameters | None = Field(default=None, description=f"`{BINARY_SIZE}`: bytes of data after the JSON")
    data: Data = None


class RequestOutput(ProtocolMessage):
    """A tensor that is asked for."""

    name: str
    parameters: Parameters | None = Field(default=None, description="`binary_data`: whether to send it as binary data")


class InferenceRequest(ProtocolMessage):
    id: str | None = Field(default=None, max_length=MOST_OF_ID, description="Given back with the answer")
    parameters: Parameters | None = Field(
        default=None,
        description="`binary_data_output`: whether outputs are binary that do not say; `timeout`: in microseconds;"
        " `n_best`: how many alternatives to give",
    )
    inputs: list[RequestInput] = Field(fail_fast=True, min_length=1)
    outputs: list[RequestOutput] | None = Field(
        default=None, fail_fast=True, description="All of the model's, where none is named"
    )

    @property
    def seconds(self) -> float:
        """How long the client would wait; infinity where it does not say. Raises `RequestRefused`."""
        microseconds = (self.parameters or {}).get("timeout", 0)
        if type(microseconds) is not int or not 0 <= microseconds < 2**63:
            refuse("the parameter timeout must be a number of microseconds")
        return microseconds / 1_000_000 or inf

    @property
    def n_best(self) -> int:
        """How many alternatives are wanted; 0 where the client does not say. Raises `RequestRefused`."""
        parameters = self.parameters or {}
        if MIN_CONFIDENCE in parameters:
            refuse(f"the parameter {MIN_CONFIDENCE} is for the other routes; here, compare the output confidence")
        if N_BEST not in parameters:
            return 0
        number = parameters[N_BEST]
        if type(number) is not int or not 1 <= number <= MOST_ALTERNATIVES:
            refuse(f"the parameter {N_BEST} must be a whole number from 1 to {MOST_ALTERNATIVES}")
        return number


class ResponseOutput(ProtocolMessage):
    """A tensor of an answer: its data here, flat, or after the JSON as binary data."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: Data = None


class InferenceResponse(ProtocolMessage):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class TensorMetadata(ProtocolMessage):
    name: str
    datatype: str
    shape: list[int] = Field(description=f"{ANY} for a dimension of whatever size")


class ModelMetadata(ProtocolMessage):
    name: str
    versions: list[str] = Field(description="All versions that are served")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(ProtocolMessage):
    name: str
    version: str
    extensions: list[str]


class Live(ProtocolMessage):
    live: bool


class Ready(ProtocolMessage):
    ready: bool


class ModelReady(ProtocolMessage):
    name: str
    ready: bool


class IndexRequest(ProtocolMessage):
    ready: bool | None = Field(default=None, description="Whether to list only what is served")


class IndexEntry(ProtocolMessage):
    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = Field(description="Why the version is not served, or not as it lies on the disk")


class ChangeRequest(ProtocolMessage):
    """What a request to unload may say."""

    parameters: Parameters | None = None


class LoadRequest(ProtocolMessage):
    """What a request to load may say: nothing, for a model is loaded as its bundle has it."""

    parameters: Parameters | None = Field(default=None, json_schema_extra={"maxProperties": 0})


class ProtocolError(ProtocolMessage):
    error: str = Field(description="What was wrong with this request")


NAMED = (InferenceRequest, InferenceResponse, IndexRequest, LoadRequest, ChangeRequest, ProtocolError)
"""What the OpenAPI document refers to by name and FastAPI has not seen."""


def parse(schema: type[Message], body: bytes) -> Message:
    """JSON as the schema has it. Raises `RequestRefused`."""
    try:
        message = validation.parse(schema, body, most_faults=1)
        # Where each colon belongs to a field that was read, none is given twice. To look closer takes 5 us.
        if not isinstance(message, InferenceRequest) or body.count(b":") != _fields(message):
            validation.check_all_fields(body)
    except validation.Invalid as invalid:
        (fault,) = invalid.faults
        raise RequestRefused(f"{fault.pointer}: {fault.detail}" if fault.pointer else fault.detail) from None
    return message


def _fields(request: InferenceRequest) -> int:
    """How many fields a request was read from, less those that its parameters hold within others."""
    tensors = [*request.inputs, *(request.outputs or ())]
    parts: list[RequestInput | RequestOutput | InferenceRequest] = [request, *tensors]
    return sum(len(part.model_fields_set) + len(part.parameters or ()) for part in parts)


def parse_request(body: bytes, head_bytes: bytes | None = None) -> tuple[InferenceRequest, bytes]:
    """A request and the binary data after it; `head_bytes`, where it is given, says how many bytes are JSON."""
    if head_bytes is None:
        return parse(InferenceRequest, body), b""
    if not head_bytes.isdigit() or len(head_bytes) > len(str(len(body))) or int(head_bytes) > len(body):
        refuse(
            f"the header {HEAD_BYTES} is {head_bytes.decode('latin-1')!a:.60}; it must say how many"
            f" of the body's {len(body)} bytes are JSON"
        )
    size = int(head_bytes)
    return parse(InferenceRequest, body[:size]), body[size:]


def refuse(message: str) -> NoReturn:
    """Raise `RequestRefused`."""
    raise RequestRefused(message)
