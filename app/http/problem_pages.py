"""Pages for people about problems: `/problems` lists their types, `/problems/{slug}` explains one.

They are made at the start, look like the playground, and load its styles only. Knows no models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.http import problem_details
from app.http.playground import File
from app.http.problem_types import PATH, ProblemType

PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <title>{title}</title>
    <link rel="icon" type="image/svg+xml" href="{root}/playground/icon.svg" />
    <link rel="stylesheet" href="{root}/playground/style.css" />
  </head>
  <body>
    <header class="top">
      <p class="mark">Sequences <i>to</i> service</p>
      <nav aria-label="Pages"><a href="{root}/">Playground</a> <a href="{root}{path}">Problems</a></nav>
    </header>
    <main class="card">
      <div class="intro">
        <h1>{title}</h1>
        <p class="lede">{lede}</p>
      </div>
      {content}
    </main>
  </body>
</html>
"""
LEDE = "The service answers a request with one of these if it cannot do what is asked. `type` in the answer leads here."


def paths() -> frozenset[str]:
    """Every path that is answered here. None of them tells anything of models, so nobody needs a key for them."""
    return frozenset({PATH, *(f"{PATH}/{each.slug}" for each in ProblemType)})


def routes(root_path: str) -> Iterator[BaseRoute]:
    """The pages, whose links hold behind the prefix `root_path`."""
    pages = {each.slug: _page(root_path, each.title, each.meaning, _explained(each, root_path)) for each in ProblemType}
    index = _page(root_path, "Problems", LEDE, _listed(root_path))

    async def show(request: Request) -> Response:
        page = pages.get(request.path_params["slug"])
        if page is None:
            raise HTTPException(404)
        return page.answer(request)

    async def show_all(request: Request) -> Response:
        return index.answer(request)

    yield Route(f"{PATH}/{{slug}}", show)
    yield Route(PATH, show_all)


def _page(root_path: str, title: str, lede: str, content: str) -> File:
    page = PAGE.format(root=escape(root_path), path=PATH, title=escape(title), lede=_marked_up(lede), content=content)
    return File.of("page.html", page.encode("utf-8"))


def _explained(type_: ProblemType, root_path: str) -> str:
    shown, media_type = problem_details.example(type_, type_.path, root_path)
    return (
        f"<h2>What to do</h2>\n<p>{_marked_up(type_.to_do)}</p>\n"
        f"<h2>An example</h2>\n<p>Status {type_.status}, <code>{escape(media_type)}</code>:</p>\n"
        f"<pre>{escape(json.dumps(shown, indent=2))}</pre>"
    )


def _listed(root_path: str) -> str:
    rows = "\n".join(
        f'<tr><th scope="row"><a href="{escape(root_path)}{PATH}/{each.slug}">{escape(each.title)}</a></th>'
        f"<td>{each.status}. {_marked_up(each.meaning)}</td></tr>"
        for each in ProblemType
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _marked_up(text: str) -> str:
    """Text as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
