"""What workers of one service tell each other."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import fakes
import pytest

from app.main import KINDS
from app.metrics import Family
from app.repository import NotLoaded, Repository, UnknownModel
from app.workers import NotCarriedOut, Workers

OTHER = os.getppid()
"""A process that lives as long as this one."""


class Worker:
    """One worker's repository, and its side of what they share."""

    def __init__(self, models_dir: Path, folder: Path | None, pid: int, count: int = 1):
        self.repository: Repository = fakes.repository(models_dir=models_dir)
        self.repository.start(KINDS)
        self.workers = Workers(folder, self.repository, lambda: families(count), pid)

    def versions(self) -> list[int]:
        return sorted(self.repository["addition"].predictors)


def families(count: int) -> list[Family]:
    return [
        Family("counter", "requests", "How many.", (), {(): count}),
        Family("gauge", "depth", "How deep.", (), {(): count}),
    ]


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    fakes.write_bundle(tmp_path / "models", fakes.addition_manifest())
    fakes.write_bundle(tmp_path / "models", fakes.reversal_manifest())
    return tmp_path / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "workers"
    path.mkdir()
    return path


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_worker_alone(models_dir: Path) -> None:
    worker = Worker(models_dir, None, os.getpid())

    async def play() -> None:
        async with worker.workers.together():
            await worker.workers.order("unload", "addition")
            assert worker.versions() == []
            await worker.workers.order("load", "addition")
            assert worker.versions() == [1]
            for action in ("load", "unload"):
                with pytest.raises(UnknownModel):
                    await worker.workers.order(action, "division")

    asyncio.run(play())
    assert [family.samples for family in worker.workers.families()] == [{(): 1}, {(): 1}]


def test_what_one_is_asked_all_do(models_dir: Path, folder: Path) -> None:
    one, other = Worker(models_dir, folder, os.getpid()), Worker(models_dir, folder, OTHER)

    async def play() -> None:
        async with one.workers.together(), other.workers.together():
            fakes.write_bundle(models_dir, fakes.addition_manifest("2"))
            await one.workers.order("load", "addition")
            assert one.versions() == other.versions() == [1, 2]
            await other.workers.order("unload", "addition")
            assert one.versions() == other.versions() == []

    asyncio.run(play())


def test_refusal_of_any_worker_is_told(models_dir: Path, folder: Path) -> None:
    one, other = Worker(models_dir, folder, os.getpid()), Worker(models_dir, folder, OTHER)

    async def play() -> None:
        async with one.workers.together(), other.workers.together():
            path = fakes.write_bundle(models_dir, fakes.addition_manifest("2")) / "greedy.onnx"
            path.write_bytes(b"damaged.onn")
            with pytest.raises(NotCarriedOut, match="was altered"):
                await one.workers.order("load", "addition")
            assert one.versions() == other.versions() == [1]
            with pytest.raises(NotCarriedOut, match="division"):
                await one.workers.order("load", "division")

    asyncio.run(play())


def test_worker_that_comes_later_does_what_was_ordered_before(models_dir: Path, folder: Path) -> None:
    async def play() -> None:
        one = Worker(models_dir, folder, os.getpid())
        async with one.workers.together():
            await one.workers.order("unload", "addition")
            later = Worker(models_dir, folder, OTHER)
            async with later.workers.together():
                with pytest.raises(NotLoaded):
                    later.repository["addition"].pick()

    asyncio.run(play())


def test_counts_of_all_workers_add_up_and_outlive_them(models_dir: Path, folder: Path) -> None:
    async def play() -> None:
        one = Worker(models_dir, folder, os.getpid(), 1)
        async with one.workers.together():
            async with Worker(models_dir, folder, OTHER, 10).workers.together():
                pass
            async with Worker(models_dir, folder, dead_process(), 100).workers.together():
                pass
            requests, depth = one.workers.families()
            assert requests.samples == {(): 111}
            assert depth.samples == {(): 11}

    asyncio.run(play())


def test_nobody_waits_for_the_dead(models_dir: Path, folder: Path) -> None:
    async def play() -> None:
        one = Worker(models_dir, folder, os.getpid())
        async with one.workers.together():
            async with Worker(models_dir, folder, dead_process()).workers.together():
                pass
            await one.workers.order("unload", "addition")

    asyncio.run(play())
