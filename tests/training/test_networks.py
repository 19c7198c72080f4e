from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from seq2seq.bundle import Bundle, Family, Manifest, NetworkSpec
from seq2seq.evidence import UNKNOWN
from seq2seq.problem import Oracle, Problem
from seq2seq.runtimes import keras as keras_runtime
from seq2seq.runtimes import onnx as onnx_runtime
from training import networks
from training.data import shifted
from training.export import export
from training.recipes import RECIPES

pytestmark = pytest.mark.training

ADDITION = RECIPES["addition-three-terms"].problem
REVERSAL = RECIPES["reversal-six-three"].problem
CASES = [
    pytest.param(ADDITION, NetworkSpec("repeat_vector", (75,), (50,), 0), id="S1"),
    pytest.param(REVERSAL, NetworkSpec("autoregressive", (128,), (128,), 0), id="S2"),
    pytest.param(ADDITION, NetworkSpec("repeat_vector", (9, 8), (7, 6, 5), 0), id="deep repeat vector"),
    pytest.param(REVERSAL, NetworkSpec("autoregressive", (9, 8), (9, 8), 0), id="deep autoregressive"),
]


def draft(problem: Problem, spec: NetworkSpec, directory: Path) -> Bundle:
    return Bundle(directory, Manifest("x", "1", problem, spec, {}, UNKNOWN, {}, (), {}))


def sources_of(problem: Oracle, n: int = 64) -> np.ndarray:
    return problem.sample_sources(np.random.default_rng(5), n)


def test_the_tutorials_networks_to_the_parameter() -> None:
    addition = networks.build(ADDITION, NetworkSpec("repeat_vector", (75,), (50,), 0))
    assert addition.parameters == 52_212
    assert addition.encoder.count_params() == 26_400
    assert addition.decoder.count_params() == 25_200 + 612
    assert networks.build(REVERSAL, NetworkSpec("autoregressive", (128,), (128,), 0)).parameters == 190_899


@pytest.mark.parametrize(("problem", "spec"), CASES)
def test_shapes(problem: Oracle, spec: NetworkSpec) -> None:
    models = networks.build(problem, spec)
    symbols = len(problem.target_vocabulary)
    assert models.training.output_shape == (None, problem.target_length, symbols)
    assert models.encoder.input_shape == (None, problem.source_length)
    if spec.family == "repeat_vector":
        units = spec.encoder_units[-1]
        assert models.encoder.output_shape == [(None, problem.source_length, units), (None, units)]
        written = (None, problem.target_length)
        assert models.decoder.output_shape == [(*written, symbols), (*written, spec.decoder_units[-1])]
    else:
        states = [(None, units) for units in spec.encoder_units for _ in "hc"]
        outputs = (None, problem.source_length, spec.encoder_units[-1])
        assert models.encoder.output_shape == [outputs, *states]
        assert models.decoder.output_shape == [(None, symbols), *states]


@pytest.mark.parametrize(("problem", "spec"), CASES)
def test_greedy_decoding_agrees_with_teacher_forcing_on_what_it_wrote(
    problem: Oracle, spec: NetworkSpec, tmp_path: Path
) -> None:
    """Holds with fresh weights too, and only if all three models share them and a saved file keeps them."""
    models = networks.build(problem, spec, unroll=True)
    export(problem, spec, models.training.get_weights(), tmp_path)
    sources = sources_of(problem)
    written = keras_runtime.load(draft(problem, spec, tmp_path)).greedy(sources)
    inputs = sources if spec.family == "repeat_vector" else [sources, shifted(written.ids, 0)]
    reloaded = keras.saving.load_model(tmp_path / "training.keras")
    for model in (models.training, reloaded):
        logits = keras.ops.convert_to_numpy(model(inputs))
        assert (logits.argmax(-1) == written.ids).all()
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits)).max(-1)
        assert probabilities == pytest.approx(written.probabilities, abs=1e-5)


