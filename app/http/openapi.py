"""The OpenAPI document and the page that shows it. Knows no models.

The page is Swagger UI, served from the installed package `fastapi-offline` and not from a network far away, so that
it works where there is none.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from importlib import resources
from threading import Lock
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http import problem_details
from app.http.guards import HEALTH
from app.http.lane import MOST_DIGITS
from app.http.middleware import SANE
from app.http.problem_details import MEANINGS, Problem

SCHEMAS = "#/components/schemas/{model}"
TIMEOUT_DESCRIBED = {
    "name": "X-Timeout-Ms",
    "in": "header",
    "description": "Milliseconds that the request may take; it can only shorten what the service grants",
    "schema": {"type": "integer", "minimum": 1, "maximum": 10**MOST_DIGITS - 1, "examples": [5_000]},
}
PLACES = {"name": "The model's name", "number": "The number of one of the model's versions"}
"""What stands in a path for a model, and for its version."""

FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
"""How FastAPI describes the errors that this service never gives."""


POLICY = (
    "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: its assets, and the one script in it, which is known by its hash."""

KEPT = "private, max-age=86400"
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
        parts = [*self._documents(served), problem]
        for part in parts:
            document["paths"] |= part.paths
            document["components"]["schemas"] |= part.schemas
        for part in parts:
            _add_examples(document, part.places)
        if self._asks_for_keys:
            _add_refusal(document, 401)
            _add_keys(document)
        _add_errors_of_connections(document)
        _add_request_id(document)
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


def _add_examples(document: dict[str, Any], places: Mapping[str, list[str]]) -> None:
    """Show what a path may name, for every operation."""
    for _, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and places.get(parameter["name"]):
                parameter["schema"]["examples"] = places[parameter["name"]]


def _drop_fastapi_errors(document: dict[str, Any]) -> None:
    for name in FASTAPI_ERRORS:
        document["components"]["schemas"].pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            if FASTAPI_ERRORS[0] in str(operation["responses"].get("422")):
                del operation["responses"]["422"]


def _guarded(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations that are not open to everybody."""
    paths = document["paths"].items()
    return [operation for path, operations in paths if path not in HEALTH for operation in operations.values()]


def _add_refusal(document: dict[str, Any], status: int) -> None:
    """Have every operation that is guarded give this error, in the form of its others."""
    for operation in _guarded(document):
        answers = operation["responses"]
        refusal = {
            "description": MEANINGS[status],
            "content": answers["500"]["content"],
            "headers": problem_details.HEADERS[status],
        }
        operation["responses"] = {str(status): refusal} | answers


def _add_keys(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = KEY_SCHEMES
    for operation in _guarded(document):
        operation["security"] = [{name: []} for name in KEY_SCHEMES]


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each with its path."""
    return [(path, operation) for path, operations in document["paths"].items() for operation in operations.values()]


def _add_errors_of_connections(document: dict[str, Any]) -> None:
    """Have every operation give what a connection answers by itself.

    It gives a problem where it cannot tell yet which route is meant, so under the inference protocol either may come.
    """
    for path, operation in _operations(document):
        answers = operation["responses"]
        for status in (400, 408, 431):
            described = answers.setdefault(str(status), {"description": MEANINGS[status], "content": {}})
            described["content"] |= problem_details.problem_content(status)
            if problem_details.is_inference_protocol(path) and status != 431:
                described["content"] |= problem_details.protocol_content(status)
        operation["responses"] = dict(sorted(answers.items()))


def _add_request_id(document: dict[str, Any]) -> None:
    """Have every operation take an id, and every answer carry one."""
    document["components"]["headers"] = {REQUEST_ID: REQUEST_ID_ANSWERED}
    document["components"]["parameters"] = {REQUEST_ID: REQUEST_ID_GIVEN}
    for _, operation in _operations(document):
        parameters = operation.setdefault("parameters", [])
        parameters.append({"$ref": f"#/components/parameters/{REQUEST_ID}"})
        for answer in operation["responses"].values():
            carried = {REQUEST_ID: {"$ref": f"#/components/headers/{REQUEST_ID}"}}
            answer["headers"] = answer.get("headers", {}) | carried


class _Assets(StaticFiles):
    """Files that browsers may keep for a day."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = KEPT
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            return await super().get_response(path, scope)
        except OSError as error:
            raise problem_details.out_of_files(error) from None


def home(title: str, root_path: str, links: Sequence[str]) -> Route:
    """The page at the service's address, which leads to others. Its links hold behind a proxy's prefix as well."""
    root = f"{root_path}/" if root_path else ""  # the page may be asked for by the prefix alone
    items = "".join(f'<li><a href="{root}{link}">{link}</a></li>' for link in links)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><ul>{items}</ul>'
    )

    async def show(_: Request) -> HTMLResponse:
        return HTMLResponse(page)

    return Route("/", show)


def routes(title: str) -> list[BaseRoute]:
    """The page and what it loads, by links that hold behind a proxy's prefix as well."""
    assets = resources.files("fastapi_offline") / "static"

    async def page(_: Request) -> HTMLResponse:
        response = get_swagger_ui_html(
            title=title,
            openapi_url="openapi.json",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon.png",
        )
        response.headers["Content-Security-Policy"] = policy(bytes(response.body))
        return response

    return [Route("/docs", page), Mount("/docs/assets", _Assets(directory=str(assets)))]


def policy(page: bytes) -> str:
    """The Content-Security-Policy of a page with one script in it."""
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    return POLICY.format(digest=base64.b64encode(hashlib.sha256(script).digest()).decode("ascii"))
