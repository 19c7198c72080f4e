"""Every error is a problem that says what was wrong and where, and never more than a glimpse of what was sent."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import fakes
import httpx
import pytest
from client import Client, client_of_fakes

from app.http.problem_types import ProblemType
from app.main import create_app
from app.serving.models import Model
from app.settings import Settings
from seq2seq.decoding import States
from seq2seq.vocabulary import FloatArray

SHAPE = 'an object such as {"expression": "10+6"}'


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of_fakes()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The answer's problem, after checking all that every problem must have."""
    body: dict[str, Any] = answer.json()
    assert answer.status_code == body["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(body)[:6] == ["type", "title", "status", "detail", "instance", "request_id"]
    assert body["type"] in {f"/problems/{each.slug}" for each in ProblemType if each.status == status}
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["instance"] == answer.request.url.raw_path.decode("ascii")
    assert answer.content.isascii()
    assert len(answer.content) < 10_000
    return body


def fault(answer: httpx.Response) -> dict[str, Any]:
    body = problem(answer, 422)
    (only,) = body["errors"]
    assert body["title"] == "Invalid body"
    assert body["detail"] == f"{only['detail'][0].upper()}{only['detail'][1:]}."
    assert set(only) <= {"pointer", "detail", "rule", "position"}
    result: dict[str, Any] = only
    return result


@pytest.mark.parametrize(
    ("body", "pointer", "rule", "detail"),
    [
        (b"", "", "json", f"the body is empty; send {SHAPE}"),
        (b"  ", "", "json", f"the body is empty; send {SHAPE}"),
        (b"{", "", "json", "the body is not valid JSON: EOF while parsing an object at line 1 column 1"),
        (b'{"expression":}', "", "json", "the body is not valid JSON: expected value at line 1 column 15"),
        (b'{"expression": "1+1"} 2', "", "json", "the body is not valid JSON: trailing characters at line 1 column 23"),
        (b'\xef\xbb\xbf{"expression": "1+1"}', "", "json", "the body starts with a byte order mark; send it without"),
        (b'{"expression": "1\xff1"}', "", "json", "the body is not valid UTF-8, at line 1 column 18"),
        ('{"expression": "1+1"}'.encode("utf-16"), "", "json", None),
        (b"[" * 10_000, "", "json", f"the body is nested too deeply, at line 1 column 202; send {SHAPE}"),
        (b'{"a":' * 10_000, "", "json", None),
        (b'{"expression": "\\ud800"}', "", "json", None),
        (b'{"expression": "1\x001"}', "", "json", None),
        (b'{"expression": "\\u0663+4"}', "/expression", "character", None),
        (b'{"expression": ' + b"9" * 5_000 + b"}", "", "json", None),
        (b"[]", "", "object", f"the body is a list; send {SHAPE}"),
        (b"null", "", "object", f"the body is null; send {SHAPE}"),
        (b'"1+1"', "", "object", f"the body is text; send {SHAPE}"),
        (b"{}", "/expression", "missing_field", f'the field "expression" is missing; send {SHAPE}'),
        (
            b'{"expression": "1+1", "a/b~": 1}',
            "/a~1b~0",
            "unknown_field",
            f'the field "a/b~" is unknown; send {SHAPE}',
        ),
        (b'{"expression": "1+1", "expression": "1+2"}', "/expression", "repeated_field", None),
        (b'{"expression": "1+1", "\\u0065xpression": "1+2"}', "/expression", "repeated_field", None),
        (b'{"expression": 16}', "/expression", "text", None),
        (b'{"expression": NaN}', "/expression", "text", None),
        (b'{"expression": -Infinity}', "/expression", "text", None),
        (b'{"expression": null}', "/expression", "text", None),
        (b'{"expression": true}', "/expression", "text", None),
        (b'{"expression": []}', "/expression", "text", None),
        (b'{"expression": {"expression": "1+1"}}', "/expression", "text", None),
    ],
)
def test_wrong_body(client: Client, body: bytes, pointer: str, rule: str, detail: str | None) -> None:
    found = fault(client.post_json("/add", body))
    assert (found["pointer"], found["rule"]) == (pointer, rule)
    assert detail in (None, found["detail"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"10+6",
        b'{"expression": "10+6"',
        b'{"expression": "10+6"}}',
        b"\x00" * 100,
        b'{"expression": "\xff\xfe"}',
        b'\xef\xbb\xbf{"expression": "10+6"}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"expression":' * 4_000,
        b"null",
        b'["10+6"]',
    ],
)
@pytest.mark.parametrize("path", ["/add", "/add/batch", "/reverse", "/reverse/batch"])
def test_what_is_no_such_object(client: Client, path: str, body: bytes) -> None:
    assert fault(client.post_json(path, body))["pointer"] == ""


@pytest.mark.parametrize(
    ("expression", "rule", "position"),
    [
        ("10+", "empty_term", 3),
        ("+6", "empty_term", 0),
        ("10++6", "empty_term", 3),
        ("1 0+6", "blank", 1),
        ("10-6", "character", 2),
        ("٣+4", "character", 0),
        ("007+1", "leading_zero", 0),
        ("100+1", "range", 0),
        ("1+1+1+1", "terms", None),
        ("", "empty", None),
        ("1+1\x00", "character", 3),
        ("1" * 10_000, "too_long", None),
    ],
)
def test_wrong_expression(client: Client, expression: str, rule: str, position: int | None) -> None:
    found = fault(client.post("/add", json={"expression": expression}))
    assert (found["pointer"], found["rule"], found.get("position")) == ("/expression", rule, position)


@pytest.mark.parametrize(
    ("sequence", "pointer", "rule"),
    [
        ([1, 2, 3, 4, 5], "/sequence", "length"),
        ([1, 2, 3, 4, 5, 6, 7], "/sequence", "length"),
        ([], "/sequence", "length"),
        ([0, 2, 3, 4, 5, 6], "/sequence/0", "range"),
        ([1, 51, 3, 4, 5, 6], "/sequence/1", "range"),
        ([1, 2, -1, 4, 5, 6], "/sequence/2", "range"),
        ([1, 2, 3, True, 5, 6], "/sequence/3", "integer"),
        ([1, 2, 3, 4, 1.0, 6], "/sequence/4", "integer"),
        ([1, 2, 3, 4, 5, "7"], "/sequence/5", "integer"),
        ([1, 2, 3, 4, 5, None], "/sequence/5", "integer"),
        ([[1], 2, 3, 4, 5, 6], "/sequence/0", "integer"),
        ([1, 2, 3, 4, 5, 10**4000], "/sequence/5", "range"),
        ("1,2,3,4,5,6", "/sequence", "list"),
        (None, "/sequence", "list"),
    ],
)
def test_wrong_sequence(client: Client, sequence: object, pointer: str, rule: str) -> None:
    found = fault(client.post("/reverse", json={"sequence": sequence}))
    assert (found["pointer"], found["rule"]) == (pointer, rule)
    assert len(found["detail"]) < 250


def test_faults_are_listed_up_to_a_limit(client: Client) -> None:
    body = problem(client.post("/add", json={f"field{n}": n for n in range(3_000)}), 422)
    assert len(body["errors"]) == 20
    assert body["detail"].endswith("and 3000 more, see errors.")


def test_long_field_name_is_clipped(client: Client) -> None:
    body = problem(client.post("/add", json={"\u00e9" * 10_000: 1}), 422)
    assert all(len(error["pointer"]) < 100 and len(error["detail"]) < 200 for error in body["errors"])


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/+json",
        "json",
        "multipart/form-data; boundary=application/json",
    ],
)
def test_what_is_not_declared_json(client: Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    body = problem(client.post("/add", content=b'{"expression": "1+1"}', headers=headers), 415)
    assert "application/json" in body["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.sums+json",
        "application/problem+json ;a=b",
    ],
)
def test_what_is_declared_json(client: Client, content_type: str) -> None:
    answer = client.post("/add", content=b'{"expression": "1+1"}', headers={"content-type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(("path", "limit"), [("/add", 64 * 1024), ("/reverse/batch", 1024 * 1024)])
def test_too_large_body(client: Client, path: str, limit: int) -> None:
    body = problem(client.post_json(path, b" " * (limit + 1)), 413)
    assert body["title"] == "Body too large"
    assert str(limit) in body["detail"]
    problem(client.post_json(path, b" " * limit), 422)


def test_unknown_route(client: Client) -> None:
    body = problem(client.get("/subtract"), 404)
    assert body["detail"] == "There is no route /subtract; see /docs."


def test_slash_at_the_end_is_an_unknown_route(client: Client) -> None:
    problem(client.post("/add/", json={"expression": "1+1"}), 404)


def test_unknown_route_is_echoed_clipped_and_in_ascii(client: Client) -> None:
    answer = client.get("/\u00e9\ud7ff" + "x" * 3_000)
    assert answer.status_code == 404
    assert answer.content.isascii()
    assert len(answer.content) < 1_000


def test_wrong_method(client: Client) -> None:
    answer = client.get("/add")
    assert problem(answer, 405)["detail"] == "/add answers POST, not GET."
    assert answer.headers["allow"] == "POST"


def test_failing_model_is_a_500_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: States) -> FloatArray:
        raise RuntimeError("secret of the house")

    addition = Model(fakes.addition_manifest(), replace(fakes.truthful(fakes.ADDITION), decode=broken))
    client = Client(create_app(Settings(), fakes.models() | {"addition": addition}))
    with caplog.at_level(logging.ERROR, logger="app"):
        answer = client.post("/add", json={"expression": "1+1"}, headers={"x-request-id": "abc"})
    assert "secret" not in json.dumps(problem(answer, 500))
    assert "request abc failed" in caplog.text
    assert "secret of the house" in caplog.text
    assert client.post("/reverse", json={"sequence": fakes.SEQUENCE}).status_code == 200


@pytest.mark.parametrize("request_id", ["abc", "A-1_b.2", "x" * 64])
def test_sane_request_id_is_kept(client: Client, request_id: str) -> None:
    answer = client.post("/add", json={"expression": "1+1"}, headers={"x-request-id": request_id})
    assert answer.headers.get_list("x-request-id") == [request_id]


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "a\tb", "\u00e9", "<script>"])
def test_other_request_id_is_replaced(client: Client, request_id: str) -> None:
    answer = client.get("/health/live", headers={"x-request-id": request_id.encode("utf-8")})
    (made,) = answer.headers.get_list("x-request-id")
    assert made != request_id
    assert len(made) == 16


def test_forked_processes_make_different_ids() -> None:
    program = """
import os
from app.http.middleware import request_id
for _ in range(3):
    if not os.fork():
        break
os.write(1, b"".join(request_id({"headers": []}) + b" " for _ in range(5)))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(made) == len(set(made)) == 4 * 5
