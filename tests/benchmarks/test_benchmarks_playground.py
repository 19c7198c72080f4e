"""The page is opened in a browser, each model is asked, and what the page takes is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import chart, playground
from benchmarks.environments import CannotPrepare

ADDITION = Path("models/addition")


@pytest.fixture
def models_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder with one model. This process has its cores back afterwards."""
    before = os.sched_getaffinity(0)
    shutil.copytree(ADDITION, tmp_path / "models" / "addition")
    yield tmp_path / "models"
    os.sched_setaffinity(0, before)


@pytest.mark.skipif(not any(map(shutil.which, playground.BROWSERS)), reason="no browser is installed")
def test_the_page_is_measured_and_drawn(models_dir: Path, tmp_path: Path) -> None:
    data = playground.run(models_dir, rounds=1)
    rows = playground.table_rows(data)
    assert [(row["model"], row["figure"]) for row in rows] == [
        ("addition", playground.SHOWN),
        ("addition", playground.EXPLAINED),
    ]
    assert all(0 < row["least"] <= row["median"] <= row["most"] for row in rows)
    assert data["ratios"]["page_bytes"] > 50_000
    assert set(data["targets"]) == set(data["ratios"])
    chart.draw(data, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1_000


def test_without_a_browser_it_says_so(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playground, "BROWSERS", ("no-such-browser",))
    with pytest.raises(CannotPrepare, match="no browser is installed: none of no-such-browser"):
        playground.run(models_dir, rounds=1)
