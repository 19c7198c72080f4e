"""Time from the start of a process to its first right answer, its memory then, and its size on disk.

One worker, on all cores. Each contender is started again in every round, in turn, with its files in the page cache.
Knows nothing of how a contender works.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import environments, machine, server, stats, workload
from benchmarks.contenders import CONTENDERS, Contender, Setup
from benchmarks.environments import CannotPrepare
from benchmarks.server import ServerFailed
from benchmarks.stats import Spread

REQUESTS = 2_000
LOAD_S = 15.0
IMAGE = "sequences-to-service"
BASE_LABEL = "org.opencontainers.image.base.name"
TENSORFLOW = Contender(
    "ours-tensorflow",
    "this service with the setting `runtime = tensorflow`",
    "ours",
    "dev",
    CONTENDERS["ours"].command,
    variables={"APP_RUNTIME": "tensorflow"},
)


def run(names: Sequence[str], models_dir: Path, *, rounds: int) -> dict[str, Any]:
    """Start each of these contenders `rounds` times. All figures as plain data."""
    chosen = [CONTENDERS[name] for name in names]
    chosen += [TENSORFLOW] if "ours" in names else []
    starts: dict[str, dict[int, dict[str, float]]] = {}
    failures: dict[str, list[str]] = {}
    for number in range(rounds + 1):
        for contender in chosen:
            if contender.name in failures:
                continue
            try:
                figures = _start(contender, models_dir)
            except (CannotPrepare, ServerFailed, OSError) as error:
                failures[contender.name] = [str(error)]
                continue
            sys.stderr.write(f"  {contender.name:16}{figures['start_s']:>7.2f} s{figures['pss_mb']:>8.0f} MB\n")
            if number:  # the first start of each brings its files into the page cache
                starts.setdefault(contender.name, {})[number] = figures
    rows = [_row(contender, list(starts[contender.name].values())) for contender in chosen if contender.name in starts]
    return {
        "benchmark": "startup",
        "machine": machine.describe(),
        "settings": {"rounds": rounds, "requests": REQUESTS, "cores": len(machine.cores())},
        "failures": failures,
        "rows": rows,
        "image": image_mb(),
        **stats.spreads(_ratios(starts)),
    }


def _start(contender: Contender, models_dir: Path) -> dict[str, float]:
    """Start once, ask many times, and look at the processes' memory."""
    asked = workload.questions(models_dir, "add", REQUESTS)
    setup = Setup(server.free_port(), 1, "add", models_dir)
    with server.running(contender, setup, machine.cores(), asked[0]) as running:
        answered = running.check(asked, LOAD_S)
        pids = running.pids()
        return {"start_s": running.start_s, **machine.memory(pids), "processes": len(pids), "answered": answered}


def _row(contender: Contender, starts: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    figures = {name: Spread.of([start[name] for start in starts]).as_data() for name in ("start_s", "rss_mb", "pss_mb")}
    return {
        "contender": contender.name,
        "environment": contender.environment,
        **figures,
        "processes": max(int(start["processes"]) for start in starts),
        "requests_before_memory": min(int(start["answered"]) for start in starts),
        "environment_mb": machine.disk_mb(environments.directory(contender.environment)),
        "rounds": len(starts),
    }


def _ratios(starts: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, list[float]]:
    """Others over ours, and ours as it is."""
    ours = starts.get("ours", {})
    measured: dict[str, list[float]] = {}
    for figure, name in (("start_s", "start"), ("pss_mb", "memory")):
        mine = {number: start[figure] for number, start in ours.items()}
        measured[f"{name}_{figure.rpartition('_')[2]}"] = list(mine.values())
        for other, theirs in starts.items():
            if other != "ours":
                others = {number: start[figure] for number, start in theirs.items()}
                measured[f"{name}_{other}_to_ours"] = stats.ratios(others, mine)
    return measured


def image_mb() -> dict[str, float] | None:
    """Megabytes of the container's image and of its base image; None if it was not built here."""
    for engine in ("docker", "podman"):
        if not shutil.which(engine):
            continue
        try:
            built = _inspect(engine, IMAGE)
            sizes = (built["Size"], _inspect(engine, built["Config"]["Labels"][BASE_LABEL])["Size"])
        except (ValueError, LookupError):
            continue
        image, base = (round(size / 1e6, 1) for size in sizes)
        return {"image_mb": image, "base_mb": base, "over_base_mb": round(image - base, 1)}
    return None


def _inspect(engine: str, image: str) -> Any:
    """What a container engine knows about an image. Raises `ValueError` or `LookupError` if it has no such image."""
    command = [engine, "image", "inspect", image]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(result.stdout)[0]


def table_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are printed."""
    return [
        {
            "contender": row["contender"],
            "start s": row["start_s"]["median"],
            "least": row["start_s"]["min"],
            "most": row["start_s"]["max"],
            "PSS MB": row["pss_mb"]["median"],
            "RSS MB": row["rss_mb"]["median"],
            "processes": row["processes"],
            "environment MB": row["environment_mb"],
        }
        for row in data["rows"]
    ]
