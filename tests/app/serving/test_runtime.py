from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest

from app.serving import runtime
from app.serving.runtime import RuntimeMissing
from seq2seq import bundle
from seq2seq.bundle import Bundle, BundleError, Family, NetworkSpec
from seq2seq.problem import Oracle, oracle
from seq2seq.runtimes import onnx as onnx_runtime

MODELS = Path(__file__).parents[3] / "models"


def test_onnx_is_run_as_everywhere() -> None:
    assert runtime.loader("onnx") is onnx_runtime.load_checked


def test_onnx_graphs_that_differ_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "addition" / "1"
    shutil.copytree(MODELS / "addition" / "1", directory)
    onnx_runtime.load_checked(bundle.read(directory))
    content = (directory / "encoder.onnx").read_bytes()
    (directory / "encoder.onnx").write_bytes(content[:4_000] + bytes(1_000) + content[5_000:])
    bundle.seal(directory, bundle.read_manifest(directory))
    with pytest.raises(BundleError, match=r"greedy\.onnx: does not answer as encoder\.onnx with decoder\.onnx does"):
        onnx_runtime.load_checked(bundle.read(directory))


def test_tensorflow_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(RuntimeMissing, match="the runtime tensorflow is not installed"):
        runtime.loader("tensorflow")


def saved(directory: Path, problem: Oracle, family: Family, units: tuple[int, ...]) -> tuple[Bundle, Any]:
    """A bundle of fresh weights in Keras files, and the models that were saved."""
    from training import networks

    spec = NetworkSpec(family, units, units, 0)
    models = networks.build(problem, spec)
    models.encoder.save(directory / "encoder.keras")
    models.decoder.save(directory / "decoder.keras")
    return Bundle(directory, replace(fakes.manifest(problem, "fresh"), network=spec)), models


@pytest.mark.training
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("units", [(4,), (4, 3)])
def test_repeat_vector_runs_as_keras_runs_it(tmp_path: Path, units: tuple[int, ...]) -> None:
    bundle, models = saved(tmp_path, fakes.ADDITION, "repeat_vector", units)
    network = runtime.loader("tensorflow")(bundle)
    for n in (1, 5):
        sources = fakes.ADDITION.sample_sources(np.random.default_rng(0), n)  # (B, S)
        decoded = network.greedy(sources)
        expected = np.asarray(models.decoder(models.encoder(sources)[1])[0])  # (B, T, V)
        np.testing.assert_array_equal(decoded.ids, expected.argmax(axis=-1))
        np.testing.assert_allclose(decoded.probabilities, expected.max(axis=-1), atol=1e-6)


@pytest.mark.training
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("units", [(4,), (4, 3)])
def test_autoregressive_runs_as_keras_runs_it(tmp_path: Path, units: tuple[int, ...]) -> None:
    import keras

    bundle, models = saved(tmp_path, fakes.REVERSAL, "autoregressive", units)
    network = runtime.loader("tensorflow")(bundle)
    sources = fakes.REVERSAL.sample_sources(np.random.default_rng(0), 5)  # (B, S)
    decoded = network.greedy(sources)
    symbols, states = np.zeros((5, 1), dtype=np.int32), models.encoder(sources)[1:]
    for place in range(fakes.REVERSAL.target_length):
        probabilities, *states = models.decoder([keras.ops.convert_to_tensor(symbols), *states])  # (B, V), h, c, …
        symbols = np.asarray(probabilities).argmax(axis=-1).astype(np.int32)[:, None]
        np.testing.assert_array_equal(decoded.ids[:, place], symbols[:, 0])
        np.testing.assert_allclose(decoded.probabilities[:, place], np.asarray(probabilities).max(-1), atol=1e-6)


@pytest.mark.training
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    bundle, _ = saved(tmp_path, fakes.ADDITION, "repeat_vector", (4,))
    wider = replace(bundle.manifest, network=NetworkSpec("repeat_vector", (5,), (4,), 0))
    with pytest.raises(BundleError, match=r"encoder.keras: has outputs of shapes \[\(None, 8, 4\), \(None, 4\)\]"):
        runtime.loader("tensorflow")(replace(bundle, manifest=wider))
    (tmp_path / "decoder.keras").write_bytes(b"no Keras file")
    with pytest.raises(BundleError, match=r"decoder.keras: cannot be loaded"):
        runtime.loader("tensorflow")(bundle)


@pytest.mark.training
@pytest.mark.parametrize("name", ["addition", "reversal"])
def test_both_runtimes_answer_alike_on_what_ships(name: str) -> None:
    shipped = bundle.read(MODELS / name / {"addition": "1", "reversal": "2"}[name])
    sources = oracle(shipped.manifest.problem).sample_sources(np.random.default_rng(3), 2_000)
    onnx, keras = (runtime.loader(kind)(shipped).greedy(sources) for kind in ("onnx", "tensorflow"))
    assert (onnx.ids == keras.ids).all()
    assert onnx.probabilities == pytest.approx(keras.probabilities, abs=1e-5)


@pytest.mark.training
def test_keras_file_that_was_replaced_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "addition" / "1"
    shutil.copytree(MODELS / "addition" / "1", directory)
    checked = bundle.read(directory)
    (directory / "decoder.keras").write_bytes((MODELS / "reversal" / "2" / "decoder.keras").read_bytes())
    with pytest.raises(BundleError, match=r"decoder\.keras: was altered"):
        runtime.loader("tensorflow")(checked)
