"""Every type of problem has a page, and the page's example is what the service truly answers."""

from __future__ import annotations

import asyncio
import html
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import capitals
import httpx
import pytest
from client import Client, async_client, client_of_fakes
from server import serving
from test_house import DOCS

from app.http import problem_pages
from app.http.headers import PAGE
from app.http.playground import POLICY
from app.http.problem_types import ProblemType
from app.main import create_app
from app.operations.lifecycle import Lifecycle
from app.serving.models import Model
from app.settings import Settings
from seq2seq.decoding import Autoregressive, Decoded
from seq2seq.vocabulary import IdArray

PREDICT = "/models/capitals/predict"
RIGHT = {"source": "ab"}
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n".encode("ascii")

TYPES = pytest.mark.parametrize("type_", ProblemType, ids=lambda type_: type_.slug)
PREFIXES = pytest.mark.parametrize("prefix", ["", "/svc"], ids=["", "prefix"])


class Failing(Autoregressive):
    def greedy(self, sources: IdArray) -> Decoded:  # noqa: ARG002
        raise RuntimeError("of the test")


class Service:
    """The service with the model of the examples, whose answers are asked for in this process or over a socket."""

    def __init__(self, prefix: str, folder: Path):
        self._prefix = prefix
        self.folder = folder

    def app(self, model: Model | None = None, lifecycle: Lifecycle | None = None, **settings: Any) -> Any:
        settings |= {"root_path": self._prefix, "models_dir": self.folder}
        return create_app(Settings(**settings), {"capitals": model or capitals.model()}, lifecycle=lifecycle)

    async def ask(self, method: str, path: str, app: Any = None, **options: Any) -> httpx.Response:
        async with async_client(app or self.app()) as client:
            return await client.request(method, path, **options)

    def say(self, said: bytes, **options: Any) -> httpx.Response:
        """What is answered over a socket to these bytes."""
        with serving(self.app(), prefix=self._prefix, **options) as address, socket.create_connection(address) as sent:
            sent.sendall(said)
            answer = HTTPResponse(sent)
            answer.begin()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


async def wrong_host(service: Service) -> httpx.Response:
    return await service.ask("GET", "/models", service.app(allowed_hosts=["a.example"]))


async def unknown_key(service: Service) -> httpx.Response:
    (service.folder / "keys").write_text("")
    app = service.app(api_keys_file=service.folder / "keys")
    return await service.ask("GET", "/models", app, headers={"X-API-Key": "none"})


async def full_queue(service: Service) -> httpx.Response:
    app = service.app(max_queue=1)
    _, last = await asyncio.gather(*(service.ask("POST", PREDICT, app, json=RIGHT) for _ in range(2)))
    return last


