"""The OpenAPI document: what FastAPI writes, the lane's routes, and what all routes share. Knows no models."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute

from app.http import problem_details
from app.http.guards import HEALTH
from app.http.lane import MOST_DIGITS
from app.http.middleware import SANE
from app.http.problem_details import Problem
from app.http.problem_types import ProblemType
from app.http.schemas import PLACES

SCHEMAS = "#/components/schemas/{model}"
TIMEOUT_DESCRIBED = {
    "name": "X-Timeout-Ms",
    "in": "header",
    "description": "Milliseconds that the request may take; it can only shorten what the service grants",
    "schema": {"type": "integer", "minimum": 1, "maximum": 10**MOST_DIGITS - 1, "examples": [5_000]},
}
FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
"""FastAPI's own description of invalid requests. No route gives that answer."""

OF_CONNECTIONS = (
    ProblemType.BAD_REQUEST,
    ProblemType.HOST_NOT_ALLOWED,
    ProblemType.REQUEST_TIMEOUT,
    ProblemType.HEADERS_TOO_LARGE,
)
"""What a connection refuses by itself, whatever the route."""

KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

REQUEST_ID = "X-Request-ID"
REQUEST_ID_GIVEN = {
    "name": REQUEST_ID,
    "in": "header",
    "description": "An id for the request; one that is no id, or too long, is replaced",
    "schema": {"type": "string", "examples": ["order-66"]},
}
REQUEST_ID_ANSWERED = {
    "description": "The request's id, as it was given or made",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{SANE.pattern.decode('ascii')}$"},
}


@dataclass
class Document:
    """A part of the OpenAPI document that FastAPI does not write: paths, schemas, examples of what a path names."""

    paths: dict[str, Any] = field(default_factory=dict)
    schemas: dict[str, Any] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add_post(self, path: str, name: str, description: str, described: Mapping[str, Any]) -> None:
        """Add a route that takes POST, and what its path says of a model."""
        places = [_place(each) for each in re.findall(r"{(\w+)}", path)]
        parameters = [*places, *described["parameters"]]
        responses = {str(status): each for status, each in described["responses"].items()}
        operation = {"operationId": name, "summary": summary_of(description), "description": description}
        self.paths[path] = {"post": {**operation, **described, "parameters": parameters, "responses": responses}}

    def add_schemas(self, models: Mapping[str, Mapping[str, Any]]) -> None:
        """Add the JSON Schemas of each model, by what they are of."""
        for name, schemas in models.items():
            self.schemas |= {f"{name}_{what}": schema for what, schema in schemas.items()}

    def add_schema(self, model: type[Any], mode: JsonSchemaMode = "validation") -> None:
        """Add a model and all that it refers to, by their names."""
        schema = TypeAdapter(model).json_schema(ref_template=SCHEMAS, mode=mode)
        self.schemas |= {**schema.pop("$defs", {}), model.__name__: schema}


def ref(name: str) -> dict[str, str]:
    """A reference to a schema of the document."""
    return {"$ref": SCHEMAS.format(model=name)}


def summary_of(description: str) -> str:
    """The first thing that a description says."""
    return description.partition(";")[0].partition(". ")[0].rstrip(".")


