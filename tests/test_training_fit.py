"""`fit` from its call to its end, where that is not a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.__main__ import main

pytestmark = pytest.mark.training


def test_a_run_that_diverges_stops_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--learning-rate", "1e37", "--samples", "1600", "--epochs", "5", "--out", str(tmp_path / "1")]
    assert main(["fit", "addition-two-terms", *options]) == 1
    captured = capsys.readouterr()
    assert captured.err.endswith(
        "training: the loss is no number any more, so nothing was written; try a lower --learning-rate\n"
    )
    assert "Epoch 5/5" not in captured.out
    assert list(tmp_path.iterdir()) == []
