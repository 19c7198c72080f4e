"""The OpenAPI document and the page that shows it. Knows nothing of models.

The page is Swagger UI, served from the installed package `fastapi-offline` and not from a network far away, so that
it works where there is none.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app.errors import Problem

PAGE = "/docs"
ASSETS = "/docs/assets"
SCHEMAS = "#/components/schemas/{model}"
FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
"""How FastAPI describes the errors that this service never gives."""


class DocumentedAPI(FastAPI):
    """FastAPI whose OpenAPI document holds this service's errors instead of FastAPI's own."""

    def openapi(self) -> dict[str, Any]:
        is_made = self.openapi_schema is not None
        document = super().openapi()
        if not is_made:
            _drop_fastapi_errors(document)
            _add_problem(document)
        return document


def _add_problem(document: dict[str, Any]) -> None:
    problem = Problem.model_json_schema(ref_template=SCHEMAS, mode="serialization")
    document["components"]["schemas"] |= {**problem.pop("$defs"), "Problem": problem}


def _drop_fastapi_errors(document: dict[str, Any]) -> None:
    for name in FASTAPI_ERRORS:
        document["components"]["schemas"].pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            if FASTAPI_ERRORS[0] in str(operation["responses"].get("422")):
                del operation["responses"]["422"]


def routes(title: str) -> list[BaseRoute]:
    """The page and what it loads."""
    assets = resources.files("fastapi_offline") / "static"

    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            title=title,
            openapi_url=f"{root}/openapi.json",
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
        )

    return [Route(PAGE, page, methods=["GET"]), Mount(ASSETS, StaticFiles(directory=str(assets)))]
