"""The bundles of examples/ against their pairs, made anew: all proofs again, and the error rates again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import main

pytestmark = [pytest.mark.reliability, pytest.mark.training, pytest.mark.timeout(1_800)]

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"


@pytest.mark.parametrize(
    ("example", "name"), [("dates", "dates"), ("numbers", "numbers"), ("numbers", "numbers-from-words")]
)
def test_a_whole_domain_is_proven_again(
    example: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.tsv"
    with pairs.open("wb") as file:
        subprocess.run([sys.executable, ROOT / "examples" / example / "make_pairs.py"], stdout=file, check=True)
    assert main(["verify", str(MODELS / name / "1"), "--pairs", str(pairs)]) == 0
    printed = capsys.readouterr().out
    assert ", 0 wrong" in printed
    assert "not verified" not in printed


def test_error_rates_are_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, ROOT / "examples" / "pronunciation" / "make_pairs.py", tmp_path], check=True)
    pairs, test = (str(tmp_path / name) for name in ("train.tsv", "test.tsv"))
    assert main(["verify", str(MODELS / "pronunciation" / "1"), "--pairs", pairs, "--test", test]) == 0
    printed = capsys.readouterr().out
    assert "of 11,936 sources" in printed
    assert "not verified" not in printed
