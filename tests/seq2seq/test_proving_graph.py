"""A graph's own arithmetic, evaluated over boxes; and what cannot be bounded is refused, never guessed at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from seq2seq import bundle
from seq2seq.problem import oracle
from seq2seq.proving.graph import Graph, Unprovable
from seq2seq.runtimes import onnx as onnx_runtime

MODELS = Path(__file__).parents[2] / "models"
REVERSAL, ADDITION = MODELS / "reversal" / "2", MODELS / "addition" / "1"


@pytest.mark.parametrize("directory", [REVERSAL, ADDITION], ids=["reversal", "addition"])
def test_single_requests_come_out_as_they_run(directory: Path) -> None:
    loaded = bundle.read(directory)
    problem, graph = oracle(loaded.manifest.problem), Graph(loaded.content("greedy.onnx"))
    sources = problem.sample_sources(np.random.default_rng(1), 500)
    targets = problem.answer(sources)
    found = onnx_runtime.load_logits(loaded, graph.with_logits(), graph.logits)(sources, targets)
    for place, layer in enumerate(graph.evaluate(sources, targets, {})):
        bounds = layer.bounds()
        assert (bounds.high - bounds.low).max() < 1e-6
        assert np.abs(found[:, place] - bounds.low).max() < 1e-3


def test_a_box_of_tails_holds_each_of_them() -> None:
    loaded = bundle.read(REVERSAL)
    problem, graph = oracle(loaded.manifest.problem), Graph(loaded.content("greedy.onnx"))
    rng = np.random.default_rng(2)
    sources = problem.sample_sources(rng, 30)
    targets = problem.answer(sources)
    assert problem.tail.contents is not None
    tails = rng.choice(problem.tail.contents, 40)
    read = graph.read(tails)
    boxes = {
        name: tuple(
            type(state)(np.repeat(state.low.min(0)[None], 30, 0), np.repeat(state.high.max(0)[None], 30, 0))
            for state in states
        )
        for name, states in read.items()
    }
    bounds = [layer.bounds() for layer in graph.evaluate(sources[:, :3], targets, boxes)]  # type: ignore[arg-type]
    least = graph.margins(sources[:, :3], targets, boxes)  # type: ignore[arg-type]
    for tail in tails:
        sources[:, 3:] = tail
        for place, layer in enumerate(graph.evaluate(sources, targets, {})):
            single = layer.bounds()
            assert (bounds[place].low <= single.low).all()
            assert (single.high <= bounds[place].high).all()
        assert (least <= graph.margins(sources, targets, {})).all()


def test_a_box_that_is_read_by_boxes_holds_what_any_symbols_lead_to() -> None:
    graph = Graph(bundle.read(REVERSAL).content("greedy.onnx"))
    symbols = np.arange(51, dtype=np.int32)
    for steps in (1, 4):
        read = graph.read(np.random.default_rng(3).choice(symbols, (2_000, steps)))
        for name, box in graph.reach(symbols, steps).items():
            for state, around in zip(read[name], box, strict=True):
                assert around.low.shape == (1, 16)
                assert (around.low <= state.low).all()
                assert (state.high <= around.high).all()


def change(content: bytes, edit: Callable[[Any], object]) -> bytes:
    model = onnx.load_from_string(content)
    edit(model)
    changed: bytes = model.SerializeToString()
    return changed


def node(model: Any, operation: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == operation)


def with_attribute(operation: str, **attributes: Any) -> Callable[[Any], object]:
    def edit(model: Any) -> None:
        found = node(model, operation)
        kept = [each for each in found.attribute if each.name not in attributes]
        del found.attribute[:]
        found.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])

    return edit


def other_operation(model: Any) -> None:
    """A rectifier between the encoder and what follows."""
    squeeze = node(model, "Squeeze")
    model.graph.node.append(helper.make_node("Relu", [squeeze.output[0]], ["cut"]))
    node(model, "MatMul").input[0] = "cut"


def infinite(model: Any) -> None:
    tensor = model.graph.initializer[2]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.inf
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def negative_constant(model: Any) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == node(model, "Mul").input[1])
    tensor.CopyFrom(numpy_helper.from_array(np.array(1, dtype=np.int32), tensor.name))


def last_symbol_first(model: Any) -> None:
    """The last choice is taken from the logits of the first place."""
    choices = [each for each in model.graph.node if each.op_type == "ArgMax"]
    choices[1].input[0] = node(model, "LSTM").output[0]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (other_operation, "Relu, an operation that cannot be bounded"),
        (infinite, "holds values that are not numbers"),
        (negative_constant, "multiplies by something other than 0"),
        (last_symbol_first, "chooses from logits that are no part of the answer"),
        (with_attribute("LSTM", activations=["Relu", "Tanh", "Tanh"]), "an LSTM with activations"),
        (with_attribute("LSTM", clip=1.0), "an LSTM with clip"),
        (with_attribute("LSTM", direction="bidirectional"), "bidirectional"),
        (with_attribute("LSTM", direction="forward"), "reads the places that decide the answer first"),
        (with_attribute("ArgMax", select_last_index=1), "not the first arg-max"),
        (with_attribute("ArgMax", axis=0), "not the first arg-max"),
        (with_attribute("Gather", axis=1), "gathers along axis 1"),
        (lambda model: node(model, "Squeeze").input.pop(), "a form of Squeeze that cannot be bounded"),
        (
            lambda model: node(model, "LSTM").input.__delitem__(slice(1, None)),
            "an LSTM with inputs that cannot be bounded",
        ),
        (lambda model: setattr(node(model, "LSTM"), "domain", "com.example"), "operations of its own"),
        (lambda model: setattr(node(model, "ArgMax"), "op_type", "ArgMin"), "from ArgMin"),
    ],
)
def test_what_cannot_be_bounded_is_refused(edit: Callable[[Any], object], words: str) -> None:
    loaded = bundle.read(REVERSAL)
    problem = oracle(loaded.manifest.problem)
    sources = problem.sample_sources(np.random.default_rng(3), 2)
    targets = problem.answer(sources)
    content = change(loaded.content("greedy.onnx"), edit)

    def evaluate() -> None:
        graph = Graph(content)
        graph.margins(sources[:, :3], targets, graph.read(sources[:, 3:]))

    with pytest.raises(Unprovable, match=words):
        evaluate()
