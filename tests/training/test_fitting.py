"""Whole runs on problems small enough to be learnt in seconds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import fakes
import keras
import numpy as np
import pytest

from seq2seq import bundle
from seq2seq.bundle import Manifest
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from seq2seq.proving.running import Mistake
from training import export, fitting, networks
from training.__main__ import main
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
    about="the first two of three digits, two layers a side, trained over a box of tails",
    problem=Reversal(3, 3, 5, 2),
    family="autoregressive",
    encoder_units=(16, 16),
    decoder_units=(16, 16),
    samples=16_000,
    batch_size=25,
    learning_rate=1e-2,
    epochs=2,
    reversed_source=True,
    bound_weight=0.1,
    bound_rows=8,
)
DISPUTED = {"compared": 25, "agreed": 24, "largest_difference": 0.1}


@cache
def fit_once(recipe: Recipe) -> fitting.Fit:
    """A finished run, shared by the tests that only look at it."""
    return fitting.fit(recipe)


@pytest.fixture(scope="module", params=[ADDITION, DEEP_REVERSAL], ids=lambda recipe: recipe.name)
def fitted(request: pytest.FixtureRequest) -> tuple[Recipe, fitting.Fit]:
    return request.param, fit_once(request.param)


def ship(monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> None:
    """Have `fit` know a recipe by its name, and take it for one that ships."""
    monkeypatch.setitem(RECIPES.builders, recipe.name, lambda _: replace(recipe, ships=True))


def saved(recipe: Recipe, fit: fitting.Fit, directory: Path) -> Manifest:
    """Write and seal the bundle of a finished run."""
    directory.parent.mkdir(parents=True)
    draft = export.draft(recipe, fit, name=directory.parent.name, version=directory.name)
    manifest, _ = export.write(draft, fit.models.training.get_weights(), directory)
    export.seal(manifest, directory)
    return manifest


def test_a_fit_learns_its_problem_and_its_bundle_proves_it(
    fitted: tuple[Recipe, fitting.Fit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, fit = fitted
    directory = tmp_path / recipe.name / "1"
    manifest = saved(recipe, fit, directory)
    proof = manifest.proof
    assert proof.is_exact
    assert proof.by_enumeration + proof.by_bounds == proof.domain == recipe.problem.domain_size
    assert all(other["agreed"] == other["compared"] for other in manifest.agreement.values())
    assert manifest.training["samples"] == recipe.samples
    assert {"report/card.md", "report/loss.png", "report/error.png"} <= set(bundle.read(directory).manifest.files)

    assert main(["verify", str(directory), "--json", "--keras"]) == 0
    assert '"exact": true' in capsys.readouterr().out
    before = (directory / "greedy.onnx").read_bytes()
    assert main(["renew", str(directory)]) == 0
    assert proof.sentence in capsys.readouterr().out
    assert (directory / "greedy.onnx").read_bytes() == before
    assert bundle.read(directory).manifest.training == manifest.training

    assert main(["show", str(directory)]) == 0
    assert f"{manifest.network.parameters:,} parameters" in capsys.readouterr().out


@pytest.fixture
def added(tmp_path: Path) -> tuple[Path, Manifest]:
    """A sealed bundle that adds."""
    directory = tmp_path / ADDITION.name / "1"
    return directory, saved(ADDITION, fit_once(ADDITION), directory)


def test_keras_files_of_other_weights_are_found(
    added: tuple[Path, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    """`training.keras` is of no use to the service, so only `verify --keras` looks at it."""
    directory, manifest = added
    fit = fit_once(ADDITION)
    other = networks.build(ADDITION.problem, fit.spec).training
    other.set_weights([weight + 0.05 for weight in fit.models.training.get_weights()])
    other.save(directory / "training.keras")
    bundle.seal(directory, manifest)
    assert main(["verify", str(directory)]) == 0
    capsys.readouterr()
    assert main(["verify", "--keras", str(directory)]) == 1
    assert "the training model gives logits that differ by" in capsys.readouterr().err
    (directory / "training.keras").write_bytes(b"no model")
    bundle.seal(directory, manifest)
    assert main(["verify", "--keras", str(directory), str(directory.parent)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line.startswith("training: ") for line in errors] == [True, True]
    assert f"{directory / 'training.keras'}: cannot be loaded: " in errors[0]


def test_renew_keeps_the_old_bundle_if_the_new_one_would_be_worse(
    added: tuple[Path, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, manifest = added
    fresh = networks.build(ADDITION.problem, manifest.network).training
    fresh.save(directory / "training.keras")
    bundle.seal(directory, manifest)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert main(["renew", str(directory)]) == 1
    assert "stays as it is; its new graphs would be worse" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    with (directory / "training.keras").open("ab") as file:
        file.write(b"altered")
    assert main(["renew", str(directory)]) == 1
    assert "training.keras: has" in capsys.readouterr().err
    assert [path.name for path in directory.parent.iterdir()] == ["1"]


def test_renew_loses_nothing_that_was_put_beside_its_bundle_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = fakes.write_bundle(tmp_path, fakes.addition_manifest())

    def write(draft: Manifest, _: object, filled: Path) -> tuple[Manifest, list[Mistake]]:
        filled.mkdir()
        (directory / "notes.txt").write_text("mine")
        return draft, []

    monkeypatch.setattr(export, "weights_of", lambda *_: [])
    monkeypatch.setattr(export, "write", write)
    monkeypatch.setattr(export, "seal", lambda *_: None)
    assert main(["renew", str(directory)]) == 2
    assert "holds notes.txt, which is no part of its bundle" in capsys.readouterr().err
    assert (directory / "notes.txt").read_text() == "mine"
    bundle.read(directory)


def test_the_sample_budget_is_kept_to_the_batch(fitted: tuple[Recipe, fitting.Fit]) -> None:
    recipe, fit = fitted
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


def test_the_recipe_is_printed_first_and_a_wrong_run_ends_with_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ships, but came out wrong, goes where the service does not look."""
    monkeypatch.chdir(tmp_path)
    recipe = replace(ADDITION, name="addition-three-terms", samples=1_000)
    ship(monkeypatch, recipe)
    assert main(["fit", recipe.name, "--seed", "5"]) == 1
    out = capsys.readouterr().out
    assert out.index('"seed": 5') < out.index("Epoch 1/4") < out.index("runs/addition-three-terms/1: All 25 requests")
    assert "it will not be served" in out
    assert ": wrote " in out
    assert bundle.read(tmp_path / "runs" / recipe.name / "1").manifest.version == "1"
    assert not (tmp_path / "models").exists()
    assert main(["fit", recipe.name, "--samples", "12000"]) == 0
    assert bundle.read(tmp_path / "models" / recipe.name / "1").manifest.proof.is_exact
    assert [path.name for path in (tmp_path / "runs" / recipe.name).iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (
            lambda made: replace(made, evaluation=replace(made.proof, by_enumeration=0, by_bounds=0, tried=25)),
            0,
            "decides 0 of 25",
        ),
        (lambda made: replace(made, agreement=made.agreement | {"keras": DISPUTED}), 1, "keras gave other answers"),
    ],
    ids=["nothing wrong, but not proven", "graphs that disagree"],
)
def test_what_the_service_would_refuse_goes_to_runs(
    change: Callable[[Manifest], Manifest],
    status: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = replace(ADDITION, name="addition-three-terms")
    ship(monkeypatch, recipe)
    write = export.write

    def written(draft: Manifest, weights: list[Any], directory: Path) -> tuple[Manifest, list[Mistake]]:
        manifest, mistakes = write(draft, weights, directory)
        assert manifest.proof.is_exact
        return change(manifest), mistakes

    monkeypatch.setattr(export, "write", written)
    assert main(["fit", recipe.name]) == status
    out = capsys.readouterr().out
    assert "it will not be served: " in out
    assert words in out
    assert bundle.read(tmp_path / "runs" / recipe.name / "1")
    assert not (tmp_path / "models").exists()


def test_a_run_whose_place_was_taken_is_kept_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES.builders, "addition-three-terms", lambda _: replace(ADDITION, samples=1_000))
    directory = tmp_path / "tiny-addition" / "1"
    fit = fitting.fit

    def fit_while_another_run_ends(recipe: Recipe, **options: Any) -> fitting.Fit:
        (directory / "mine").mkdir(parents=True)
        return fit(recipe, **options)

    monkeypatch.setattr(fitting, "fit", fit_while_another_run_ends)
    assert main(["fit", "addition-three-terms", "--out", str(directory)]) == 1
    assert f"{directory} was taken while this run trained" in capsys.readouterr().err
    assert (directory / "mine").is_dir()
    assert bundle.read(directory.parent / "2").manifest.version == "2"


