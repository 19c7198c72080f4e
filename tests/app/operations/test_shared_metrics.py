"""How workers add up their measures through shared memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from app.operations.metrics import Samples
from app.operations.shared_metrics import HEAD, Board, SharedMetrics

OTHER = os.getppid()
"""A process that lives as long as this one."""


class Worker(SharedMetrics):
    """A worker that has counted so much, and is that deep in work."""

    def __init__(self, board: Board | None, place: int, count: int, pid: int = OTHER):
        self.count = count
        super().__init__(self.measure, board, place, pid)

    def measure(self) -> Samples:
        return {
            "service_requests": {("/add", "200"): [self.count]},
            "service_queue_depth": {("addition", "1"): [self.count]},
        }

    def shown(self) -> tuple[int, int]:
        """What all workers have counted, and how deep in work they are."""
        values = {family.name: family.samples[0].value for family in self.families() if family.samples}
        return int(values["service_requests"]), int(values["service_queue_depth"])


@pytest.fixture(scope="module")
def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_worker_alone_shows_its_own_measures() -> None:
    assert Worker(None, 0, 1).shown() == (1, 1)


def test_measures_of_all_workers_add_up() -> None:
    board = Board(3)
    one, other = Worker(board, 0, 1), Worker(board, 1, 10)
    assert one.shown() == (1, 1)  # the other one has left nothing yet, and nobody has the third place
    assert other.shown() == one.shown() == (11, 11)


def test_what_one_worker_has_shown_every_other_shows() -> None:
    board = Board(2)
    one, other = Worker(board, 0, 1), Worker(board, 1, 10)
    shown = []
    for each in (one, other) * 5:
        one.count += 1
        other.count += 1
        shown.append(each.shown()[0])
    assert shown == sorted(shown)


def test_counts_outlive_workers_and_gauges_do_not(dead: int) -> None:
    board = Board(2)
    one = Worker(board, 0, 1)
    Worker(board, 1, 10, dead).share()
    assert one.shown() == (11, 1)
    successor = Worker(board, 1, 100)
    assert one.shown() == (11, 1)
    successor.share()
    assert one.shown() == (111, 101)
    Worker(board, 1, 1_000).share()
    assert one.shown() == (1_111, 1_001)


async def test_measures_are_shared_while_a_worker_serves() -> None:
    board = Board(2)
    one, other = Worker(board, 0, 1), Worker(board, 1, 10)
    async with other.sharing():
        await asyncio.sleep(0)
        assert one.shown() == (11, 11)
        other.count = 20
    assert one.shown() == (21, 21)


def test_a_fork_writes_what_its_parent_reads() -> None:
    program = """
import os
from app.operations.shared_metrics import Board
board = Board(2)
for content in (b"one", b"two", b"three"):
    if not os.fork():
        board.write(1, content)
        os._exit(0)
    os.wait()
    print(board.read(1))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "b'one'\nb'two'\nb'three'\n"


@pytest.mark.parametrize("written", [HEAD.size - 1, HEAD.size, HEAD.size + 1])
def test_writing_that_is_cut_off_leaves_what_was_there(written: int) -> None:
    """The killed writer has put so many bytes into its half."""
    board, whole = Board(2, 64), Board(2, 64)
    for each in (board, whole):
        assert each.write(1, b"old")
    whole.write(1, b"newest")
    start = 2 * 64  # where the second place's even half is
    board._memory[start : start + written] = whole._memory[start : start + written]
    assert board.read(1) == b"old"
    board.write(1, b"newer")
    assert board.read(1) == b"newer"
    assert board.read(0) == b""


def test_measures_that_do_not_fit_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(2, 512)
    one, other = Worker(board, 0, 1), Worker(board, 1, 10)
    one.share()
    one.count = 10**600
    for _ in range(3):
        families = {family.name: family for family in one.families()}
    assert families["service_measures_unshared"].samples[0].value == 2  # before the third time
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert other.shown() == (11, 11)
