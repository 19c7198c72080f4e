"""A models directory on a disk that takes two seconds for each call. Clients notice nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import load
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

SLOW_S = 2.0
MOST_S = 0.5
LOOKS = 3
HEALTH = ("/health/live", "/health/ready", "/metrics", "/v2/models/addition")


def test_slow_disk_delays_no_answer(
    tmp_path: Path, say: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    shutil.copytree(service.ROOT / "models", disk / "models")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "slow_disk"))
    monkeypatch.setenv("SLOW_DISK", str(disk))
    longest = dict.fromkeys(HEALTH, 0.0)

    async def watch(running: service.Service, until: float) -> None:
        while time.monotonic() < until:
            for path in HEALTH:
                began = time.monotonic()
                assert (await asyncio.to_thread(running.request, "GET", path))[0] == 200, path
                longest[path] = max(longest[path], time.monotonic() - began)

    async def play() -> load.Tally:
        with service.running(models_dir=disk / "models", watch_s=0.1) as running:
            (disk / "slow").touch()
            async with load.closed_loop(running.port, 4) as tally:
                await watch(running, time.monotonic() + LOOKS * SLOW_S)
                began = time.monotonic()
                assert (await asyncio.to_thread(running.request, "POST", "/v2/repository/index"))[0] == 200
                index_s = time.monotonic() - began
            say(
                f"a disk that takes {SLOW_S:g} s a call: longest /add {1e3 * max(tally.seconds):.0f} ms, "
                + ", ".join(f"{path} {1e3 * seconds:.0f} ms" for path, seconds in longest.items())
                + f"; the index {index_s:.1f} s"
            )
            (disk / "slow").unlink()
            return tally

    tally = asyncio.run(play())
    tally.assert_clean()
    assert max(tally.seconds) < MOST_S
    assert max(longest.values()) < MOST_S
