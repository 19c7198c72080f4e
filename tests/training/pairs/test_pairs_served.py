"""From a file of 200 pairs to an answer over HTTP, as a user does it."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import service

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[3]


def spelled(seed: int, n: int) -> dict[str, str]:
    """Words of two to six letters, and the same spelled in capitals."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < n:
        word = "".join(draw.choices("abcdef", k=draw.randint(2, 6)))
        found[word] = " ".join(word.upper())
    return found


@pytest.mark.timeout(600)
def test_a_toy_file_becomes_an_endpoint(tmp_path: Path) -> None:
    pairs = spelled(1, 200)
    (tmp_path / "toy.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs.items()))
    done = subprocess.run(
        [sys.executable, "-m", "training", "fit-pairs", "toy.tsv", "--name", "toy"],
        cwd=tmp_path,
        env=service.environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert "200 pairs, 200 of them different, of 200 sources" in printed
    ((tested, wrong),) = re.findall(r"Not proven: of (\d+) sources that were never trained on, (\d+) were", printed)
    tested, wrong = int(tested), int(wrong)
    assert wrong <= tested / 4
    assert f"only {tested} sources were tested" in printed
    assert not list((tmp_path / "runs").glob("toy/*")), "a finished run leaves no checkpoint"

    with service.running(models_dir=tmp_path / "models", drain_s=0) as running:
        command = printed.strip().splitlines()[-1].replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")
        if shutil.which("curl"):
            answer = json.loads(
                subprocess.run(shlex.split(command), capture_output=True, check=True, timeout=60).stdout
            )
            assert answer["source"] in pairs
            assert answer["model"] == {"name": "toy", "version": "1"}
        fresh = [source for source in spelled(2, 40) if source not in pairs]
        answers = [running.ask("POST", "/models/toy/predict", {"source": source})[1] for source in fresh]
        right = sum(each["target"] == " ".join(source.upper()) for source, each in zip(fresh, answers, strict=True))
        assert right >= 0.7 * len(fresh)
        status, refusal = running.ask("POST", "/models/toy/predict", {"source": "abz"})
        assert (status, refusal["errors"][0]["position"]) == (422, 2)