@pytest.mark.parametrize(("problem", "spec"), CASES)
def test_all_graphs_answer_alike(problem: Oracle, spec: NetworkSpec, tmp_path: Path) -> None:
    models = networks.build(problem, spec)
    export(problem, spec, models.training.get_weights(), tmp_path)
    files = draft(problem, spec, tmp_path)
    sources = sources_of(problem)
    expected = keras_runtime.load(files).greedy(sources)
    for network in (onnx_runtime.load(files), onnx_runtime.load_parts(files)):
        decoded = network.greedy(sources)
        assert (decoded.ids == expected.ids).all()
        assert decoded.ids.dtype == np.int32
        assert decoded.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        for place in range(len(sources)):
            alone = network.greedy(sources[place : place + 1])
            assert (alone.ids == expected.ids[place]).all()
            assert alone.probabilities[0] == pytest.approx(expected.probabilities[place], abs=1e-6)


@pytest.mark.parametrize(("problem", "spec"), CASES)
def test_all_graphs_explain_alike(problem: Oracle, spec: NetworkSpec, tmp_path: Path) -> None:
    models = networks.build(problem, spec)
    export(problem, spec, models.training.get_weights(), tmp_path)
    files = draft(problem, spec, tmp_path)
    one, other = (load(files).tracer for load in (keras_runtime.load, onnx_runtime.load_parts))
    assert one is not None
    assert other is not None
    sources = sources_of(problem, 3)
    assert one.embed(sources) == pytest.approx(other.embed(sources), abs=1e-6)
    for place in range(len(sources)):
        for prefix in ((), (1,)):
            expected, found = (each.trace(sources[place : place + 1], prefix) for each in (one, other))
            assert expected is not None
            assert found is not None
            assert found.encoder_states == pytest.approx(expected.encoder_states, abs=1e-6)
            for step, wanted in zip(found.steps, expected.steps, strict=True):
                assert step.symbol == wanted.symbol
                likely = [likely for _, likely in wanted.candidates]
                assert [likely for _, likely in step.candidates] == pytest.approx(likely, abs=1e-6)
                assert step.state == pytest.approx(wanted.state, abs=1e-6)


def test_threads_get_their_own_answers(tmp_path: Path) -> None:
    problem, spec = ADDITION, NetworkSpec("repeat_vector", (8,), (8,), 0)
    export(problem, spec, networks.build(problem, spec).training.get_weights(), tmp_path)
    network = onnx_runtime.load(draft(problem, spec, tmp_path))
    sources = sources_of(problem)
    expected = network.greedy(sources).probabilities

    def ask(place: int) -> bool:
        answers = [network.greedy(sources[place : place + 1]).probabilities for _ in range(200)]
        return all(np.allclose(answer, expected[place : place + 1], atol=1e-6) for answer in answers)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


@pytest.mark.parametrize(("problem", "spec"), CASES)
def test_layers_are_shared_by_name(problem: Oracle, spec: NetworkSpec) -> None:
    models = networks.build(problem, spec)
    weights = {weight.path for weight in models.training.weights}
    parts = [weight.path for weight in (*models.encoder.weights, *models.decoder.weights)]
    assert sorted(parts) == sorted(weights)
    assert {path.split("/")[0] for path in parts} == {
        *(f"encoder_lstm_{depth}" for depth in range(len(spec.encoder_units))),
        *(f"decoder_lstm_{depth}" for depth in range(len(spec.decoder_units))),
        "logits",
    }


def test_autoregressive_sides_must_match() -> None:
    with pytest.raises(ValueError, match="the same units a side"):
        networks.build(REVERSAL, NetworkSpec("autoregressive", (9,), (8,), 0))


@pytest.mark.parametrize("family", ["repeat_vector", "autoregressive"])
def test_either_family_fits_either_problem(family: Family) -> None:
    for problem in (ADDITION, REVERSAL):
        models = networks.build(problem, NetworkSpec(family, (4,), (4,), 0))
        assert models.training.output_shape == (None, problem.target_length, len(problem.target_vocabulary))
