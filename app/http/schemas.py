"""What crosses HTTP: the base of every request, and every answer.

A request's fields come from the interface of the problem that is served.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Self

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.serving.models import MOST_ALTERNATIVES, Model
from app.text import clipped
from seq2seq.problem import Field as ProblemField
from seq2seq.problem import RuleBroken

MOST_ITEMS = 1000
"""How many items a batch may hold."""

PLACES = {"name": "The model's name", "number": "The number of one of the model's versions"}
"""What stands in a path for a model, and for its version."""

ModelName = Annotated[str, Path(description=PLACES["name"])]
ModelVersion = Annotated[str, Path(description=PLACES["number"])]

Version = Annotated[
    str | None,
    Query(description="The model's version; without it, the one that answers by default"),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]*$", "examples": ["1"]}),
]


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


class NetworkDescription(BaseModel):
    """Family and sizes of a model's network."""

    family: str
    encoder_units: list[int] = Field(description="Units of each encoder layer")
    decoder_units: list[int] = Field(description="Units of each decoder layer")
    embedding_units: int = Field(description="Units of each symbol's embedding; 0 where symbols are one-hot vectors")
    parameters: int


class FieldDescription(BaseModel):
    """A value that a client sends or gets."""

    name: str
    plural: str = Field(description="What a batch calls many of them")
    form: dict[str, Any] = Field(alias="schema", description="What it may hold, as JSON Schema")
    description: str

    @classmethod
    def of(cls, field: ProblemField) -> FieldDescription:
        return cls(name=field.name, plural=field.plural, schema=field.schema, description=field.description)


class Interface(BaseModel):
    """The fields that a model takes, and those that it gives; the first of these is the answer itself."""

    input: FieldDescription
    options: list[FieldDescription] = Field(description="What a request can hold besides the input")
    outputs: list[FieldDescription]


class ModelSummary(BaseModel):
    """A model that is served: all that is needed to ask it."""

    name: str
    version: str
    versions: list[str] = Field(description="All versions that are served; `?version=` asks for one")
    interface: Interface
    example: dict[str, Any] | None = Field(description="A request's fields, and those of its answer")
    n_best: int = Field(description="Most alternatives that `?n_best=` gives; 0 if it gives one answer only")

    @classmethod
    def of(cls, model: Model, versions: Iterable[int]) -> Self:
        return cls.model_validate(cls._data(model, versions))

    @classmethod
    def _data(cls, model: Model, versions: Iterable[int]) -> dict[str, Any]:
        problem = model.problem
        examples = _examples(model, 1)
        return {
            "name": model.manifest.name,
            "version": model.manifest.version,
            "versions": [str(version) for version in sorted(versions)],
            "interface": Interface(
                input=FieldDescription.of(problem.input),
                options=[FieldDescription.of(each) for each in problem.options],
                outputs=[FieldDescription.of(each) for each in problem.outputs],
            ),
            "example": examples[0] if examples else None,
            "n_best": 0 if model.search is None else MOST_ALTERNATIVES,
        }


class ModelDescription(ModelSummary):
    """A model that is served: what it accepts, what it is, and how well it was found to do."""

    problem: dict[str, Any] = Field(description="The problem that it was trained on")
    limits: dict[str, Any] = Field(description="What it accepts, as JSON Schema")
    vocabularies: dict[str, Any] = Field(description="Every symbol that it reads and writes, in the order of their ids")
    lengths: dict[str, int] = Field(description="Most symbols that it reads and writes")
    network: NetworkDescription
    evaluation: dict[str, Any] = Field(
        description="A proof over all requests, or error rates on sources that were never trained on; `sentence` says"
        " it in words"
    )
    agreement: dict[str, Any] = Field(description="How closely its ONNX graphs agree with Keras")

    @classmethod
    def _data(cls, model: Model, versions: Iterable[int]) -> dict[str, Any]:
        limits = {"limits": model.problem.input.schema}
        return model.manifest.as_data() | super()._data(model, versions) | limits


class FileDescription(BaseModel):
    """A file of a bundle."""

    size: int = Field(description="Bytes")
    sha256: str


class ModelDetails(ModelDescription):
    """A model that is served, with the requests that it must always answer alike, and the files of its bundle."""

    examples: list[dict[str, Any]] = Field(description="Requests' fields, each with those of its answer")
    files: dict[str, FileDescription] = Field(description="By their paths; those in report/ are served")

    @classmethod
    def _data(cls, model: Model, versions: Iterable[int]) -> dict[str, Any]:
        return super()._data(model, versions) | {"examples": _examples(model)}


def _examples(model: Model, most: int | None = None) -> list[dict[str, Any]]:
    """What a model is known to answer, as its answers have it."""
    manifest = replace(model.manifest, golden=model.manifest.golden[:most])
    outputs = [output.name for output in model.problem.outputs]
    return [
        {
            **model.problem.request(source),
            **dict(zip(outputs, found.values, strict=True)),
            "confidence": found.confidence,
        }
        for source, found in replace(model, manifest=manifest).examples
    ]


class ModelList(BaseModel):
    models: list[ModelDescription]


class ModelSummaries(BaseModel):
    models: list[ModelSummary]


class HealthStatus(BaseModel):
    status: str
