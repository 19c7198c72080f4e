"""`fit` from its call to its end, where that is not the one that was hoped for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seq2seq import bundle
from seq2seq.problems.addition import Addition
from training import fitting, output
from training.__main__ import main
from training.recipes import RECIPES

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


def test_a_run_whose_loss_rises_far_stops_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--learning-rate", "30", "--samples", "1600", "--epochs", "5", "--out", str(tmp_path / "1")]
    assert main(["fit", "addition-two-terms", *options]) == 1
    captured = capsys.readouterr()
    assert re.search(
        r"training: the loss has risen to [\d.e+]+, where blind guessing has 2\.48, so nothing was written; try a lower"
        r" --learning-rate\n$",
        captured.err,
    )
    assert "Epoch 5/5" not in captured.out
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_rises_and_comes_down_again_goes_on() -> None:
    """Only the mean over an epoch counts: the steps of the warm-up may rise for a while."""
    recipe = replace(RECIPES["addition-two-terms"], samples=1_600, epochs=2, learning_rate=0.3, xla=False)
    assert len(fitting.fit(recipe).history["loss"]) == recipe.epochs


def test_a_run_that_cannot_be_written_under_models_is_kept_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    problem = Addition(2, 2, 1, "left", smallest=1)  # 1+1 is all there is, and soon learnt
    tutorial = RECIPES["addition-two-terms"]
    recipe = replace(tutorial, problem=problem, samples=1_600, epochs=2, ships=True, xla=False)
    monkeypatch.setitem(RECIPES.builders, recipe.name, lambda _: recipe)
    monkeypatch.setattr(output, "put_elsewhere", full)
    assert main(["fit", recipe.name]) == 1
    captured = capsys.readouterr()
    assert f"training: cannot write to models/{recipe.name}: No space left on device\n" in captured.err
    assert f"runs/{recipe.name}/1: " in captured.out
    assert output.is_exact(bundle.read(tmp_path / "runs" / recipe.name / "1").manifest)
