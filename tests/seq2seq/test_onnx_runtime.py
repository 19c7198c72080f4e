"""The graphs of what ships, and what is refused when one of them is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drafts import SHIPPED, change, draft_of, weights
from onnx import TensorProto, helper, numpy_helper

from seq2seq import bundle
from seq2seq.bundle import Bundle, BundleError
from seq2seq.runtimes import onnx as onnx_runtime


@pytest.fixture(params=SHIPPED)
def draft(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return draft_of(request.param, tmp_path)


def scale(graph: Any, by: float) -> None:
    tensor = weights(graph)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(by), tensor.name))


def test_parts_agree_with_the_graph_that_is_served(draft: Bundle) -> None:
    onnx_runtime.check_parts(draft, onnx_runtime.load(draft))


@pytest.mark.parametrize("name", ["greedy.onnx", "encoder.onnx", "decoder.onnx"])
def test_a_graph_with_other_weights_is_told_from_the_others(draft: Bundle, name: str) -> None:
    change(draft, name, lambda graph: scale(graph, 0.5))
    with pytest.raises(BundleError, match=r"greedy\.onnx: does not answer as encoder\.onnx with decoder\.onnx does"):
        onnx_runtime.check_parts(draft, onnx_runtime.load(draft))


def test_a_graph_that_does_not_run_is_named(draft: Bundle) -> None:
    def look_up_too_far(graph: Any) -> None:
        graph.initializer.append(numpy_helper.from_array(np.array(1_000, dtype=np.int32), "far"))
        graph.node[0].input[1] = "too far"
        graph.node.insert(0, helper.make_node("Add", ["source", "far"], ["too far"]))

    change(draft, "greedy.onnx", look_up_too_far)
    with pytest.raises(BundleError, match=r"greedy\.onnx: does not run: "):
        onnx_runtime.check_parts(draft, onnx_runtime.load(draft))


@pytest.mark.parametrize("name", ["greedy.onnx", "encoder.onnx", "decoder.onnx"])
def test_types_are_checked(draft: Bundle, name: str) -> None:
    def double(graph: Any) -> None:
        output = graph.output[-1]
        for node in graph.node:
            for names in (node.output, node.input):
                names[:] = ["inner" if each == output.name else each for each in names]
        graph.node.append(helper.make_node("Cast", ["inner"], [output.name], to=TensorProto.DOUBLE))
        output.type.tensor_type.elem_type = TensorProto.DOUBLE

    change(draft, name, double)
    load = onnx_runtime.load if name == "greedy.onnx" else onnx_runtime.load_parts
    with pytest.raises(BundleError, match=rf"{name}: has outputs .*tensor\(double\).*; .* need .*tensor\(float\)"):
        load(draft)


@pytest.mark.parametrize("location", ["weights", "../1/weights"])
def test_a_graph_may_not_keep_weights_in_another_file(
    draft: Bundle, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_outside(graph: Any) -> None:
        tensor = weights(graph)
        (draft.path / "weights").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    change(draft, "greedy.onnx", put_outside)
    monkeypatch.chdir(draft.path)
    with pytest.raises(BundleError, match=r"greedy\.onnx: cannot be run: "):
        onnx_runtime.load(draft)


def test_a_graph_that_was_replaced_since_it_was_checked_is_refused(draft: Bundle) -> None:
    checked = bundle.read(draft.path)
    change(draft, "greedy.onnx", lambda graph: scale(graph, 0.5))
    with pytest.raises(BundleError, match=r"greedy\.onnx: was altered"):
        onnx_runtime.load(checked)


def test_names_in_a_graph_write_no_line_of_the_log(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """ONNX Runtime has a log of its own, in which names stand as they are."""
    node = helper.make_node("Gather", ["letters", "place"], ["letter"], name="x\nINFO:     all is well")
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("place", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("letter", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("letters", TensorProto.FLOAT, [2], [1.0, 2.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnx_runtime._session(tmp_path, model.SerializeToString(), onnx_runtime.LEVELS["all"])
    with pytest.raises(Exception, match="out of data bounds"):
        session.run(["letter"], {"place": np.array([5])})
    assert capfd.readouterr() == ("", "")
