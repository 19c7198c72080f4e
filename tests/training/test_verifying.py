"""What `verify` finds in graphs, beside what the service finds when it loads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drafts import SHIPPED, change, draft_of, weights
from onnx import TensorProto, helper, numpy_helper

from seq2seq.bundle import Bundle, BundleError
from training import verifying

ONNX = ("greedy.onnx", "encoder.onnx", "decoder.onnx")


@pytest.fixture(params=SHIPPED)
def draft(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return draft_of(request.param, tmp_path)


def refusal(draft: Bundle, name: str, edit: Callable[[Any], object]) -> str:
    """What `verify` says once a graph was changed."""
    verifying.check_weights(draft)
    change(draft, name, edit)
    with pytest.raises(BundleError) as caught:
        verifying.check_weights(draft)
    return str(caught.value).removeprefix(f"{draft.path / name}: ")


@pytest.mark.parametrize("name", ONNX)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("raw", [True, False])
def test_a_weight_that_is_not_finite_is_found(draft: Bundle, name: str, value: float, raw: bool) -> None:
    def spoil(graph: Any) -> None:
        tensor = weights(graph)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[-1] = value
        spoiled = numpy_helper.from_array(values, tensor.name)
        if not raw:
            spoiled = helper.make_tensor(tensor.name, TensorProto.FLOAT, values.shape, values.ravel().tolist())
        tensor.CopyFrom(spoiled)

    assert refusal(draft, name, spoil) == "has weights that are not finite numbers"


@pytest.mark.parametrize("inside", [False, True])
def test_a_constant_that_is_not_finite_is_found(draft: Bundle, inside: bool) -> None:
    def add_constant(graph: Any) -> None:
        nothing = numpy_helper.from_array(np.array([np.nan], dtype=np.float64), "nothing")
        node = helper.make_node("Constant", [], ["nothing"], value=nothing)
        if inside:
            body = helper.make_graph([node], "body", [], [helper.make_tensor_value_info("nothing", 11, [1])])
            node = helper.make_node("If", ["condition"], ["nothing"], then_branch=body, else_branch=body)
        graph.node.append(node)

    assert refusal(draft, "greedy.onnx", add_constant) == "has weights that are not finite numbers"


@pytest.mark.parametrize("name", ONNX)
def test_weights_in_another_file_are_found(draft: Bundle, name: str) -> None:
    def put_outside(graph: Any) -> None:
        tensor = weights(graph)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights")

    assert refusal(draft, name, put_outside) == "keeps weights in another file"


def test_a_file_that_is_no_graph_is_named(draft: Bundle) -> None:
    (draft.path / "encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"encoder\.onnx: cannot be read: "):
        verifying.check_weights(draft)
