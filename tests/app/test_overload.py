"""More requests than the service can answer in time, through `create_app`: who is turned away, and how."""

from __future__ import annotations

import asyncio
from typing import Any

import fakes
import httpx
import pytest
from client import async_client, client_of_fakes

from app.main import create_app
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.settings import Settings

EXPRESSION = {"expression": "1+1"}


async def ask_at_once(settings: Settings, bodies: list[tuple[str, Any]]) -> list[httpx.Response]:
    """The answers to requests that all come in one turn of the loop."""
    async with async_client(create_app(settings, fakes.models())) as client:
        return await asyncio.gather(*(client.post(path, json=body) for path, body in bodies))


@pytest.mark.parametrize(
    ("path", "body"), [("/add", EXPRESSION), ("/add/batch", {"expressions": ["1+1"] * 5})], ids=["single", "batch"]
)
async def test_who_comes_while_too_many_wait_is_told_when_to_come_again(path: str, body: Any) -> None:
    answers = await ask_at_once(Settings(max_queue=3), [("/add", EXPRESSION)] * 3 + [(path, body)])
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "/problems/queue-full"


async def test_models_do_not_share_a_queue() -> None:
    answers = await ask_at_once(
        Settings(max_queue=1), [("/add", EXPRESSION), ("/reverse", {"sequence": fakes.SEQUENCE})]
    )
    assert [answer.status_code for answer in answers] == [200, 200]


TENSOR = {"inputs": [{"name": "expression", "datatype": "BYTES", "shape": [1], "data": ["1+1"]}]}


async def test_full_queue_of_a_version_turns_away_whom_it_concerns() -> None:
    repository = fakes.repository(
        fakes.models()["addition"],
        Model(fakes.addition_manifest("2"), fakes.truthful(fakes.ADDITION)),
        serve=lambda model, measures: Predictor(model, 8, 1, measures),
    )
    app = create_app(Settings(), repository=repository)
    asked = {
        "/add": 429,
        "/add?version=2": 429,
        "/add?version=1": 200,
        "/add?version=9": 404,
        "/models/addition/predict": 429,
        "/models/addition/predict?version=1": 200,
        "/v2/models/addition/infer": 429,
        "/v2/models/addition/versions/2/infer": 429,
        "/v2/models/addition/versions/1/infer": 200,
        "/v2/models/addition/versions/9/infer": 404,
    }

    async def ask(path: str) -> int:
        predictor = repository["addition"].pick("2")
        waiting = asyncio.ensure_future(predictor.predict("1+1"))
        while not predictor.depth():
            await asyncio.sleep(0)
        answer = await client.post(path, json=TENSOR if path.startswith("/v2") else EXPRESSION)
        await waiting
        return answer.status_code

    async with async_client(app) as client:
        assert {path: await ask(path) for path in asked} == asked


@pytest.mark.parametrize(
    ("path", "body"), [("/add", EXPRESSION), ("/add/batch", {"expressions": ["1+1"] * 200})], ids=["single", "batch"]
)
def test_deadline_that_is_passed(path: str, body: Any) -> None:
    answer = client_of_fakes(deadline_s=1e-9).post(path, json=body)
    assert answer.status_code == 504
    assert answer.json()["detail"].startswith("The deadline passed before the request's turn came.")
    client = client_of_fakes()
    assert client.post(path, json=body, headers={"X-Timeout-Ms": "10000"}).status_code == 200


@pytest.mark.parametrize("given", ["soon", "0", "000"])
def test_deadline_that_nothing_can_meet_is_refused(given: str) -> None:
    """On an idle service it would be wrong to say that it is busy."""
    answer = client_of_fakes().post("/add", json=EXPRESSION, headers={"X-Timeout-Ms": given})
    assert answer.status_code == 400
    assert answer.json()["detail"] == (
        f"The header X-Timeout-Ms is {given}; send a whole number of milliseconds, at least 1."
    )