def _place(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": PLACES[name], "schema": {"type": "string"}}


class DocumentedAPI(FastAPI):
    """FastAPI whose OpenAPI document has this service's errors instead of FastAPI's own, and what all routes share.

    served     tells what is served
    documents  writes what FastAPI does not know of it; called anew when something else is served than before
    """

    def __init__(
        self,
        documents: Callable[[Any], Iterable[Document]],
        *,
        served: Callable[[], Any],
        asks_for_keys: bool = False,
        **options: Any,
    ):
        self._documents = documents
        self._served = served
        self._asks_for_keys = asks_for_keys
        self._described: Any = None
        self._writing = Lock()
        super().__init__(**options)

    def setup(self) -> None:
        if self.openapi_url:
            self.add_route(self.openapi_url, self._show, include_in_schema=False)

    async def _show(self, _: Request) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(self._describe, self._served()))  # it takes 0.2 s to write

    def openapi(self) -> dict[str, Any]:
        return self._describe(self._served())

    def _describe(self, served: Any) -> dict[str, Any]:
        with self._writing:
            if self.openapi_schema is None or self._described != served:
                self.openapi_schema, self._described = self._write(served), served
            return self.openapi_schema

    def _write(self, served: Any) -> dict[str, Any]:
        document = get_openapi(
            title=self.title,
            version=self.version,
            description=self.description,
            routes=[_without_head(route) for route in self.routes],
            servers=self.servers,
        )
        _drop_fastapi_errors(document)
        problem = Document()
        problem.add_schema(Problem, "serialization")
        places: dict[str, list[str]] = {}
        for part in [*self._documents(served), problem]:
            document["paths"] |= part.paths
            document["components"]["schemas"] |= part.schemas
            places |= part.places
        document["components"] |= {
            "headers": {REQUEST_ID: REQUEST_ID_ANSWERED},
            "parameters": {REQUEST_ID: REQUEST_ID_GIVEN},
        }
        if self._asks_for_keys:
            document["components"]["securitySchemes"] = KEY_SCHEMES
        for path, operation in _operations(document):
            _add_examples(operation, places)
            if self._asks_for_keys and path not in HEALTH:
                _add_keys(path, operation)
            _add_errors_of_connections(path, operation)
            _add_request_id(operation)
        return document


def _without_head(route: BaseRoute) -> BaseRoute:
    """A copy of a route for the document, which need not say that every GET route answers HEAD."""
    if isinstance(route, APIRoute):
        route = copy(route)
        route.methods = (route.methods or set()) - {"HEAD"}
    return route


def finish(routes: Iterable[BaseRoute]) -> None:
    """Have every GET route answer HEAD, and every operation be called as its function is, for clients made from it."""
    for route in routes:
        if isinstance(route, APIRoute):
            route.unique_id = route.name
            route.summary = summary_of(route.description)
            if route.methods and "GET" in route.methods:
                route.methods.add("HEAD")


def _drop_fastapi_errors(document: dict[str, Any]) -> None:
    for name in FASTAPI_ERRORS:
        document["components"]["schemas"].pop(name, None)
    for _, operation in _operations(document):
        operation["responses"].pop("422", None)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each with its path."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _add_examples(operation: dict[str, Any], places: Mapping[str, list[str]]) -> None:
    """Show what the path may name."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and places.get(parameter["name"]):
            parameter["schema"]["examples"] = places[parameter["name"]]


def _add_keys(path: str, operation: dict[str, Any]) -> None:
    """Have an operation ask for a key, and refuse a request without one."""
    operation["security"] = [{name: []} for name in KEY_SCHEMES]
    problem_details.describe(
        operation["responses"], ProblemType.UNAUTHORIZED, is_protocol=problem_details.is_inference_protocol(path)
    )


def _add_errors_of_connections(path: str, operation: dict[str, Any]) -> None:
    """Have an operation give what a connection answers by itself.

    It gives a problem where it cannot tell yet which route is meant, so under the inference protocol either may come.
    """
    answers = operation["responses"]
    for each in OF_CONNECTIONS:
        problem_details.describe(answers, each)
        if problem_details.is_inference_protocol(path) and each is not ProblemType.HEADERS_TOO_LARGE:
            problem_details.describe(answers, each, is_protocol=True)
    operation["responses"] = dict(sorted(answers.items()))


def _add_request_id(operation: dict[str, Any]) -> None:
    """Have an operation take an id, and every answer carry one."""
    operation.setdefault("parameters", []).append({"$ref": f"#/components/parameters/{REQUEST_ID}"})
    carried = {REQUEST_ID: {"$ref": f"#/components/headers/{REQUEST_ID}"}}
    for answer in operation["responses"].values():
        answer["headers"] = answer.get("headers", {}) | carried
