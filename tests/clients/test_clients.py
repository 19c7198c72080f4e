"""Clients generated from the OpenAPI document: without a warning, with types that are right, and able to ask."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import ROOT, Service, running

FOLDER = ROOT / "tests" / "clients"
TOOLS = FOLDER / "node_modules" / ".bin"
NO_TOOLS = "openapi-typescript is not installed; `npm ci --prefix tests/clients` installs it"
SAID_OF_SUCCESS = ("✨", "🚀")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(drain_s=0) as service:
        yield service


@pytest.fixture
def folder(tmp_path: Path, service: Service) -> Path:
    """A folder with the document and the samples."""
    (tmp_path / "openapi.json").write_text(service.text("/openapi.json"), encoding="utf-8")
    for name in ("sample.py", "sample.ts"):
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


def told(folder: Path, *command: str | Path) -> str:
    """What a command says that must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_client_in_python(folder: Path, service: Service) -> None:
    (folder / "config.yaml").write_text("post_hooks: []\n")  # nothing mends what is generated
    generate = ("generate", "--path", "openapi.json", "--output-path", "generated", "--meta", "none")
    options = ("--config", "config.yaml", "--fail-on-warning")
    said = told(folder, sys.executable, "-m", "openapi_python_client", *generate, *options)
    assert said.split() == ["Generating", "generated"]
    told(folder, sys.executable, "-m", "mypy", "--strict", "--cache-dir", ".mypy_cache", "generated", "sample.py")
    told(folder, sys.executable, "-W", "error", "sample.py", f"http://127.0.0.1:{service.port}")


@pytest.mark.skipif(not TOOLS.exists() or not shutil.which("node"), reason=NO_TOOLS)
def test_types_in_typescript(folder: Path) -> None:
    said = told(folder, TOOLS / "openapi-typescript", "openapi.json", "--output", "generated.d.ts")
    assert [line for line in said.splitlines() if line and not line.startswith(SAID_OF_SUCCESS)] == []
    checks = ("--strict", "--noEmit", "--target", "es2022")
    told(folder, TOOLS / "tsc", *checks, "sample.ts", "generated.d.ts")
