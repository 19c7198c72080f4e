"""More requests than the service can answer in time, through `create_app`: who is turned away, and how."""

from __future__ import annotations

import asyncio
from typing import Any

import fakes
import httpx
import pytest
from client import Client

from app.main import create_app
from app.settings import Settings

EXPRESSION = {"expression": "1+1"}


def ask_at_once(settings: Settings, bodies: list[tuple[str, Any]]) -> list[httpx.Response]:
    """The answers to requests that all come in one turn of the loop."""
    app = create_app(settings, fakes.models())

    async def play() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(*(client.post(path, json=body) for path, body in bodies))

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("path", "body"), [("/add", EXPRESSION), ("/add/batch", {"expressions": ["1+1"] * 5})], ids=["single", "batch"]
)
def test_who_comes_while_too_many_wait_is_told_when_to_come_again(path: str, body: Any) -> None:
    answers = ask_at_once(Settings(max_queue=3), [("/add", EXPRESSION)] * 3 + [(path, body)])
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["title"] == "Too Many Requests"


def test_models_do_not_share_a_queue() -> None:
    answers = ask_at_once(Settings(max_queue=1), [("/add", EXPRESSION), ("/reverse", {"sequence": fakes.SEQUENCE})])
    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize(
    ("path", "body"), [("/add", EXPRESSION), ("/add/batch", {"expressions": ["1+1"] * 200})], ids=["single", "batch"]
)
def test_deadline_of_nothing_is_always_passed(path: str, body: Any) -> None:
    client = Client(create_app(Settings(), fakes.models()))
    answer = client.post(path, json=body, headers={"X-Timeout-Ms": "0"})
    assert answer.status_code == 504
    assert "deadline" in answer.json()["detail"]
    assert client.post(path, json=body, headers={"X-Timeout-Ms": "10000"}).status_code == 200


def test_deadline_that_is_no_number_is_refused() -> None:
    answer = Client(create_app(Settings(), fakes.models())).post(
        "/add", json=EXPRESSION, headers={"X-Timeout-Ms": "soon"}
    )
    assert answer.status_code == 400
    assert "X-Timeout-Ms is soon" in answer.json()["detail"]
