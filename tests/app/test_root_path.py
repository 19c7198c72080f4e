"""Behind a proxy that serves the API under a prefix, whether the proxy takes the prefix off or not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import fakes
import pytest
from client import Client, client_of_fakes
from starlette.types import Receive, Scope, Send

from app.http.middleware import take_off
from app.main import create_app
from app.settings import Settings, WrongSetting, load

PREFIX = "/svc"
KEY = {"X-API-Key": "open sesame"}


@pytest.fixture
def locked(tmp_path: Path) -> Client:
    file = tmp_path / "keys"
    file.write_text(f"ci:{hashlib.sha256(b'open sesame').hexdigest()}\n")
    return client_of_fakes(root_path=PREFIX, api_keys_file=file)


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of_fakes(root_path=PREFIX)


BOTH = pytest.mark.parametrize("prefix", ["", PREFIX], ids=["taken off", "left on"])


@BOTH
def test_every_route_is_found(client: Client, prefix: str) -> None:
    for path in ("/add", "/models/addition/predict"):
        assert client.post(f"{prefix}{path}", json={"expression": "10+6"}).json()["sum"] == 16
    for path in ("/models", "/models/addition", "/health/live", "/v2", "/v2/models/addition", "/metrics", "/docs"):
        assert client.get(f"{prefix}{path}").status_code == 200


@BOTH
def test_errors_are_those_of_the_route(client: Client, prefix: str) -> None:
    assert list(client.get(f"{prefix}/v2/nothing").json()) == ["error"]
    assert client.get(f"{prefix}/v2/nothing").json()["error"].startswith("There is no route /v2/nothing")
    assert client.get(f"{prefix}/nothing").headers["content-type"] == "application/problem+json"
    answer = client.post(f"{prefix}/v2/models/addition/infer", json={})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@BOTH
def test_requests_are_counted_by_the_route_as_it_is_declared(prefix: str) -> None:
    client = client_of_fakes(root_path=PREFIX)
    client.post(f"{prefix}/add", json={"expression": "10+6"})
    client.get(f"{prefix}/models")
    shown = client.get("/metrics").text
    for route in ("/add", "/models"):
        assert f'service_requests_total{{route="{route}",status="200"}} 1.0' in shown


@BOTH
def test_docs_page_loads_all_that_it_names(client: Client, prefix: str) -> None:
    """A browser sees the prefix in either case, and resolves links against the page's address."""
    page = client.get(f"{prefix}/docs").text
    links = re.findall(r"""(?:src|href)="([^"]*)"|url: '([^']*)'""", page)
    assert len(links) == 4
    for link in ("".join(each) for each in links):
        address = urljoin(f"http://proxy{PREFIX}/docs", link).removeprefix("http://proxy")
        assert address.startswith(f"{PREFIX}/")
        assert client.get(address.removeprefix(PREFIX) if prefix == "" else address).status_code == 200


@pytest.mark.parametrize("path", ["/", PREFIX, f"{PREFIX}/"])
def test_page_at_the_address_leads_on(client: Client, path: str) -> None:
    page = client.get(path).text
    links = [link for link in re.findall(r'(?:href|src)="([^"]*)"', page) if not link.startswith("#")]
    assert {f"{PREFIX}/docs", f"{PREFIX}/playground/app.js", f"{PREFIX}/playground/style.css"} < {*links}
    for link in links:
        assert client.get(link).status_code in (200, 503)


def test_document_names_the_prefix(client: Client) -> None:
    assert client.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert "servers" not in client_of_fakes().get("/openapi.json").json()


@BOTH
def test_health_and_the_page_ask_for_no_key_and_all_else_does(locked: Client, prefix: str) -> None:
    for path in ("/health/live", "/v2/health/live", "/", "/playground/app.js"):
        assert locked.get(f"{prefix}{path}").status_code == 200
    for path in ("/models", "/v2", "/metrics", "/docs", "/openapi.json", "/nothing"):
        assert locked.get(f"{prefix}{path}").status_code == 401
        assert locked.get(f"{prefix}{path}", headers=KEY).status_code in (200, 404)
    assert locked.post(f"{prefix}/add", json={"expression": "1+1"}).status_code == 401
    assert locked.post(f"{prefix}/add", json={"expression": "1+1"}, headers=KEY).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}{PREFIX}/health/live",
        f"{PREFIX}/models{PREFIX}/health/live",
        f"/health/live{PREFIX}/models",
        f"{PREFIX}health/live",
        f"{PREFIX}//health/live",
        f"/%2f{PREFIX[1:]}/health/live",
        f"{PREFIX}/%2e/health/live",
        f"{PREFIX}/%2e%2e/health/live/../../models",
        "/svcx/health/live",
        "/SVC/health/live",
        f"{PREFIX}%00/health/live",
    ],
)
def test_prefix_gets_nobody_past_the_keys(locked: Client, path: str) -> None:
    assert locked.get(path).status_code == 401


@pytest.mark.parametrize("declared", ["/health", "/v2", "/v2/health", "/add", "/docs", "/models", "/playground"])
def test_prefix_that_is_a_route_is_refused(declared: str) -> None:
    """It could not be told whether it is still there, or was taken off before the route."""
    with pytest.raises(WrongSetting, match=f"APP_ROOT_PATH is {declared}, which is a route of the service itself"):
        create_app(Settings(root_path=declared), fakes.models())


@pytest.mark.parametrize("given", ["/a/b", "/a/b/", "/v2x", "/healthy"])
def test_other_prefixes_are_taken(given: str) -> None:
    client = client_of_fakes(root_path=given)
    for prefix in ("", given.rstrip("/")):
        assert client.get(f"{prefix}/health/live").json() == {"status": "live"}
        assert client.get(f"{prefix}/v2/health/live").json() == {"live": True}
        assert client.post(f"{prefix}/add", json={"expression": "1+1"}).json()["sum"] == 2


@pytest.mark.parametrize("given", ["svc", "http://host/svc", "/svc?", "/s v c", "//", "/svc//add", "/\u00e9"])
def test_what_is_no_prefix_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("APP_ROOT_PATH", given)
    with pytest.raises(WrongSetting, match=r"APP_ROOT_PATH is .*: a root path starts with a slash .*, such as /svc"):
        load()


def test_prefix_of_the_server_is_taken_off_as_well() -> None:
    """Such as that of Ray Serve, which leaves it in the path and names it."""
    app = create_app(Settings(), fakes.models())

    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": "/api", "path": "/api" + scope["path"]}, receive, send)

    behind = Client(prefixed)
    assert behind.post("/add", json={"expression": "10+6"}).json()["sum"] == 16
    assert list(behind.get("/v2/nothing").json()) == ["error"]
    assert behind.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/svc/add", "/add"),
        ("/add", "/add"),
        ("/svc", "/"),
        ("/svc/", "/"),
        ("/svcadd", "/svcadd"),
        ("/svc/svc/add", "/svc/add"),
    ],
)
def test_what_is_taken_off(path: str, expected: str) -> None:
    scope: dict[str, Any] = {"path": path, "root_path": PREFIX}
    take_off(PREFIX, scope)
    assert scope == {"path": expected, "root_path": ""}
