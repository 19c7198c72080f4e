"""The service does what its OpenAPI document says, whatever is sent: Schemathesis, with every check, on real processes.

`schemathesis.toml` says how. Loading and unloading change what other routes answer, so they are tried on a second
service. A third service asks for keys, and shows that all its routes do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import service

from app import keys

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(1800)]

TESTS = Path(__file__).parent
FEWEST_CASES = 10_000
CHANGES = "^/v2/repository/"
UNLOAD = "/v2/repository/models/{name}/unload"
SEED = 20


def tried(running: service.Service, folder: Path, *options: str) -> dict[str, Any]:
    """Schemathesis' report on a service."""
    report = folder / "report.json"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--no-color",
        "--config-file",
        str(TESTS / "schemathesis.toml"),
    ]
    command += ["run", f"http://127.0.0.1:{running.port}/openapi.json", "--checks", "all", "--seed", str(SEED)]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--report-json-path", str(report), *options]
    finished = subprocess.run(
        command,
        cwd=folder,  # where it keeps what failed
        env=os.environ | {"PYTHONPATH": str(TESTS)},  # its hooks
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert report.stat().st_size, finished.stdout + finished.stderr
    result: dict[str, Any] = json.loads(report.read_text("utf-8"))
    assert (finished.returncode, result["complete"]) == (0, True), finished.stdout + finished.stderr
    assert result["operations"]["tested"] == result["operations"]["selected"]
    assert running.process.poll() is None
    for operation, phases in result["valid_rates"].items():
        assert sum(rates["accepted"] for rates in phases.values()) > 0, f"{operation} was never answered"
    return result


def tried_open(folder: Path) -> dict[str, Any]:
    with service.running(model_control=True) as running:
        result = tried(running, folder, "--max-examples", "280", "--exclude-path", UNLOAD)
        assert running.add("10+6") == 16
    return result


def tried_changing(folder: Path) -> dict[str, Any]:
    with service.running(model_control=True) as running:
        return tried(running, folder, "--max-examples", "300", "--include-path-regex", CHANGES)


def tried_guarded(folder: Path) -> dict[str, Any]:
    key = keys.fresh_key()
    file = folder / "keys"
    file.write_text(keys.line("tester", key), "ascii")
    with service.running(model_control=True, api_keys_file=file, allowed_hosts='["127.0.0.1"]') as running:
        bearer = f"Authorization: Bearer {key}"
        return tried(running, folder, "--max-examples", "60", "--exclude-path", UNLOAD, "--header", bearer)


def test_service_keeps_to_its_document(tmp_path: Path, say: Callable[[str], None]) -> None:
    folders = [tmp_path / name for name in ("guarded", "open", "changing")]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        runs = zip((tried_guarded, tried_open, tried_changing), folders, strict=True)
        guarded, alone, changing = (run.result() for run in [pool.submit(play, folder) for play, folder in runs])
    total: Counter[str] = Counter()
    for result in (alone, changing, guarded):
        cases = result["test_cases"]
        total.update({name: cases[name] for name in ("generated", "with_failures", "without_checks", "errored")})
    operations = alone["operations"]["total"]
    say(
        f"Schemathesis on {operations} operations: {total['generated']} cases,"
        f" {total['with_failures']} failures, {total['errored']} errors"
    )
    assert operations == alone["operations"]["tested"] + 1  # all but what unloads, which the second run tries
    assert total["generated"] - total["without_checks"] >= FEWEST_CASES
    assert total["with_failures"] == total["errored"] == 0
