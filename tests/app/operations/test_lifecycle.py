"""Where a process stands, and what its health routes say of it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import fakes
import pytest
from client import Client

from app.main import create_app
from app.operations.health import STUCK_S
from app.operations.lifecycle import Lifecycle, Phase
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.settings import Settings
from seq2seq.bundle import MANIFEST


def client(*models: Model, phase: Phase = Phase.READY, **settings: Any) -> Client:
    """A client of a process in a phase, with these models."""
    lifecycle = Lifecycle()
    lifecycle.phase = phase
    return Client(create_app(Settings(**settings), repository=fakes.repository(*models), lifecycle=lifecycle))


async def test_phases_follow_the_lifespan() -> None:
    lifecycle = Lifecycle()
    seen = [lifecycle.phase]
    async with lifecycle.lifespan():
        seen.append(lifecycle.phase)
        lifecycle.drain()
        seen.append(lifecycle.phase)
    assert seen == [Phase.STARTING, Phase.READY, Phase.DRAINING]
    assert lifecycle.is_draining()


async def test_models_are_frozen_while_it_serves() -> None:
    """The collector need not look at them again."""
    async with Lifecycle().lifespan():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


async def test_garbage_is_collected_once_it_serves() -> None:
    """`python -m app` starts without the collector."""
    gc.disable()
    try:
        async with Lifecycle().lifespan():
            assert gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("phase", Phase)
def test_only_a_ready_process_is_ready(phase: Phase) -> None:
    answer = client(fakes.models()["addition"], phase=phase).get("/health/ready")
    assert answer.status_code == (200 if phase is Phase.READY else 503)
    assert client(phase=phase).get("/health/live").status_code == 200
    if phase is not Phase.READY:
        assert f"The service is {phase.value}" in answer.json()["detail"]


def test_process_without_a_model_is_not_ready() -> None:
    answer = client().get("/health/ready")
    assert answer.status_code == 503
    assert "No model could be loaded" in answer.json()["detail"]


@pytest.mark.parametrize(("required", "status"), [("addition", 200), ("reversal", 503)])
def test_process_without_a_model_that_a_setting_names_is_not_ready(required: str, status: int) -> None:
    answer = client(fakes.models()["addition"], required_models=[required]).get("/health/ready")
    assert answer.status_code == status
    assert status == 200 or "The model reversal could not be loaded" in answer.json()["detail"]


def test_by_default_the_models_with_short_names_are_wanted_if_the_directory_has_them(tmp_path: Path) -> None:
    """One that is there and cannot be loaded keeps the process from being ready; one that is not there does not."""
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    for broken, status in ((False, 200), (True, 503)):
        if broken:
            (fakes.write_bundle(tmp_path, fakes.reversal_manifest()) / MANIFEST).write_text("{")
        lifecycle, repository = Lifecycle(), fakes.repository(models_dir=tmp_path)
        repository.start()
        app = create_app(Settings(models_dir=tmp_path), repository=repository, lifecycle=lifecycle)
        lifecycle.phase = Phase.READY
        answer = Client(app).get("/v2/health/ready")
        assert answer.status_code == status
        assert status == 200 or answer.json()["error"].startswith("The model reversal could not be loaded")


@pytest.mark.parametrize("deadline_s", [0.5, 10.0, 60.0])
def test_process_in_which_a_request_waits_for_ever_is_not_alive(deadline_s: float) -> None:
    class Slow(Predictor):
        waits_s = 0.0

        def is_stuck(self, seconds: float) -> bool:
            return self.waits_s > seconds

    slow = Slow(fakes.models()["addition"], 8)
    repository = fakes.repository(slow.model, serve=lambda *_: slow)
    alive = Client(create_app(Settings(deadline_s=deadline_s), repository=repository))
    longest_s = deadline_s + STUCK_S
    for waits_s, status in ((0.0, 200), (longest_s, 200), (longest_s + 1, 503)):
        slow.waits_s = waits_s
        answer = alive.get("/health/live")
        assert answer.status_code == alive.get("/v2/health/live").status_code == status
    assert "waited" in answer.json()["detail"]
