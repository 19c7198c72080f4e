"""The documentation, for people: Swagger UI. The home page is `playground`.

It is served from the installed package `fastapi-offline`, so that it works on a closed
network. All links hold behind a proxy's prefix as well.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http import problem_details

POLICY = (
    "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the documentation may load: its assets, and the one script in it, which is known by its hash."""

KEPT = "private, max-age=86400"


def docs(title: str) -> list[BaseRoute]:
    """The documentation, and the assets that it loads."""
    page = get_swagger_ui_html(
        title=title,
        openapi_url="openapi.json",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon.png",
    ).body
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    policy = POLICY.format(digest=base64.b64encode(hashlib.sha256(script).digest()).decode("ascii"))

    async def show(_: Request) -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    assets = resources.files("fastapi_offline") / "static"
    return [Route("/docs", show), Mount("/docs/assets", _Assets(directory=str(assets)))]


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