async def late_request(service: Service) -> httpx.Response:
    return await asyncio.to_thread(
        service.say, HEAD + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{", read_timeout_s=0.1
    )


async def many_headers(service: Service) -> httpx.Response:
    return await asyncio.to_thread(service.say, HEAD + b"a: b\r\n" * 101)


async def failing_model(service: Service) -> httpx.Response:
    network = Failing(**{name: getattr(capitals.NETWORK, name) for name in capitals.NETWORK.__dataclass_fields__})
    return await service.ask("POST", PREDICT, service.app(replace(capitals.model(), network=network)), json=RIGHT)


async def stopping(service: Service) -> httpx.Response:
    lifecycle = Lifecycle()
    lifecycle.drain()
    return await service.ask("GET", "/health/ready", service.app(lifecycle=lifecycle))


async def unloaded_model(service: Service) -> httpx.Response:
    app = service.app(model_control=True)
    assert (await service.ask("POST", "/v2/repository/models/capitals/unload", app)).status_code == 200
    return await service.ask("POST", PREDICT, app, json=RIGHT)


async def many_bodies(service: Service) -> httpx.Response:
    """As many bodies as the service holds are begun; one more finds no room."""
    piece, begun, done = b" " * 2**20, asyncio.Semaphore(0), asyncio.Event()

    async def body(content: bytes) -> AsyncIterator[bytes]:
        yield content
        begun.release()
        await done.wait()

    app, headers = service.app(), {"Content-Type": "application/json"}
    unfinished = [
        asyncio.create_task(service.ask("POST", f"{PREDICT}/batch", app, content=body(piece), headers=headers))
        for _ in range(32)
    ]
    for _ in unfinished:
        await begun.acquire()
    try:
        return await service.ask("POST", PREDICT, app, content=body(b" "), headers=headers)
    finally:
        done.set()
        await asyncio.gather(*unfinished)


def asking(method: str, path: str, **options: Any) -> Callable[[Service], Awaitable[httpx.Response]]:
    return lambda service: service.ask(method, path, **options)


MET: dict[ProblemType, Callable[[Service], Awaitable[httpx.Response]]] = {
    ProblemType.BAD_REQUEST: asking("POST", f"{PREDICT}?version=1&version=1", json=RIGHT),
    ProblemType.NOT_SUPPORTED: lambda service: service.ask(
        "POST", f"{PREDICT}?n_best=2", service.app(replace(capitals.model(), search=None)), json=RIGHT
    ),
    ProblemType.HOST_NOT_ALLOWED: wrong_host,
    ProblemType.UNAUTHORIZED: unknown_key,
    ProblemType.FORBIDDEN: asking("POST", "/v2/repository/models/capitals/load"),
    ProblemType.UNKNOWN_ROUTE: asking("GET", "/modles"),
    ProblemType.UNKNOWN_MODEL: asking("GET", "/models/capitols"),
    ProblemType.WRONG_METHOD: asking("POST", "/models"),
    ProblemType.REQUEST_TIMEOUT: late_request,
    ProblemType.BODY_TOO_LARGE: asking("POST", PREDICT, json={"source": "a" * 2**16}),
    ProblemType.UNSUPPORTED_MEDIA_TYPE: asking("POST", PREDICT, content=json.dumps(RIGHT)),
    ProblemType.INVALID_BODY: asking("POST", PREDICT, json={"source": "abd"}),
    ProblemType.QUEUE_FULL: full_queue,
    ProblemType.HEADERS_TOO_LARGE: many_headers,
    ProblemType.INTERNAL_ERROR: failing_model,
    ProblemType.NOT_READY: stopping,
    ProblemType.MODEL_UNAVAILABLE: unloaded_model,
    ProblemType.OVERLOADED: many_bodies,
    ProblemType.DEADLINE_PASSED: lambda service: service.ask("POST", PREDICT, service.app(deadline_s=1e-9), json=RIGHT),
}
"""Requests that meet each type."""


@PREFIXES
@TYPES
async def test_the_example_is_what_is_answered(tmp_path: Path, type_: ProblemType, prefix: str) -> None:
    service = Service(prefix, tmp_path)
    answer = await MET[type_](service)
    page = (await service.ask("GET", f"{prefix}/problems/{type_.slug}")).text
    (shown,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    example, answered = json.loads(html.unescape(shown)), answer.json()
    if "request_id" in answered:
        assert answered["type"] == f"{prefix}/problems/{type_.slug}"
        example["request_id"] = answered["request_id"]  # another one each time
    assert (answered, answer.status_code) == (example, type_.status)
    assert f"Status {answer.status_code}, <code>{answer.headers['content-type']}</code>" in page


@PREFIXES
def test_the_list_leads_to_each(prefix: str) -> None:
    client = client_of_fakes(root_path=prefix)
    links = re.findall(r'<th scope="row"><a href="([^"]*)">', client.get("/problems").text)
    assert links == [f"{prefix}/problems/{each.slug}" for each in ProblemType]
    for link in links:
        page = client.get(link).text
        for address in re.findall(r'(?:href|src)="([^"]*)"', page):
            assert address.startswith(f"{prefix}/")
            assert client.get(address).status_code == 200


@pytest.mark.parametrize("path", sorted(problem_pages.paths()))
def test_pages_need_no_key_and_may_load_the_services_own_files_only(tmp_path: Path, path: str) -> None:
    (tmp_path / "keys").write_text("")
    client = client_of_fakes(api_keys_file=tmp_path / "keys", docs=False)
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers.get_list("content-security-policy") == [POLICY]
    assert {name for name, _ in PAGE} <= {name.lower() for name, _ in answer.headers.raw}
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:|https?:", answer.text)
    again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.request("HEAD", path).status_code == 200


@pytest.mark.parametrize(
    "slug", ["none", "Queue-Full", "<script>alert(1)</script>", "%3Cscript%3E", "..%2fmodels", "a/b", ""]
)
def test_there_are_no_others(slug: str) -> None:
    answer = client_of_fakes().get(f"/problems/{slug}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "/problems/unknown-route"


@pytest.mark.parametrize("query", ["?<script>", "?type=%3Cscript%3Ealert(1)%3C/script%3E"])
def test_pages_repeat_nothing_that_a_client_sends(query: str) -> None:
    client = client_of_fakes()
    headers = {"Host": "<script>", "X-Request-ID": "script", "Referer": "<script>", "X-Forwarded-Prefix": "/<script>"}
    for path in problem_pages.paths():
        assert client.get(path + query, headers=headers).content == client.get(path).content


def test_markup_in_a_text_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("meaning", "to_do", "detail", "title", "path"):
        monkeypatch.setattr(ProblemType.FORBIDDEN, name, f"`</pre><script>{name}`")
    client = Client(create_app(Settings(), {}))
    for path in ("/problems", "/problems/forbidden"):
        page = client.get(path).text
        assert "&lt;script&gt;" in page
        assert "<script" not in page


def test_the_page_on_http_lists_each() -> None:
    section = (DOCS / "http.md").read_text(encoding="utf-8").partition("\n## Errors\n")[2].partition("\n## ")[0]
    rows = [f"| `{each.slug}` | {each.status} | {each.meaning} | {each.to_do} |" for each in ProblemType]
    assert [line for line in section.splitlines() if re.match(r"\| `[a-z-]+` \| \d", line)] == rows
