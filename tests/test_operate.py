"""docs/operate.md is right: what it says step by step is done here, step by step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import service

OPERATE = (service.ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
LOGGED = "addition version 2 was removed and is no longer served; version 1 answers"


def hide(version: Path) -> None:
    version.rename(version.with_name(f".{version.name}"))


@pytest.mark.parametrize("remove", [shutil.rmtree, hide], ids=["removed", "renamed"])
@pytest.mark.parametrize("workers", [1, 2])
def test_roll_back(tmp_path: Path, workers: int, remove: Callable[[Path], None]) -> None:
    assert f"`{LOGGED}`" in " ".join(OPERATE.split())
    models_dir = shutil.copytree(service.ROOT / "models", tmp_path / "models")
    with service.running(models_dir=models_dir, watch_s=0.1, workers=workers, drain_s=0) as running:
        running.await_workers(workers)
        assert running.ask("POST", "/add", {"expression": "1+1"})[1]["model"]["version"] == "2"

        remove(models_dir / "addition" / "2")
        for _ in range(workers):
            running.await_line(LOGGED)

        for _ in range(6):
            assert running.ask("POST", "/add", {"expression": "1+1"})[1]["model"]["version"] == "1"
        _, entries = running.ask("POST", "/v2/repository/index")
        assert [(entry["version"], entry["state"]) for entry in entries if entry["name"] == "addition"] == [
            ("1", "READY")
        ]
