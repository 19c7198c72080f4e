"""Runs cells by processes on this machine or as Ray tasks on a cluster, and keeps each one's figures in a file.

Knows nothing of Keras: a process of `training.study.worker` trains. A file appears when its cell is finished, whole or
not at all, so that a run that was stopped goes on with the other cells.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import seq2seq
import training
from training.command_line import CallError
from training.study.cells import Cell

Figures = dict[str, Any]
Done = Iterator[tuple[Cell, Figures]]

SAID_LAST = 500
"""How many characters of what a process wrote to its standard error are shown if it ends early."""


class Worker:
    """A process that trains one cell after another. It starts with the first, and anew if it has died."""

    def __init__(self, python: str):
        self.python = python
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, cell: Cell, steps: int) -> Figures:
        """A cell's figures after so many steps."""
        return self.ask(f"{steps} {cell.as_json()}")

    def ask(self, line: str) -> Figures:
        """The process's answer to a line; where the process ends early, `failed` says why."""
        if self.process is None:
            self._start()
        process = self.process
        assert process is not None and process.stdin and process.stdout  # noqa: S101, PT018
        try:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer.endswith("\n"):
            figures: Figures = json.loads(answer)
            return figures
        status = process.wait()
        self.said.seek(0)
        words = " ".join(self.said.read()[-SAID_LAST:].split())
        self.close()
        return {"failed": f"its process ended with status {status}: {words}"}

    def _start(self) -> None:
        folders = {str(Path(*package.__path__).parent): None for package in (seq2seq, training)}
        self.said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  open as long as the process
        self.process = subprocess.Popen(  # noqa: S603
            [self.python, "-m", "training.study.worker"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.terminate()
            self.process.communicate()  # closes its pipes, even broken ones
            self.said.close()
            self.process = None


Runner = Callable[[Sequence[Cell], int], Done]
"""Trains cells, each for so many steps, and gives each with its figures when it is done, in any order."""


def run(cells: Sequence[Cell], steps: int, folder: Path, runner: Runner) -> Done:
    """Run the cells that have no file yet and write their files; gives each with its figures when it is done.

    One that failed gets no file, so that the next run tries it again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for cell, figures in runner(cells, steps):
        if "failed" not in figures:
            path = _path(cell, folder)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps({**asdict(cell), "steps": steps, **figures}), encoding="utf-8")
            unfinished.replace(path)
        yield cell, figures


def finished(cell: Cell, steps: int, folder: Path) -> Figures | None:
    """What the cell's file says, if there is one, of a run of so many steps."""
    try:
        figures: Figures = json.loads(_path(cell, folder).read_bytes())
    except FileNotFoundError:
        return None
    return figures if figures["steps"] == steps else None


def _path(cell: Cell, folder: Path) -> Path:
    return folder / f"{cell.name}.json"


def on_this_machine(jobs: int, python: str) -> Runner:
    """Cells on so many processes."""

    def runner(cells: Sequence[Cell], steps: int) -> Done:
        workers = [Worker(python) for _ in range(jobs)]
        idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def train(cell: Cell) -> Figures:
            worker = idle.get()
            try:
                return worker(cell, steps)
            finally:
                idle.put(worker)

        with ThreadPoolExecutor(jobs) as pool:
            try:
                running = {pool.submit(train, cell): cell for cell in cells}
                for each in as_completed(running):
                    yield running[each], each.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in workers:
                    worker.close()

    return runner


def on_ray(address: str, python: str) -> Runner:
    """Cells as tasks of one core each on a Ray cluster. Raises `CallError` where there is no Ray, or no cluster.

    Figures come back through Ray, so nodes need no common disk. The tasks of a node that is lost run on another.
    """
    try:
        import ray
    except ImportError:
        raise CallError("--ray needs Ray; deploy/requirements/ray.txt has it") from None

    def runner(cells: Sequence[Cell], steps: int) -> Done:
        try:
            packages = {"py_modules": [str(*package.__path__) for package in (seq2seq, training)]}
            ray.init(address=address, runtime_env=packages, log_to_driver=False, logging_level="ERROR")
        except ConnectionError as error:
            raise CallError(f"--ray {address}: {error}") from error
        try:
            task = ray.remote(num_cpus=1, max_retries=-1)(train_on_node)
            running = {task.remote(cell, steps, python): cell for cell in cells}
            while running:
                (each,), _ = ray.wait(list(running), num_returns=1)
                cell = running.pop(each)
                try:
                    yield cell, ray.get(each)
                except ray.exceptions.RayError as error:
                    yield cell, {"failed": str(error)}
        finally:
            ray.shutdown()

    return runner


_workers: dict[str, Worker] = {}
"""What a process of Ray keeps from one task to the next."""


def train_on_node(cell: Cell, steps: int, python: str) -> Figures:
    """A task of Ray. Keras is in the environment of `python`, which need not be Ray's own."""
    return _workers.setdefault(python, Worker(python))(cell, steps)
