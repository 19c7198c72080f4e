"""The machine and its processes: cores, CPU time, memory, versions. Linux only. Knows nothing of benchmarks."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "httptools", "numpy", "onnxruntime", "keras", "tensorflow",
)  # fmt: skip
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """The cores of the server and of the load generator; `shared` if they are the same."""

    server: frozenset[int]
    generator: frozenset[int]

    @property
    def shared(self) -> bool:
        return bool(self.server & self.generator)


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def divide(cores: Iterable[int], workers: int) -> Cores:
    """One core for each worker and the rest for the generator. If no core is left, both share all."""
    ordered = sorted(cores)
    server, generator = frozenset(ordered[:workers]), frozenset(ordered[workers:])
    return Cores(server, generator) if generator else Cores(frozenset(ordered), frozenset(ordered))


def family(pid: int, mark: str) -> set[int]:
    """A process and all that it started: its descendants, and what has `mark`, such as `NAME=value`, in its
    environment, as all have that inherited it and did not write over it.
    """
    sought = mark.encode("ascii")
    children: dict[int, list[int]] = {}
    found = {pid}
    for path in Path("/proc").glob("[0-9]*"):
        each = int(path.name)
        if fields := _stat(each):
            children.setdefault(int(fields[1]), []).append(each)
        if each != os.getpid() and sought in _read(path / "environ").split(b"\0"):
            found.add(each)
    queue = list(found)
    for each in queue:
        queue += (new := set(children.get(each, [])) - found)
        found |= new
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # another user's, or gone
        return b""


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes that still run."""
    return sum((int(fields[11]) + int(fields[12])) / TICKS for pid in pids if (fields := _stat(pid)))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks: state first, the parent second."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def memory(pids: Iterable[int]) -> dict[str, float]:
    """Memory of processes together, in megabytes: resident, and with shared pages counted once (PSS)."""
    totals = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, *rest = line.split()
            if name in totals:
                totals[name] += int(rest[0])
    return {"rss_mb": round(totals["Rss:"] / 1024, 1), "pss_mb": round(totals["Pss:"] / 1024, 1)}


def disk_mb(directory: Path) -> float:
    """Size of a directory on disk, in megabytes. A file with several links counts once."""
    seen = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            status = (Path(folder) / name).lstat()
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return round(sum(seen.values()) / 1e6, 1)


def describe() -> dict[str, Any]:
    """What a reader must know about the machine to judge the figures."""
    return {
        "cores": len(cores()),
        "cpu": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "linux": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _first(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
