"""Where a process stands, and what its health routes say of it."""

from __future__ import annotations

import asyncio
import gc

import fakes
import pytest
from client import Client
from fastapi import FastAPI

from app.api import health as health_api
from app.http import catalogue
from app.operations.health import STUCK_S, Health
from app.operations.lifecycle import YOUNG_OBJECTS, Lifecycle, Phase
from app.serving.batching import Batcher
from app.serving.models import Model


def client(lifecycle: Lifecycle, *models: Model) -> Client:
    app = FastAPI(exception_handlers=catalogue.handlers())
    app.include_router(health_api.router(Health(lifecycle, fakes.repository(*models))))
    return Client(app)


def test_phases_follow_the_lifespan() -> None:
    lifecycle = Lifecycle()
    seen = [lifecycle.phase]

    async def play() -> None:
        async with lifecycle.lifespan():
            seen.append(lifecycle.phase)
            lifecycle.drain()
            seen.append(lifecycle.phase)

    asyncio.run(play())
    assert seen == [Phase.STARTING, Phase.READY, Phase.DRAINING]
    assert lifecycle.is_draining()


def test_collector_looks_at_young_objects_less_often_while_the_service_serves() -> None:
    before = gc.get_threshold()

    async def play() -> tuple[int, int, int]:
        async with Lifecycle().lifespan():
            assert gc.get_freeze_count() > 0
            return gc.get_threshold()

    assert asyncio.run(play()) == (YOUNG_OBJECTS, *before[1:])
    assert gc.get_threshold() == before


@pytest.mark.parametrize("phase", Phase)
def test_only_a_ready_process_is_ready(phase: Phase) -> None:
    lifecycle = Lifecycle()
    lifecycle.phase = phase
    addition = fakes.models()["addition"]
    answer = client(lifecycle, addition).get("/health/ready")
    assert answer.status_code == (200 if phase is Phase.READY else 503)
    assert client(lifecycle).get("/health/live").status_code == 200
    if phase is not Phase.READY:
        assert f"The service is {phase.value}" in answer.json()["detail"]


def test_process_without_a_model_is_not_ready() -> None:
    lifecycle = Lifecycle()
    lifecycle.phase = Phase.READY
    answer = client(lifecycle).get("/health/ready")
    assert answer.status_code == 503
    assert "No model could be loaded" in answer.json()["detail"]


def test_process_in_which_a_request_waits_for_ever_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = client(Lifecycle(), fakes.models()["addition"])
    assert alive.get("/health/live").status_code == 200
    monkeypatch.setattr(Batcher, "oldest", lambda _: asyncio.get_running_loop().time() - STUCK_S - 1)
    answer = alive.get("/health/live")
    assert answer.status_code == 503
    assert "waited" in answer.json()["detail"]
