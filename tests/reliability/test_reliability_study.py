"""`study --ray` on a cluster of two nodes, one of which is lost on the way: no finished cell is lost with it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import service

from training.study import cells

PYTHON = service.ROOT / ".venv-ray" / "bin" / "python"
ENVIRONMENT = service.environment() | {
    "PYTHONPATH": str(service.ROOT),
    "RAY_USAGE_STATS_ENABLED": "0",
}
DEADLINE_S = 400

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.exists(), reason="needs Ray's environment; `make test-reliability` makes it"),
]


@contextmanager
def cluster() -> Iterator[subprocess.Popen[str]]:
    """A cluster that is gone at the end."""
    command = [PYTHON, service.ROOT / "tests" / "ray_nodes.py"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def hear(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("cluster: "):
            said: dict[str, str] = json.loads(line.removeprefix("cluster: "))
            return said
    raise AssertionError("the cluster has ended; see what it wrote to stderr")


def test_a_lost_node_loses_no_finished_cell(tmp_path: Path) -> None:
    with cluster() as nodes:
        study = ["-m", "training", "study", "--cells", "quick", "--steps", "40", "--out", str(tmp_path)]
        command = [str(PYTHON), *study, "--ray", hear(nodes)["address"], "--python", sys.executable]
        with subprocess.Popen(
            command, cwd=service.ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as driver:
            finished: dict[Path, bytes] = {}
            until = time.monotonic() + DEADLINE_S
            while not finished and driver.poll() is None and time.monotonic() < until:
                finished = {path: path.read_bytes() for path in (tmp_path / "cells").glob("*.json")}
                time.sleep(0.1)
            assert nodes.stdin is not None
            nodes.stdin.write("kill\n")
            nodes.stdin.flush()
            hear(nodes)
            said, _ = driver.communicate(timeout=DEADLINE_S)
    assert driver.returncode == 0, said
    assert 0 < len(finished) < len(cells.quick()), said
    assert {path: path.read_bytes() for path in finished} == finished
    assert len(list((tmp_path / "cells").glob("*.json"))) == len(cells.quick())
    with (tmp_path / "cells.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(cells.quick())
