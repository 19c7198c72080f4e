"""Networks for pairs: Keras models and ONNX graphs are one network, and no answer depends on the rest of its batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf

from seq2seq.bundle import Bundle, Manifest, NetworkSpec
from seq2seq.decoding import Autoregressive, Decoded, Network, wire
from seq2seq.evidence import UNKNOWN
from seq2seq.problem import END_ID
from seq2seq.problems.pairs import Pairs, padded
from seq2seq.runtimes import keras as keras_runtime
from seq2seq.runtimes import onnx as onnx_runtime
from training.pairs import graphs, networks, teacher_forcing
from training.pairs.recipes import Precision

pytestmark = pytest.mark.training

PROBLEM = Pairs("chars", "words", tuple("abcdefg"), ("A", "B", "C"), 12, 9)
SPECS = {
    "attention": NetworkSpec("attention", (6,), (10,), 0, embedding_units=5),
    "deep attention": NetworkSpec("attention", (6, 4), (10, 7, 8), 0, embedding_units=5),
    "hard attention": NetworkSpec("hard_attention", (6,), (10,), 0, embedding_units=5),
    "deep hard attention": NetworkSpec("hard_attention", (6, 4), (10, 7, 8), 0, embedding_units=5),
    "plain": NetworkSpec("plain", (6,), (10,), 0, embedding_units=5),
    "deep plain": NetworkSpec("plain", (6, 4), (10, 7), 0, embedding_units=5),
}
WEIGHTS = {
    "attention": (7, 2.5),
    "deep attention": (8, 1.5),
    "hard attention": (7, 1.5),
    "deep hard attention": (8, 1.5),
    "plain": (7, 1.5),
    "deep plain": (5, 1.5),
}
"""A seed, and how large weights are: with these, answers differ and have many lengths."""
CLOSE = 1e-5


@cache
def made(name: str) -> networks.Layers:
    """Layers with random weights, the same in half precision; padding's are those of a new network."""
    layers = networks.Layers(PROBLEM, SPECS[name], dropout=0.5)
    model = layers.training
    seed, scale = WEIGHTS[name]
    rng = np.random.default_rng(seed)
    model.set_weights(graphs.rounded([rng.normal(0, scale, weight.shape) for weight in model.get_weights()]))
    kernel, bias = layers.logits.get_weights()
    kernel[:, 0], bias[0] = 0, networks.NEVER
    layers.logits.set_weights([kernel, bias])
    return layers


@cache
def files(name: str) -> dict[str, onnx.ModelProto]:
    return graphs.build(PROBLEM, SPECS[name], made(name))


@cache
def session(name: str, file: str) -> ort.InferenceSession:
    return ort.InferenceSession(files(name)[file].SerializeToString())


def sources(n: int = 64) -> list[list[int]]:
    """Ids of n sources of 1 to 12 symbols, lengths mixed, each with its end."""
    rng = np.random.default_rng(7)
    return [[*rng.integers(2, 9, rng.integers(1, 13)), END_ID] for _ in range(n)]


def greedy_graph(name: str) -> Network:
    return onnx_runtime.Varying.of(files(name)["greedy.onnx"].SerializeToString())


@cache
def keras_network(name: str) -> Network:
    """The Keras models, saved and read again."""
    with tempfile.TemporaryDirectory() as folder:
        for model in made(name).inference:
            model.save(Path(folder, f"{model.name}.keras"))
        draft = Manifest("x", "1", PROBLEM, SPECS[name], {}, UNKNOWN, {}, (), {})
        return keras_runtime.load(Bundle(Path(folder), draft))


def graphs_apart(name: str) -> Autoregressive:
    """Encoder and decoder as two graphs."""
    network = wire(
        PROBLEM,
        SPECS[name].family,
        lambda arrays: session(name, "encoder.onnx").run(None, {"source": arrays[0]}),
        lambda arrays: session(name, "decoder.onnx").run(
            None, dict(zip([each.name for each in session(name, "decoder.onnx").get_inputs()], arrays, strict=True))
        ),
    )
    assert isinstance(network, Autoregressive)
    return network


def answers(decoded: Decoded) -> list[tuple[int, ...]]:
    return [tuple(row[: row.index(END_ID)]) if END_ID in row else tuple(row) for row in decoded.ids.tolist()]


