"""Instances behind the compose file's proxy come, stop and die under load, and no request fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import load
import proxy
import pytest
import service

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(600)]

CLIENTS = 16
ROUNDS = 5
HOSTS = [f"127.0.0.{number}" for number in range(2, 5)]


def test_scaled_stopped_and_killed_under_load(tmp_path: Path, say: Callable[[str], None]) -> None:
    """From one instance to three; then, again and again, one is stopped, one is killed, and both come back."""
    port = service.free_port()
    addresses: list[str] = []
    instances: dict[str, service.Service] = {}

    async def start(host: str) -> None:
        instances[host] = await asyncio.to_thread(service.start, host=host, port=port)
        addresses[:] = sorted(instances)

    async def end(host: str, number: signal.Signals) -> None:
        instance = instances.pop(host)
        status = await asyncio.to_thread(instance.stop, number)
        assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        addresses[:] = sorted(instances)

    async def some_answers(tally: load.Tally) -> None:
        enough = tally.statuses[200] + 50 * CLIENTS
        while tally.statuses[200] < enough and not tally.failures:
            await asyncio.sleep(0.02)

    async def play(proxy_port: int) -> load.Tally:
        await asyncio.to_thread(proxy.await_service, proxy_port)
        async with load.closed_loop(proxy_port, CLIENTS) as tally:
            for host in HOSTS[1:]:
                await start(host)
            for _ in range(ROUNDS):
                await some_answers(tally)
                await end(HOSTS[1], signal.SIGTERM)
                await some_answers(tally)
                await end(HOSTS[2], signal.SIGKILL)
                await some_answers(tally)
                for host in HOSTS[1:]:
                    await start(host)
        return tally

    try:
        with proxy.running(tmp_path, port, addresses) as proxy_port:
            asyncio.run(start(HOSTS[0]))
            tally = asyncio.run(play(proxy_port))
    finally:
        for instance in instances.values():
            instance.process.kill()
            instance.process.wait()
    say(
        f"behind the proxy, {ROUNDS} instances stopped and {ROUNDS} killed under load:"
        f" {tally.statuses[200]} requests answered, {sum(tally.failures.values())} failed"
    )
    tally.assert_clean()
