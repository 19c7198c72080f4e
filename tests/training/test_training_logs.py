"""What a run leaves for people to look at: TensorBoard's logs and the plots of a report."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from seq2seq import bundle
from training import export, fitting, report
from training.__main__ import main
from training.recipes import RECIPES
from training.summaries import Scalars

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
TINY = replace(RECIPES["addition-two-terms"], samples=192, epochs=3, encoder_units=(4,), decoder_units=(4,), xla=False)


def points(directory: Path) -> dict[str, list[float]]:
    """Each tag's values in the order of their steps, which count up from 0."""
    values: dict[str, list[float]] = {}
    for path in directory.glob("events.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                assert event.step == len(values.setdefault(value.tag, []))
                values[value.tag].append(float(tf.make_ndarray(value.tensor)))
    return values


def test_the_logs_hold_each_epochs_figures(tmp_path: Path) -> None:
    history = fitting.fit(TINY, callbacks=[Scalars(tmp_path)]).history
    for run, prefix in (("train", ""), ("validation", "val_")):
        for name in ("loss", "exact_sequences", "per_symbol"):
            assert points(tmp_path / run)[f"epoch_{name}"] == pytest.approx(history[f"{prefix}{name}"])


def test_logs_are_there_while_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        assert {len(values) for values in points(tmp_path / "logs" / "train").values()} == {3}
        raise bundle.BundleError(tmp_path, "is full")

    monkeypatch.setattr(export, "write", full)
    options = ["--samples", "192", "--epochs", "3", "--encoder-units", "4", "--decoder-units", "4"]
    logs = ["--log-dir", str(tmp_path / "logs"), "--out", str(tmp_path / "1")]
    assert main(["fit", "addition-two-terms", *options, *logs]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_a_pipe_that_closes_ends_a_run_quietly(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    call = "-m training fit addition-two-terms --samples 1600 --out"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, *call.split(), str(tmp_path / "1")],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    os.close(write)
    assert result.returncode == 141
    assert "Traceback" not in result.stderr
    assert "training:" not in result.stderr
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    "history",
    [
        {"loss": [0.0] * 5, "val_loss": [0.0] * 5, "exact_sequences": [1.0] * 5, "per_symbol": [1.0] * 5},
        {"loss": [0.23], "exact_sequences": [0.0], "per_symbol": [0.4]},
        {
            "loss": [float("nan")] * 2,
            "val_loss": [1e30, 1e-300],
            "exact_sequences": [1.0, 0.0],
            "per_symbol": [0.5] * 2,
        },
    ],
    ids=["nothing wrong at all", "one epoch", "extremes"],
)
def test_every_point_is_inside_its_axes(
    history: dict[str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures: dict[str, Any] = {}
    save: Callable[..., None] = Figure.savefig

    def kept(figure: Any, path: Path, **settings: Any) -> None:
        figures[path.name] = figure
        save(figure, path, **settings)

    monkeypatch.setattr(Figure, "savefig", kept)
    manifest = bundle.read_manifest(ROOT / "models" / "addition" / "1")
    training = json.loads(json.dumps(manifest.training)) | {"history": history, "samples": 1_000}
    report.write(replace(manifest, training=training), tmp_path / "report")
    card = (tmp_path / "report" / "card.md").read_text(encoding="utf-8")
    assert set(figures) == {"loss.png", "error.png"}
    for name, figure in figures.items():
        assert f"({name})" in card
        assert (tmp_path / "report" / name).stat().st_size > 1_000
        (axes,) = figure.axes
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert sum(bottom < tick < top for tick in axes.get_yticks()) >= 2
        for line in axes.lines:
            assert all(left <= x < right for x in line.get_xdata())
            assert all(bottom < y < top or y != y for y in line.get_ydata())  # nan is not drawn
    assert figures["error.png"].axes[0].get_ylabel().startswith("share wrong")
