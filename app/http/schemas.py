"""What crosses HTTP: the base of every request, and every answer.

A request's fields come from the problem that is served, by `accepted_by`; the routes put the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Protocol

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from app.serving.models import Model, ModelReference
from app.text import clipped
from seq2seq.problem import RuleBroken
from seq2seq.vocabulary import Symbols

MOST_ITEMS = 1000
"""How many items a batch may hold."""

ModelName = Annotated[str, Path(description="The model's name", examples=["addition", "reversal"])]
ModelVersion = Annotated[str, Path(description="The number of one of the model's versions", examples=["1"])]
"""What stands in a path for a model."""


class Parser(Protocol):
    """What knows the values that a field may have: a problem, or a model that is trained on one."""

    @property
    def schema(self) -> dict[str, Any]: ...

    def parse(self, value: object) -> Symbols: ...


class accepted_by:  # noqa: N801  reads as part of an annotation: Annotated[str, accepted_by(problem)]
    """Validates a field by `parse`, whose symbols it becomes, and describes it by `schema`."""

    def __init__(self, parser: Parser):
        self._parser = parser

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._parser.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return self._parser.schema


def batch_item(parser: Parser) -> JsonSchemaValue:
    """An item of a batch. Anything else is taken as well, and gets an error of its own."""
    return {"anyOf": [parser.schema, {"description": "Anything else gets an error of its own in the answer"}]}


class RequestBody(BaseModel):
    """The base of every request: no coercion, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer to what is at fault; empty for the whole body")
    detail: str = Field(description="What is wrong, and what would be right")
    rule: str = Field(description="Name of the rule that was broken")
    position: int | None = Field(
        default=None,
        description="Character at fault, counted from 0, where there is one",
        exclude_if=lambda position: position is None,
    )

    @classmethod
    def of(cls, broken: RuleBroken, pointer: str) -> Fault:
        """A broken rule of the value that `pointer` points to."""
        pointer += "".join(f"/{place}" for place in broken.place)
        return cls(pointer=pointer, detail=clipped(broken.message), rule=broken.rule, position=broken.position)


class ItemError(BaseModel):
    """An item of a batch that was refused; it fails nobody else."""

    error: Fault


class AddResult(BaseModel):
    """A sum as the model wrote it."""

    expression: str = Field(description="What was asked, without blanks")
    sum: int | None = Field(description="The number that the model wrote; null when it wrote none")
    decoded: str = Field(description="What the model wrote")
    confidence: float = Field(description="Product of the probabilities of the symbols chosen", ge=0, le=1)


class AddResponse(AddResult):
    model: ModelReference


class AddBatchResponse(BaseModel):
    """The results in the order of the request, each a sum or an error."""

    results: list[AddResult | ItemError]
    model: ModelReference


class ReverseResult(BaseModel):
    """The first items of a list, last one first, as the model wrote them."""

    sequence: list[int] = Field(description="What was asked")
    reversed: list[int] = Field(description="What the model wrote")
    confidence: float = Field(description="Product of the probabilities of the symbols chosen", ge=0, le=1)


class ReverseResponse(ReverseResult):
    model: ModelReference


class ReverseBatchResponse(BaseModel):
    """The results in the order of the request, each a list or an error."""

    results: list[ReverseResult | ItemError]
    model: ModelReference


class NetworkDescription(BaseModel):
    """Family and sizes of a model's network."""

    family: str
    encoder_units: list[int] = Field(description="Units of each encoder layer")
    decoder_units: list[int] = Field(description="Units of each decoder layer")
    parameters: int


class ModelDescription(BaseModel):
    """A model that is served: what it accepts, what it is, and how well it was found to do."""

    name: str
    version: str
    versions: list[str] = Field(description="All versions that are served; `?version=` asks for one")
    problem: dict[str, Any] = Field(description="The problem that it was trained on")
    limits: dict[str, Any] = Field(description="What it accepts, as JSON Schema")
    vocabularies: dict[str, Any] = Field(description="Every symbol that it reads and writes, in the order of their ids")
    lengths: dict[str, int] = Field(description="Most symbols that it reads and writes")
    network: NetworkDescription
    evaluation: dict[str, Any] = Field(description="How many answers were right, on which requests")
    agreement: dict[str, Any] = Field(description="How closely its ONNX graphs agree with Keras")

    @classmethod
    def of(cls, model: Model, versions: Iterable[int]) -> ModelDescription:
        return cls.model_validate(
            {
                **model.manifest.as_data(),
                "versions": [str(version) for version in sorted(versions)],
                "limits": model.problem.schema,
            }
        )


class ModelList(BaseModel):
    models: list[ModelDescription]


class Health(BaseModel):
    status: str


def exemplified(answers: Sequence[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of a success, with the first of `answers` as an example."""
    if not answers:
        return {}
    return {200: {"content": {"application/json": {"example": answers[0].model_dump()}}}}
