"""What crosses HTTP: the base of every request, and every answer.

A request's fields come from the interface of the problem that is served.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.serving.models import MOST_ALTERNATIVES, Model
from app.text import clipped
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
    n_best: int = Field(description="Most alternatives that `?n_best=` gives; 0 if it gives one answer only")
    evaluation: dict[str, Any] = Field(
        description="A proof over all requests, or error rates on sources that were never trained on; `sentence` says"
        " it in words"
    )
    agreement: dict[str, Any] = Field(description="How closely its ONNX graphs agree with Keras")

    @classmethod
    def of(cls, model: Model, versions: Iterable[int]) -> ModelDescription:
        return cls.model_validate(
            {
                **model.manifest.as_data(),
                "versions": [str(version) for version in sorted(versions)],
                "limits": model.problem.input.schema,
                "n_best": 0 if model.search is None else MOST_ALTERNATIVES,
            }
        )


class ModelList(BaseModel):
    models: list[ModelDescription]


class HealthStatus(BaseModel):
    status: str
