"""deploy/ray_serve.py on a Ray cluster of two nodes: it scales with its load, and a replica that dies is replaced.

What may fail is what the dead one had in its hands: at most one request of each connection.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import load
import pytest
import service

PYTHON = service.ROOT / ".venv-ray" / "bin" / "python"
CLIENTS = 24
FIRST, MOST = 2, 4
NODES = 2
KILLS = 3
STOP_S = 60

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.exists(), reason="needs Ray's environment; `make test-reliability` makes it"),
]


class Ray:
    """A process that runs tests/ray_cluster.py, and what it says."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process
        self.port: int = self.hear()["port"]

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("cluster: "):
                return json.loads(line.removeprefix("cluster: "))
        raise AssertionError("the cluster has ended; see what it wrote to stderr")


@contextmanager
def cluster() -> Iterator[Ray]:
    """A cluster that is gone at the end."""
    process = subprocess.Popen(
        [PYTHON, service.ROOT / "tests" / "ray_cluster.py"],
        cwd=service.ROOT,
        env=service.environment() | {"PYTHONPATH": str(service.ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Ray(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def test_grows_and_replaces_replicas_under_load(say: Callable[[str], None]) -> None:
    async def replicas(ray: Ray, at_least: int) -> list[dict[str, Any]]:
        while len(found := await asyncio.to_thread(ray.ask, "replicas")) < at_least:
            await asyncio.sleep(0.5)
        return list(found)

    async def play(ray: Ray) -> tuple[load.Tally, list[dict[str, Any]], list[float]]:
        assert len(await replicas(ray, FIRST)) == FIRST
        async with load.closed_loop(ray.port, CLIENTS) as tally:
            grown = await replicas(ray, MOST)
            seconds = []
            for _ in range(KILLS):
                seconds.append((await asyncio.to_thread(ray.ask, "kill"))["replaced_s"])
                enough = tally.statuses[200] + 10 * CLIENTS
                while tally.statuses[200] < enough:
                    await asyncio.sleep(0.1)
        return tally, grown, seconds

    with cluster() as ray:
        url = f"http://127.0.0.1:{ray.port}"
        refused = httpx.post(f"{url}/add", json={"expression": "10++6"})
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
        assert len(refused.headers.get_list("x-request-id")) == 1
        tally, grown, seconds = asyncio.run(play(ray))
    nodes = {replica["node"] for replica in grown}
    failed = sum(tally.failures.values()) + tally.statuses.total() - tally.statuses[200]
    say(
        f"Ray Serve: {FIRST} replicas grew to {len(grown)} on {len(nodes)} nodes under load; {KILLS} killed:"
        f" {tally.statuses[200]} requests answered, {failed} failed, replaced within {max(seconds):.1f} s"
    )
    assert len(nodes) == NODES
    assert len(grown) == MOST
    assert not tally.wrong, tally.wrong[:5]
    assert set(tally.statuses) <= {200, 500, 503}, tally.statuses
    assert failed <= KILLS * CLIENTS, (tally.failures, tally.statuses)
