"""Writes ONNX graphs node by node. Knows nothing of networks but the order of an LSTM's gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 8
Array = npt.NDArray[Any]


def value(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """An input or an output; a size that is a name may be any."""
    return helper.make_tensor_value_info(name, kind, shape)


class Graph:
    """Collects nodes and weights. Equal weights are kept once."""

    def __init__(self, name: str):
        self.name = name
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[bytes, onnx.TensorProto] = {}
        self._names = 0

    def name_of(self, what: str) -> str:
        """A name that nothing else in this graph, or in a graph inside it, has."""
        self._names += 1
        return f"{self.name}_{what.lower()}_{self._names}"

    def node(self, operation: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operation, list(inputs), list(outputs), **attributes))

    def add(self, operation: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        output = self.name_of(operation)
        self.node(operation, inputs, [output], **attributes)
        return output

    def give(self, name: str, as_name: str, kind: int, shape: Sequence[int | str]) -> None:
        """Make a value an output of the graph."""
        self.node("Identity", [name], [as_name])
        self.outputs.append(value(as_name, kind, shape))

    def constant(self, array: Array) -> str:
        """A weight, whose name is returned."""
        key = array.tobytes() + repr((array.shape, array.dtype)).encode()
        if key not in self._weights:
            name = f"{self.name}_weight_{len(self._weights)}"
            self._weights[key] = numpy_helper.from_array(np.array(array, order="C"), name)
        found: str = self._weights[key].name
        return found

    def axis(self, number: int) -> str:
        return self.constant(np.array([number], dtype=np.int64))

    def half(self, array: Array) -> str:
        """A weight that the file holds in half precision; what is computed with is single precision."""
        held = self.constant(array.astype(np.float16))
        single = f"{held}_single"
        if not any(node.output[0] == single for node in self._nodes):
            self.node("Cast", [held], [single], to=TensorProto.FLOAT)
        return single

    @staticmethod
    def lstm_weights(kernel: Array, recurrent: Array, bias: Array) -> tuple[Array, Array, Array]:
        """A Keras LSTM's weights as ONNX has them, with an axis of directions in front."""
        kernel, recurrent, bias = map(_to_onnx_gates, (kernel, recurrent, bias))
        return kernel.T[None], recurrent.T[None], np.concatenate([bias, np.zeros_like(bias)])[None]

    def graph(self) -> onnx.GraphProto:
        return helper.make_graph(self._nodes, self.name, self.inputs, self.outputs, list(self._weights.values()))

    def model(self) -> onnx.ModelProto:
        """The finished graph, checked."""
        model = helper.make_model(self.graph(), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def _to_onnx_gates(weight: Array) -> Array:
    """Keras orders an LSTM's gates input, forget, cell, output; ONNX input, output, forget, cell."""
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)