@pytest.fixture(params=SPECS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_answers_differ_and_have_many_lengths(name: str) -> None:
    """Without this the other tests would say little."""
    found = answers(greedy_graph(name).greedy(padded(sources())))
    assert len(set(found)) > 10
    assert len(set(map(len, found))) > 3


@pytest.mark.parametrize("network", [greedy_graph, keras_network, graphs_apart])
def test_an_answer_does_not_depend_on_its_batch(name: str, network: Any) -> None:
    asked = sources()
    alone = [network(name).greedy(padded([source])) for source in asked]
    expected = [answers(each)[0] for each in alone]
    sure = [each.confidence[0] for each in alone]
    for size in (7, 64):
        batches = [network(name).greedy(padded(asked[start : start + size])) for start in range(0, len(asked), size)]
        assert [answer for batch in batches for answer in answers(batch)] == expected
        assert [each for batch in batches for each in batch.confidence] == pytest.approx(sure, abs=CLOSE)


def test_more_padding_changes_nothing(name: str) -> None:
    ids = padded(sources())
    wider = np.pad(ids, ((0, 0), (0, 9)))
    one, other = (greedy_graph(name).greedy(each) for each in (ids, wider))
    assert one.ids.tolist() == other.ids.tolist()
    assert one.probabilities == pytest.approx(other.probabilities, abs=CLOSE)


def test_the_greedy_graph_is_the_keras_network(name: str) -> None:
    ids = padded(sources())
    graph, expected, apart = (each(name).greedy(ids) for each in (greedy_graph, keras_network, graphs_apart))
    for other in (expected, apart):
        assert graph.ids.tolist() == other.ids.tolist()
        assert graph.probabilities == pytest.approx(other.probabilities, abs=CLOSE)


def test_the_encoders_graph_is_the_keras_model(name: str) -> None:
    ids = padded(sources())
    memory, *states = made(name).inference[0](ids)
    found, *others = session(name, "encoder.onnx").run(None, {"source": ids})
    is_real = ids != 0
    assert found[is_real] == pytest.approx(np.asarray(memory)[is_real], abs=CLOSE)
    for one, other in zip(others, states, strict=True):
        assert one == pytest.approx(np.asarray(other), abs=CLOSE)


def test_the_decoders_graph_is_the_keras_model(name: str) -> None:
    ids = padded(sources())
    rng = np.random.default_rng(9)
    spec = SPECS[name]
    memory = rng.normal(size=(*ids.shape, 2 * spec.encoder_units[-1])).astype(np.float32)
    states = [rng.normal(size=(len(ids), units)).astype(np.float32) for units in spec.state_units]
    symbol = rng.integers(0, 5, (len(ids), 1), dtype=np.int32)
    arrays = [symbol, ids, memory, *states]
    expected = made(name).inference[1](arrays)
    run = session(name, "decoder.onnx")
    found = run.run(None, dict(zip([each.name for each in run.get_inputs()], arrays, strict=True)))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(np.asarray(other), abs=CLOSE)


def test_attention_is_shares_of_the_source_and_none_of_padding(name: str) -> None:
    ids = padded(sources())
    memory, *states = session(name, "encoder.onnx").run(None, {"source": ids})
    symbol = np.zeros((len(ids), 1), dtype=np.int32)
    run = session(name, "decoder.onnx")
    inputs = dict(zip([each.name for each in run.get_inputs()], [symbol, ids, memory, *states], strict=True))
    if SPECS[name].family == "plain":
        assert "attention" not in {each.name for each in run.get_outputs()}
        return
    (attention,) = run.run(["attention"], inputs)
    assert attention.shape == ids.shape
    assert attention.sum(axis=1) == pytest.approx(1, abs=CLOSE)
    assert not attention[ids == 0].any()
    assert len(set(attention.argmax(axis=1).tolist())) > 3


def test_traces_are_what_is_served_and_what_keras_computes(name: str) -> None:
    expected, network = keras_network(name), graphs_apart(name)
    assert isinstance(expected, Autoregressive)
    for source in sources(8):
        ids = padded([source])
        served = greedy_graph(name).greedy(ids)
        assert expected.tracer is not None
        assert network.tracer is not None
        one, other = expected.tracer.trace(ids), network.tracer.trace(ids)
        assert one is not None
        assert other is not None
        assert other.encoder_states == pytest.approx(one.encoder_states, abs=CLOSE)
        assert [step.symbol for step in one.steps] == served.ids[0].tolist()
        for found, wanted in zip(other.steps, one.steps, strict=True):
            assert found.symbol == wanted.symbol
            assert found.probability == pytest.approx(wanted.probability, abs=CLOSE)
            assert found.state == pytest.approx(wanted.state, abs=CLOSE)
            assert (found.attention is None) == (SPECS[name].family == "plain")
            assert found.attention is None or found.attention == pytest.approx(wanted.attention, abs=CLOSE)


def test_decoding_agrees_with_teacher_forcing(name: str) -> None:
    """The training model, told what was written, writes the same: in training it computes what is served."""
    ids = padded(sources())
    decoded = greedy_graph(name).greedy(ids)
    shifted = np.pad(decoded.ids[:, :-1], ((0, 0), (1, 0)))
    probabilities = np.asarray(keras.ops.softmax(made(name).training([ids, shifted])))
    is_written = np.cumsum(shifted == END_ID, axis=1) == 0  # up to the end and with it
    assert is_written.any(axis=1).all()
    assert (probabilities.argmax(-1) == decoded.ids)[is_written].all()
    assert probabilities.max(-1)[is_written] == pytest.approx(decoded.probabilities[is_written], abs=CLOSE)


def test_decoding_stops_when_every_row_has_ended(name: str) -> None:
    """In a batch, as many steps as its longest answer and its end need; never more than the longest target's."""
    network = greedy_graph(name)
    steps = {network.greedy(padded([source])).ids.shape[1] for source in sources()}
    for source in sources(20):
        decoded = network.greedy(padded([source]))
        assert decoded.ids.shape[1] == min(len(answers(decoded)[0]) + 1, PROBLEM.target_length)
    assert max(steps) <= PROBLEM.target_length
    assert len(steps) > 2
    together = network.greedy(padded(sources()))
    assert together.ids.shape[1] == max(steps)


def test_what_follows_the_end_is_padding(name: str) -> None:
    decoded = greedy_graph(name).greedy(padded(sources()))
    for ids, probabilities, answer in zip(decoded.ids, decoded.probabilities, answers(decoded), strict=True):
        assert not ids[len(answer) + 1 :].any()
        assert (probabilities[len(answer) + 1 :] == 1).all()


def test_a_beam_of_one_is_the_greedy_graph(name: str) -> None:
    ids = padded(sources())
    greedy = greedy_graph(name).greedy(ids)
    found, probabilities = graphs_apart(name).beam(ids, 1)
    assert found[:, 0].tolist() == greedy.ids.tolist()
    assert probabilities[:, 0] == pytest.approx(np.array(greedy.confidence), rel=1e-4)


def test_a_beam_does_not_depend_on_its_batch(name: str) -> None:
    ids = padded(sources(16))
    together, sure = graphs_apart(name).beam(ids, 4)
    for place, source in enumerate(sources(16)):
        alone, alone_sure = graphs_apart(name).beam(padded([source]), 4)
        length = alone.shape[2]
        assert together[place, :, :length].tolist() == alone[0].tolist()
        assert sure[place] == pytest.approx(alone_sure[0], rel=1e-4)


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def test_graphs_hold_standard_operators_alone(name: str) -> None:
    for model in files(name).values():
        assert [each.domain for each in model.opset_import] == [""]
        assert not model.functions
        assert {node.domain for node in nodes(model.graph)} == {""}
    assert "Loop" in {node.op_type for node in files(name)["greedy.onnx"].graph.node}


def test_weights_are_held_once_and_in_half_precision(name: str) -> None:
    count = made(name).training.count_params()
    for file, model in files(name).items():
        arrays = [onnx.numpy_helper.to_array(each) for each in model.graph.initializer]
        halves = [array for array in arrays if array.dtype == np.float16]
        assert not [array for array in arrays if array.dtype == np.float32 and array.size > 1]
        assert sum(array.size for array in halves) <= count + 8 * sum(SPECS[name].encoder_units)  # LSTMs' second biases
        assert len({array.tobytes() for array in halves}) == len(halves), file


def test_families_differ_in_the_attention_alone() -> None:
    hard, soft, plain = (
        {each.path.split("/")[0] for each in made(name).training.weights}
        for name in ("hard attention", "attention", "plain")
    )
    assert plain < soft < hard
    assert soft - plain == {"score", "combined"}
    assert hard - soft == {"combined_memory"}


def test_dropout_is_in_training_alone(name: str) -> None:
    ids = padded(sources(8))
    shifted = np.zeros((8, 3), dtype=np.int32)
    model = made(name).training
    still = [np.asarray(model([ids, shifted])) for _ in range(2)]
    moving = [np.asarray(model([ids, shifted], training=True)) for _ in range(2)]
    assert (still[0] == still[1]).all()
    assert np.abs(moving[0] - moving[1]).max() > 0.01
    given = (tf.constant(ids), tf.constant(shifted))
    moving = [teacher_forcing.logits(made(name), *given, "float32").numpy() for _ in range(2)]
    assert np.abs(moving[0] - moving[1]).max() > 0.01


def weighed(name: str, logits: Callable[..., Any]) -> tuple[Any, list[Any]]:
    """The logits for sources of mixed lengths, without dropout, and the gradients of a sum of them.

    Weights are small, as in training: large ones make much of the last digit.
    """
    layers = networks.Layers(PROBLEM, SPECS[name])
    layers.training.set_weights([weight / 5 for weight in made(name).training.get_weights()])
    ids = padded(sources())
    rng = np.random.default_rng(3)
    shifted = rng.integers(2, 5, (len(ids), 6), dtype=np.int32)
    weights = rng.normal(size=(len(ids), 6, layers.logits.units))

    def computed() -> Any:
        with tf.GradientTape() as tape:
            found = logits(layers, tf.constant(ids), tf.constant(shifted))
            total = tf.reduce_sum(found * weights.astype(np.float32))
        return found, tape.gradient(total, [each.value for each in layers.training.trainable_variables])

    found, gradients = tf.function(computed)()
    return found.numpy(), [tf.convert_to_tensor(each).numpy() for each in gradients]


def by_keras(layers: networks.Layers, source: Any, shifted: Any) -> Any:
    return layers.training([source, shifted])


@pytest.mark.parametrize(("precision", "close"), [("float32", 1e-4), ("bfloat16", 0.2)])
def test_teacher_forcing_computes_what_keras_does(name: str, precision: Precision, close: float) -> None:
    """The same logits, and the same gradient for each weight, whatever the padding."""
    logits, gradients = weighed(name, partial(teacher_forcing.logits, precision=precision))
    expected, others = weighed(name, by_keras)
    assert np.abs(logits - expected)[..., 1:].max() < close * np.abs(expected[..., 1:]).max()
    assert len(gradients) == len(others) > 10
    for one, other in zip(gradients, others, strict=True):
        assert np.abs(one - other).max() < close * np.abs(other).max()
    if precision == "bfloat16":
        assert np.abs(logits - expected).max() > 1e-4  # or the option would do nothing


def test_a_network_cannot_write_padding(name: str) -> None:
    """Not even with large random weights: its bias outweighs what they can add."""
    layers = networks.Layers(PROBLEM, SPECS[name])
    model = layers.training
    rng = np.random.default_rng(1)
    bias = layers.logits.bias.numpy()
    assert (bias < 0).tolist() == [True, *[False] * (len(bias) - 1)]
    model.set_weights(graphs.rounded([rng.normal(0, 20, weight.shape) for weight in model.get_weights()]))
    kernel, _ = layers.logits.get_weights()
    layers.logits.set_weights([kernel, graphs.rounded([bias])[0]])
    network = graphs.build(PROBLEM, SPECS[name], layers)["greedy.onnx"]
    decoded = onnx_runtime.Varying.of(network.SerializeToString()).greedy(padded(sources()))
    for ids, answer in zip(decoded.ids.tolist(), answers(decoded), strict=True):
        assert 0 not in ids[: len(answer)]
