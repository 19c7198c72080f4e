import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.machine import Cores


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [
        ([0, 1], 1, Cores(frozenset({0}), frozenset({1}))),
        ([4, 2, 3, 5], 2, Cores(frozenset({2, 3}), frozenset({4, 5}))),
        ([0, 1], 2, Cores(frozenset({0, 1}), frozenset({0, 1}))),
        ([0], 1, Cores(frozenset({0}), frozenset({0}))),
    ],
)
def test_the_generator_has_cores_of_its_own_where_there_are_enough(
    cores: list[int], workers: int, expected: Cores
) -> None:
    divided = machine.divide(cores, workers)
    assert divided == expected
    assert divided.shared == (workers >= len(cores))


def test_a_family_is_found_by_descent_and_by_its_mark() -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']); print(flush=True); input()"
    environ = {**os.environ, "BENCH_TEST": "17"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        family = machine.family(process.pid, "BENCH_TEST=17")
        assert process.pid in family
        assert len(family) == 2
        assert os.getpid() not in family
        assert machine.cpu_seconds(family) >= 0
        assert machine.memory(family)["rss_mb"] > 1
        process.communicate(b"\n\n")
    assert machine.memory([process.pid]) == {"rss_mb": 0.0, "pss_mb": 0.0}


def test_a_file_linked_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 1_000_000)
    once = machine.disk_mb(tmp_path)
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    assert machine.disk_mb(tmp_path) == once


def test_the_description_names_no_host() -> None:
    assert os.uname().nodename not in str(machine.describe().values())