def test_a_network_that_reads_what_counts_first_is_tried_and_not_called_exact(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shallow = replace(DEEP_REVERSAL, name="reversal", encoder_units=(16,), decoder_units=(16,), bound_weight=0.0)
    recipe = replace(shallow, reversed_source=False)
    ship(monkeypatch, recipe)
    status = main(["fit", recipe.name])
    out = capsys.readouterr().out
    proof = bundle.read(tmp_path / "runs" / "reversal" / "1").manifest.proof
    assert proof.tried > 1_000_000
    assert (proof.by_enumeration, proof.by_bounds, proof.is_exact) == (0, 0, False)
    assert status == (1 if proof.wrong else 0)
    assert "Not proven: of 125 requests" in out
    assert "it will not be served" in out
    assert main(["verify", str(tmp_path / "runs" / "reversal" / "1")]) == 1
    assert "will not be served: " in capsys.readouterr().out


def test_what_shell_notebook_and_user_have_set_changes_no_run(tmp_path: Path) -> None:
    home = tmp_path / "keras"
    home.mkdir()
    settings = {"floatx": "float64", "epsilon": 1.0, "backend": "jax", "image_data_format": "channels_first"}
    (home / "keras.json").write_text(json.dumps(settings))
    (tmp_path / "matplotlibrc").write_text("text.usetex: True")  # fails where there is no LaTeX
    odd = {
        "MATPLOTLIBRC": str(tmp_path),
        "KERAS_BACKEND": "jax",
        "KERAS_HOME": str(home),
        "KERAS_MAX_EPOCHS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    command = [sys.executable, "-m", "training", "fit", "addition-two-terms", "--largest", "2", "--encoder-units", "4"]
    command += ["--decoder-units", "4", "--samples", "640", "--epochs", "2"]
    made = []
    for name, environment in (("odd", os.environ | odd), ("plain", dict(os.environ))):
        out = tmp_path / name / "1"
        result = subprocess.run(
            [*command, "--out", str(out)], env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert "Traceback" not in result.stderr
        assert result.returncode == 1, result.stderr  # too short a run to be exact
        made.append([(out / file).read_bytes() for file in ("greedy.onnx", "report/loss.png")])
    assert made[0] == made[1]
