"""Whole runs on problems small enough to be learnt in seconds."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from seq2seq import bundle
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from training import fitting, networks
from training.__main__ import main
from training.export import save
from training.recipes import RECIPES, Recipe

pytestmark = pytest.mark.training

ADDITION = Recipe(
    name="tiny-addition",
    about="two terms up to 4",
    problem=Addition(2, 2, 4, "left"),
    family="repeat_vector",
    encoder_units=(16,),
    decoder_units=(16,),
    samples=12_000,
    batch_size=25,
    learning_rate=1e-2,
    epochs=4,
    passes=True,
)
DEEP_REVERSAL = Recipe(
    name="tiny-reversal",
    about="the first two of three digits, two layers a side",
    problem=Reversal(3, 3, 5, 2),
    family="autoregressive",
    encoder_units=(16, 16),
    decoder_units=(16, 16),
    samples=16_000,
    batch_size=25,
    learning_rate=1e-2,
    epochs=2,
)


@pytest.fixture(scope="module", params=[ADDITION, DEEP_REVERSAL], ids=lambda recipe: recipe.name)
def fitted(request: pytest.FixtureRequest) -> tuple[Recipe, fitting.Fit]:
    return request.param, fitting.fit(request.param)


def test_a_fit_learns_its_problem_and_its_bundle_proves_it(
    fitted: tuple[Recipe, fitting.Fit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, fit = fitted
    directory = tmp_path / recipe.name / "1"
    manifest = save(recipe, fit, directory, name=recipe.name, version="1")
    checked = manifest.evaluation["checked"]
    assert manifest.evaluation["wrong"] == 0
    assert all(other["agreed"] == other["compared"] == checked for other in manifest.agreement.values())
    assert manifest.training["samples"] == recipe.samples
    assert {"report/card.md", "report/loss.png", "report/error.png"} <= set(bundle.read(directory).manifest.files)

    assert main(["verify", str(directory), "--json", "--keras"]) == 0
    assert f'"checked": {checked}, "wrong": 0' in capsys.readouterr().out
    weights = (directory / "greedy.onnx").read_bytes()
    assert main(["renew", str(directory)]) == 0
    assert f"0 wrong of {checked:,}" in capsys.readouterr().out
    assert (directory / "greedy.onnx").read_bytes() == weights
    assert bundle.read(directory).manifest.training == manifest.training

    assert main(["show", str(directory)]) == 0
    assert f"{manifest.network.parameters:,} parameters" in capsys.readouterr().out


def test_the_sample_budget_is_kept_to_the_batch(fitted: tuple[Recipe, fitting.Fit]) -> None:
    recipe, fit = fitted
    assert int(fit.models.training.optimizer.iterations) == recipe.steps
    assert fit.samples == recipe.samples
    assert {len(values) for values in fit.history.values()} == {recipe.epochs}


def test_another_seed_starts_from_other_weights(fitted: tuple[Recipe, fitting.Fit]) -> None:
    recipe, fit = fitted
    fresh = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        fresh.append(networks.build(recipe.problem, fit.spec).training.get_weights()[0])
    assert (fresh[0] != fresh[1]).any()


def test_accuracy_is_of_whole_sequences() -> None:
    targets = np.array([[1, 2], [1, 2], [1, 2]])
    logits = np.zeros((3, 2, 4), dtype=np.float32)
    for row, written in enumerate([[1, 2], [1, 3], [0, 0]]):
        logits[row, [0, 1], written] = 1
    assert np.asarray(fitting.exact_sequences(targets, logits)).tolist() == [1, 0, 0]
    assert np.asarray(fitting.per_symbol(targets, logits)).tolist() == [1, 0.5, 0]


def test_the_same_seed_gives_the_same_weights() -> None:
    recipe = replace(ADDITION, samples=500, epochs=1)
    one, other = (fitting.fit(recipe).models.training.get_weights() for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_adam_trains_too() -> None:
    fit = fitting.fit(replace(ADDITION, optimizer="adam", samples=2_000))
    assert isinstance(fit.models.training.optimizer, keras.optimizers.Adam)
    assert fit.history["loss"][-1] < fit.history["loss"][0]


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "addition" / "1"
    command = [sys.executable, "-u", "-m", "training", "fit", "addition", "--out", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Epoch 1/"):
                process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopped; nothing was written" in errors
    assert "Traceback" not in errors
    assert not directory.exists()


def test_the_recipe_is_printed_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES.builders, "addition-three-terms", lambda _: replace(ADDITION, samples=1_000))
    assert main(["fit", "addition-three-terms", "--seed", "5", "--out", str(tmp_path / "x" / "3")]) == 0
    out = capsys.readouterr().out
    assert out.index('"seed": 5') < out.index("Epoch 1/4") < out.index("wrong of 25")
    assert bundle.read(tmp_path / "x" / "3").manifest.version == "3"
