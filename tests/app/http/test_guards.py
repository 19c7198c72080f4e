"""Who is answered: keys, hosts and origins, on every route but health, and not at all where nothing is set."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from pathlib import Path

import fakes
import httpx
import pytest
from client import Client, client_of_fakes
from fastapi import FastAPI
from service import Service, running
from starlette.types import ASGIApp

from app import keys
from app.http import guards, playground, problem_pages
from app.keys import BrokenKeys, KeyFile
from app.main import create_app, make_keys
from app.settings import Settings

KEY, OTHER = (f"{keys.KEY_PREFIX}{letter * 43}" for letter in "ko")
ADD = {"expression": "10+6"}
HEALTH = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
PAGES = {"/", *(f"/playground/{name}" for name in playground.names()), *problem_pages.paths()}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"{keys.line('ci', KEY)}\n{keys.line('web', OTHER)}\n")
    return path


@pytest.fixture
def locked(key_file: Path) -> Client:
    return client_of_fakes(api_keys_file=key_file)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    detail: str = problem["detail"]
    return detail


# Nothing set


@pytest.mark.parametrize("path", ["/add", "/models/addition/predict", "/v2/models/addition/infer"])
def test_guards_stand_before_the_lane_outermost_first(key_file: Path, path: str) -> None:
    """What each refuses, no later one looks at; and without any setting, none of them stands there."""
    settings = Settings(api_keys_file=key_file, allowed_hosts=["a.example"], cors_origins=[ORIGIN])
    assert [len(guards.guards(each, make_keys(each))) for each in (Settings(), settings)] == [0, 3]
    client = Client(create_app(settings, fakes.models()))
    asked = {"host": "a.example", "origin": ORIGIN}
    wrong_host = client.post(path, json={}, headers=asked | {"host": "b.example"})
    assert (wrong_host.status_code, cors(wrong_host)) == (400, set())
    no_key = client.post(path, json={}, headers=asked)
    assert (no_key.status_code, cors(no_key) == set()) == (401, False)
    assert client.request("OPTIONS", path, headers=asked | PREFLIGHT).status_code == 200
    assert client.post(path, json={}, headers=asked | bearer(KEY)).status_code in (400, 422)
    assert client_of_fakes().post(path, json={}).status_code in (400, 422)


# Keys


@pytest.mark.parametrize(
    "headers",
    [
        bearer(KEY),
        bearer(OTHER),
        {"Authorization": f"bearer {KEY}"},
        {"Authorization": f"BEARER   {KEY} "},
        {"X-API-Key": KEY},
        {"X-API-Key": KEY, "Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_key_opens(locked: Client, headers: dict[str, str]) -> None:
    answer = locked.post("/add", json=ADD, headers=headers)
    assert (answer.status_code, answer.json()["sum"]) == (200, 16)
    assert locked.get("/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"X-API-Key": ""},
        {"Cookie": f"key={KEY}"},
        {"X-Forwarded-For": "127.0.0.1"},
    ],
)
def test_without_a_key_nothing_opens(locked: Client, headers: dict[str, str]) -> None:
    for answer in (locked.post("/add", json=ADD, headers=headers), locked.get("/models", headers=headers)):
        assert "Authorization: Bearer KEY" in refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", [KEY[:-1], KEY + "x", KEY.upper(), "x" * 10_000, "ci", keys.line("ci", KEY), "\u00e9"])
def test_wrong_key_opens_nothing(locked: Client, key: str) -> None:
    for header in ({"X-API-Key": key.encode()}, {"Authorization": b"Bearer " + key.encode()}):
        answer = locked.post("/add", json=ADD, headers=header)
        detail = refused(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert key not in detail


def test_refusal_is_what_the_inference_protocol_has_for_it(locked: Client) -> None:
    answer = locked.post("/v2/models/addition/infer", json={})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert list(answer.json()) == ["error"]
    for name in ("x-content-type-options", "cache-control"):
        assert len(answer.headers.get_list(name)) == 1


def test_models_are_loaded_and_unloaded_by_nobody_without_a_key(locked: Client) -> None:
    for action in ("load", "unload"):
        assert locked.post(f"/v2/repository/models/addition/{action}").status_code == 401
    assert locked.post("/add", json=ADD, headers=bearer(KEY)).status_code == 200


def test_key_in_the_address_opens_nothing(locked: Client) -> None:
    refused(locked.post(f"/add?api_key={KEY}&key={KEY}&access_token={KEY}", json=ADD), 401)


def paths(app: ASGIApp) -> set[str]:
    """Of every route that is described or declared, with a model in its place."""
    assert isinstance(app, FastAPI)
    declared = {str(getattr(route, "path", "")) for route in app.routes} | set(app.openapi()["paths"])
    return {path.replace("{name}", "addition").replace("{number}", "1") for path in declared}


def test_every_route_but_health_and_the_pages_for_people_asks_for_a_key(locked: Client) -> None:
    assert {"/add", "/models/addition/predict/batch", "/v2/models/addition/infer"} < paths(locked.app)
    others = {"/nowhere", "/metrics", "/docs/assets/swagger-ui.css", "//health/live", "/playground", "/playground/"}
    others |= {
        "/playground/index.html",
        "/playground/../models",
        "//playground/app.js",
        "/playground/app.js/",
        "/problems/",
        "/problems/none",
    }
    for path in paths(locked.app) | PAGES | others:
        for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE", "PROPFIND"):
            answer = locked.request(method, path)
            if path in HEALTH or path in PAGES:
                assert answer.status_code != 401, (method, path)
            else:
                assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize("path", HEALTH)
def test_health_asks_for_no_key(key_file: Path, path: str) -> None:
    settings = Settings(api_keys_file=key_file, allowed_hosts=["a.example"])
    client = Client(create_app(settings, fakes.models()), within_lifespan=True)
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/health/live/",
        "/health/live/../../models",
        "/health/%2e%2e/models",
        "/HEALTH/LIVE",
        "/health/live;/models",
        "/health/live%00",
        "/health",
        "/health/",
        "/health/other",
        "/models#/health/live",
        "/models?/health/live",
    ],
)
def test_what_only_looks_like_health_asks_for_a_key(locked: Client, path: str) -> None:
    refused(locked.get(path), 401)


def test_refusal_reads_no_body(locked: Client) -> None:
    """Nor spends anything else on who may not ask: a body that is too large, or no JSON, gets the same answer."""
    refused(locked.post("/add", content=b"x" * 1_000_000), 401)


def test_keys_are_replaced_while_the_service_runs(key_file: Path) -> None:
    file = KeyFile(key_file)
    client = Client(create_app(Settings(), fakes.models(), keys=file))
    assert client.post("/add", json=ADD, headers=bearer(KEY)).status_code == 200
    fresh = keys.fresh_key()
    key_file.write_text(keys.line("ci", fresh))
    file.look()
    assert client.post("/add", json=ADD, headers=bearer(fresh)).status_code == 200
    assert client.get("/models", headers=bearer(fresh)).status_code == 200
    refused(client.post("/add", json=ADD, headers=bearer(KEY)), 401)
    key_file.write_text("")
    file.look()
    refused(client.post("/add", json=ADD), 401)
    refused(client.post("/add", json=ADD, headers=bearer(fresh)), 401)


def test_keys_are_replaced_in_every_worker(key_file: Path) -> None:
    fresh = keys.fresh_key()
    with running(workers=2, api_keys_file=key_file) as service:
        assert status_of(service, KEY) == 200
        key_file.write_text(keys.line("ci", fresh))
        deadline = time.monotonic() + 60
        in_a_row = 0
        while in_a_row < 20:  # each over a connection of its own, so that no worker is left out
            assert time.monotonic() < deadline
            in_a_row = in_a_row + 1 if (status_of(service, KEY), status_of(service, fresh)) == (401, 200) else 0


def status_of(service: Service, key: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
        connection.request("GET", "/models", headers=bearer(key))
        return connection.getresponse().status


def test_service_without_its_key_file_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(BrokenKeys, match="cannot be read"):
        create_app(Settings(api_keys_file=tmp_path / "none"), fakes.models())


def test_hash_of_nothing_lets_nobody_in_without_a_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(keys.line("nobody", ""))
    client = client_of_fakes(api_keys_file=path)
    for headers in ({}, {"X-API-Key": ""}, {"Authorization": "Bearer "}):
        refused(client.post("/add", json=ADD, headers=headers), 401)


def test_document_says_that_keys_are_asked_for(locked: Client) -> None:
    document = locked.get("/openapi.json", headers=bearer(KEY)).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == (path not in HEALTH), path
            assert ("security" in operation) == (path not in HEALTH), path
            if path not in HEALTH:
                ((_, content),) = operation["responses"]["401"]["content"].items()
                shown = content["examples"]["unauthorized"]["value"]
                assert "API key" in (shown.get("detail") or shown["error"])


def test_document_says_nothing_of_keys_that_are_not_asked_for() -> None:
    document = client_of_fakes().get("/openapi.json").json()
    assert "securitySchemes" not in document["components"]
    assert '"401"' not in json.dumps(document)


# Hosts


HOSTS = ["sums.example", "*.sums.example", "[::1]", "127.0.0.1"]


@pytest.fixture(scope="module")
def hosted() -> Client:
    return client_of_fakes(allowed_hosts=HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        "sums.example",
        "SUMS.Example",
        "sums.example:8000",
        "a.sums.example",
        "a.b.sums.example:1",
        "[::1]",
        "[::1]:80",
        "127.0.0.1:8000",
    ],
)
def test_own_host_is_answered(hosted: Client, host: str) -> None:
    assert hosted.post("/add", json=ADD, headers={"host": host}).status_code == 200
    assert hosted.get("/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "sums.example.evil.example",
        "evilsums.example",
        ".sums.example",
        "a..sums.example",
        "sums.example@evil.example",
        "evil.example#.sums.example",
        "evil.example/.sums.example",
        "sums.example:",
        "sums.example:80:80",
        "sums.example:http",
        "sums.example, evil.example",
        "sums.example ",
        " sums.example",
        "sums.example.",
        "*.sums.example",
        "::1",
        "127.0.0.1.evil.example",
        "2130706433",
        "\u00e9.sums.example",
    ],
)
def test_other_host_is_refused(hosted: Client, host: str) -> None:
    answer = hosted.post("/add", json=ADD, headers={"host": host.encode()})
    detail = refused(answer, 400)
    assert "Host" in detail
    assert "sums.example" not in detail  # whose service it is, is not told to who does not know
    refused(hosted.get("/docs", headers={"host": host.encode()}), 400)


def test_two_hosts_are_refused(hosted: Client) -> None:
    headers = [("host", "sums.example"), ("host", "sums.example"), ("content-type", "application/json")]
    refused(hosted.post("/add", content=json.dumps(ADD), headers=headers), 400)


def test_health_is_asked_by_address(hosted: Client) -> None:
    assert hosted.get("/health/live", headers={"host": "10.0.0.7:8000"}).status_code == 200


def test_without_the_setting_any_host_is_answered() -> None:
    client = client_of_fakes()
    assert client.post("/add", json=ADD, headers={"host": "evil.example"}).status_code == 200


LOOPBACK = ["localhost", "LOCALHOST:8000", "a.b.localhost", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:65535"]
FOREIGN = [
    "", "evil.example", "localhost.evil.example", "evillocalhost", ".localhost", "localhost.", "127.0.0.1.evil.example",
    "127.0.0.1 ", "127.0.0", "10.0.0.1", "[::2]", "::1", "localhost:", "localhost:80:80", "localhost@evil.example",
    "localhost, evil.example", "2130706433", "0",
]  # fmt: skip


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_on_a_loopback_address_only_its_names_are_answered(address: str) -> None:
    check = guards.host_check(Settings(), address)
    assert [check(host.encode()) for host in LOOPBACK] == [None] * len(LOOPBACK)
    for host in FOREIGN:
        problem = check(host.encode())
        assert problem is not None, host
        assert (problem.status, "APP_ALLOWED_HOSTS" in problem.detail) == (400, True)


@pytest.mark.parametrize(("address", "hosts"), [("10.0.0.7", []), ("::", []), ("127.0.0.1", ["a"])])
def test_elsewhere_or_where_hosts_are_set_connections_check_none(address: str, hosts: list[str]) -> None:
    assert guards.host_check(Settings(allowed_hosts=hosts), address)(b"evil.example") is None


def test_page_whose_name_is_made_to_point_at_this_machine_gets_no_answer() -> None:
    """A browser sends the page's own name as Host, over a connection that may have served others before."""

    def ask(path: str, host: str) -> int:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200 or b"APP_ALLOWED_HOSTS" in body
        return response.status

    with running() as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        for path, host, status in (
            ("/models", "localhost", 200),
            ("/health/live", "evil.example", 200),
            ("/health/live?a=b", "evil.example", 200),
            ("/models", "evil.example", 400),
            ("/models", f"127.0.0.1:{service.port}", 200),
            ("/models?/health/live", "evil.example", 400),
            ("/v2", "evil.example", 400),
        ):
            assert ask(path, host) == status, (path, host)
        connection.close()


