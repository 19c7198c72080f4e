"""The playground: one page and the files that it loads, all from memory.

They lie in `app/playground/` as they are served; nothing builds them. Browsers ask each time whether a file is still
the one that they hold, so a new release is seen at once. Knows no models: the page asks the API, as any client does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

PAGE = "index.html"
PREFIX = "/playground"
"""Where the page's files are."""

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: files of this service, and pictures that it makes itself. It holds no script of its own."""


class File(NamedTuple):
    """A file as it is sent; its tag changes with its content."""

    content: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        suffix = name[name.rindex(".") :]
        return cls(content, MEDIA_TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: Request) -> Response:
        headers = {"ETag": self.tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        known = request.headers.get("if-none-match", "").replace("W/", "").split(",")
        if self.tag in map(str.strip, known):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def names() -> list[str]:
    """The files that the page loads."""
    folder = resources.files("app") / "playground"
    return sorted(each.name for each in folder.iterdir() if each.is_file() and each.name != PAGE)


def paths() -> frozenset[str]:
    """Every path that is answered here. None of them tells anything of models, so nobody needs a key for them."""
    return frozenset({"/", *(f"{PREFIX}/{name}" for name in names())})


def routes(root_path: str, links: Sequence[str]) -> Iterator[BaseRoute]:
    """The page at the service's address, which leads to `links`, and what it loads."""
    folder = resources.files("app") / "playground"
    files = {name: File.of(name, (folder / name).read_bytes()) for name in names()}
    page = _page((folder / PAGE).read_text(encoding="utf-8"), f"{root_path}/" if root_path else "", links)

    async def show(request: Request) -> Response:
        return page.answer(request)

    async def load(request: Request) -> Response:
        file = files.get(request.path_params["file"])
        if file is None:
            raise HTTPException(404)
        return file.answer(request)

    yield Route(f"{PREFIX}/{{file}}", load)
    yield Route("/", show)


def _page(template: str, root: str, links: Sequence[str]) -> File:
    """The page with its links, which hold though it is asked for by a prefix without a slash at the end."""
    items = "\n".join(f'<li><a href="{escape(root + link)}">{escape(link)}</a></li>' for link in links)
    page = template.replace("{root}", escape(root)).replace("<!--links-->", items)
    return File.of(PAGE, page.encode("utf-8"))
