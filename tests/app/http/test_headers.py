"""What answers tell browsers, on every kind of answer."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import fakes
import httpx
import pytest
from client import Client, client_of_fakes

from app.http.headers import ANSWER, PAGE
from app.main import create_app
from app.settings import Settings


def assert_carries(answer: httpx.Response, expected: list[tuple[bytes, bytes]]) -> None:
    for name, value in expected:
        assert answer.headers.get_list(name.decode("ascii")) == [value.decode("ascii")]


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of_fakes()


@pytest.mark.parametrize("path", ["/add", "/models/addition/predict", "/v2/models/addition/infer"])
@pytest.mark.parametrize("body", [b'{"expression": "1+1"}', b"{"])
def test_predictions_and_their_errors_are_kept_nowhere(client: Client, body: bytes, path: str) -> None:
    answer = client.post_json(path, body)
    assert_carries(answer, ANSWER)


@pytest.mark.parametrize("path", ["/add", "/models", "/v2/models/addition/infer", "/nowhere"])
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 401),
        ("POST", {"host": "b.example"}, 400),
        ("OPTIONS", {"origin": "https://c.example", "access-control-request-method": "POST"}, 200),
        ("OPTIONS", {"origin": "https://d.example", "access-control-request-method": "POST"}, 400),
    ],
)
def test_what_guards_answer_is_kept_nowhere(
    tmp_path: Path, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    (tmp_path / "keys").write_text("")
    settings = Settings(
        api_keys_file=tmp_path / "keys", allowed_hosts=["a.example"], cors_origins=["https://c.example"]
    )
    answer = Client(create_app(settings, fakes.models())).request(method, path, headers={"host": "a.example"} | headers)
    assert answer.status_code == status
    assert_carries(answer, ANSWER)


@pytest.mark.parametrize(
    "path", ["/models", "/models/addition", "/models/none", "/health/live", "/openapi.json", "/no"]
)
def test_every_other_answer_has_them_all(client: Client, path: str) -> None:
    answer = client.get(path)
    assert_carries(answer, PAGE)


def test_page_says_what_it_may_load_and_no_more(client: Client) -> None:
    answer = client.get("/docs")
    (policy,) = answer.headers.get_list("content-security-policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert rules["script-src"] == f"'self' 'sha256-{digests[0]}'"
    assert len(digests) == 1
    for address in re.findall(r'(?:src|href)="([^"]*)"', answer.text):
        assert address.startswith("docs/assets/")
        assert client.get(f"/{address}").status_code == 200
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"


def test_no_element_of_the_page_runs_a_script_of_its_own(client: Client) -> None:
    page = client.get("/docs").text
    assert not re.search(r"\son\w+=|javascript:", page.partition("<body>")[2])


def test_assets_may_be_kept(client: Client) -> None:
    answer = client.get("/docs/assets/swagger-ui.css")
    assert answer.headers.get_list("cache-control") == ["private, max-age=86400"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get("/docs/assets/swagger-ui.css", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