def test_document_says_that_hosts_are_checked(hosted: Client) -> None:
    document = hosted.get("/openapi.json", headers={"host": "sums.example"}).json()
    assert all("400" in operation["responses"] for path in document["paths"].values() for operation in path.values())


# Origins


ORIGIN = "https://pages.example"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-api-key"}


@pytest.fixture
def shared(key_file: Path) -> Client:
    return client_of_fakes(cors_origins=[ORIGIN], api_keys_file=key_file)


def cors(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("origin", [ORIGIN, "null", "http://127.0.0.1:8000"])
def test_by_default_no_page_may_ask(origin: str) -> None:
    client = client_of_fakes()
    for answer in (
        client.request("OPTIONS", "/add", headers={"origin": origin, **PREFLIGHT}),
        client.post("/add", json=ADD, headers={"origin": origin}),
        client.get("/models", headers={"origin": origin}),
    ):
        assert cors(answer) == set()


@pytest.mark.parametrize("path", ["/add", "/reverse/batch", "/models"])
def test_page_of_a_listed_origin_may_ask(shared: Client, path: str) -> None:
    answer = shared.request("OPTIONS", path, headers={"origin": ORIGIN, **PREFLIGHT})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "X-API-Key" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_page_of_a_listed_origin_is_shown_answers_and_errors(shared: Client) -> None:
    for headers, status in ((bearer(KEY), 200), ({}, 401)):
        for answer in (
            shared.post("/add", json=ADD, headers={"origin": ORIGIN, **headers}),
            shared.get("/models", headers={"origin": ORIGIN, **headers}),
        ):
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
            assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://pages.example", f"{ORIGIN}.evil.example", "null"])
def test_page_of_another_origin_may_not(shared: Client, origin: str) -> None:
    preflight = shared.request("OPTIONS", "/add", headers={"origin": origin, **PREFLIGHT})
    assert "Disallowed CORS origin" in refused(preflight, 400)
    assert "access-control-allow-origin" not in preflight.headers
    answer = shared.post("/add", json=ADD, headers={"origin": origin, **bearer(KEY)})
    assert "access-control-allow-origin" not in answer.headers


def test_all_origins_can_be_allowed() -> None:
    client = client_of_fakes(cors_origins=["*"])
    answer = client.post("/add", json=ADD, headers={"origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


# Routes that can be closed


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/docs/assets/favicon.png"])
def test_docs_can_be_closed(path: str) -> None:
    assert client_of_fakes().get(path).status_code == 200
    detail = refused(client_of_fakes(docs=False).get(path), 404)
    assert "/docs lists" not in detail


def test_metrics_can_be_closed() -> None:
    assert client_of_fakes().get("/metrics").status_code == 200
    app = create_app(Settings(metrics=False), fakes.models())
    assert "/metrics" not in paths(app)
    refused(Client(app).get("/metrics"), 404)


@pytest.mark.parametrize("cors", [[], ["*"]])
@pytest.mark.parametrize("action", ["load", "unload"])
def test_foreign_pages_change_nothing(cors: list[str], action: str) -> None:
    client = client_of_fakes(cors_origins=cors, model_control=True)
    path = f"/v2/repository/models/addition/{action}"
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://localhost:81"):
        answer = client.post(path, headers={"origin": origin, "host": "localhost"})
        assert answer.status_code == 403
        assert "another origin" in answer.json()["error"]
    assert client.post("/add", json=ADD).status_code == 200
    assert client.post(path, headers={"origin": "http://localhost", "host": "localhost"}).status_code != 403


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80"]
)
def test_page_whose_own_name_is_made_to_point_here_changes_nothing(host: str) -> None:
    """Its two headers agree, so the name must be an address, or one that is checked."""
    client = client_of_fakes(model_control=True)
    path = "/v2/repository/models/addition/load"
    answer = client.post(path, headers={"origin": f"http://{host}", "host": host})
    assert answer.status_code == 403
    assert "APP_ALLOWED_HOSTS" in answer.json()["error"]
    for safe in ("127.0.0.1:8000", "10.0.0.7", "[::1]:80", "a.localhost"):
        assert client.post(path, headers={"origin": f"http://{safe}", "host": safe}).status_code != 403
    checked = client_of_fakes(allowed_hosts=["sums.example"], model_control=True)
    assert checked.post(path, headers={"origin": "http://sums.example", "host": "sums.example"}).status_code != 403
