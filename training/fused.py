"""The whole of greedy decoding as one ONNX graph: source ids in, the symbols chosen and their probabilities out.

Written straight from a trained network's weights, so that nothing is computed for a request that does not depend on
it: no shapes, no zero states, no copies between encoder and decoder, and no transposing, since time comes first as it
does in ONNX's LSTM. Knows nothing of fitting or bundles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from seq2seq.bundle import NetworkSpec
from seq2seq.problem import Problem
from training.networks import Models

OPSET = 17
Array = npt.NDArray[Any]


def build(problem: Problem, spec: NetworkSpec, models: Models) -> onnx.ModelProto:
    """source (S, batch) int32 → ids (T, batch) int64, probabilities (T, batch) float32."""
    writer = _Writer()
    eye = np.eye(len(problem.source_vocabulary), dtype=np.float32)
    x = writer.add("Gather", [writer.constant(eye), "source"])  # (S, B, V)
    finals = []
    for depth in range(len(spec.encoder_units)):
        layer = models.encoder.get_layer(f"encoder_lstm_{depth}")
        outputs, h, c = writer.lstm(layer, x, direction="reverse" if spec.reversed_source else None)
        finals.append((h, c))
        if depth + 1 < len(spec.encoder_units):
            x = writer.rows(outputs)
    if spec.family == "repeat_vector":
        _repeat_vector(problem, spec, models, writer, finals[-1][0])
    else:
        _autoregressive(problem, models, writer, finals)
    return writer.model(problem)


def _repeat_vector(problem: Problem, spec: NetworkSpec, models: Models, writer: _Writer, context: str) -> None:
    """All steps at once."""
    x = writer.add("Concat", [context] * problem.target_length, axis=0)  # (T, B, H)
    for depth in range(len(spec.decoder_units)):
        x = writer.rows(writer.lstm(models.decoder.get_layer(f"decoder_lstm_{depth}"), x)[0])
    writer.outputs(writer.dense(models.decoder.get_layer("logits"), x))


def _autoregressive(problem: Problem, models: Models, writer: _Writer, states: list[tuple[str, str]]) -> None:
    """One step after another, each fed with what the last one chose."""
    eye = np.eye(len(problem.target_vocabulary), dtype=np.float32)
    embedding = writer.constant(eye)
    first = writer.add("Gather", ["source", writer.constant(np.array([0], dtype=np.int64))], axis=0)  # (1, B)
    nothing = writer.add("Mul", [first, writer.constant(np.array(0, dtype=np.int32))])
    start = problem.target_vocabulary.padding_id
    x = writer.add("Gather", [writer.constant(eye[start : start + 1]), nothing])  # (1, B, V), for each source the same
    logits: list[str] = []
    for _ in range(problem.target_length):
        following = []
        for depth, (h, c) in enumerate(states):
            outputs, h, c = writer.lstm(models.decoder.get_layer(f"decoder_lstm_{depth}"), x, h, c)
            x = writer.rows(outputs)
            following.append((h, c))
        states = following
        logits.append(writer.dense(models.decoder.get_layer("logits"), x))  # (1, B, V)
        if len(logits) < problem.target_length:
            x = writer.add("Gather", [embedding, writer.likeliest(logits[-1])])  # (1, B, V)
    writer.outputs(writer.add("Concat", logits, axis=0))


@dataclass
class _Writer:
    """Collects nodes and weights; equal weights, such as a layer's that is used at each step, are kept once."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[bytes, onnx.TensorProto] = field(default_factory=dict)

    def add(self, operation: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def constant(self, array: Array) -> str:
        """A weight, whose name is returned."""
        key = array.tobytes() + repr((array.shape, array.dtype)).encode()
        if key not in self.weights:
            self.weights[key] = numpy_helper.from_array(np.ascontiguousarray(array), f"weight_{len(self.weights)}")
        name: str = self.weights[key].name
        return name

    def lstm(
        self, layer: keras.layers.LSTM, x: str, h: str = "", c: str = "", direction: str | None = None
    ) -> tuple[str, str, str]:
        """A layer over x (T, B, D) from states h, c (1, B, H): outputs (T, 1, B, H), final h and c (1, B, H).

        In the direction `reverse` it reads the last step first; its outputs stand in time's order all the same.
        """
        kernel, recurrent, bias = (_to_onnx_gates(weight) for weight in layer.get_weights())
        place = len(self.nodes)
        outputs = [f"lstm_{place}_{name}" for name in ("y", "h", "c")]
        weights = [kernel.T[None], recurrent.T[None], np.concatenate([bias, np.zeros_like(bias)])[None]]
        inputs = [x, *map(self.constant, weights), "", h, c]
        while not inputs[-1]:
            inputs.pop()
        self.nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=layer.units, direction=direction))
        return outputs[0], outputs[1], outputs[2]

    def rows(self, outputs: str) -> str:
        """A layer's outputs (T, 1, B, H) → (T, B, H), without the axis of directions, of which there is one."""
        return self.add("Squeeze", [outputs, self.constant(np.array([1], dtype=np.int64))])

    def dense(self, layer: keras.layers.Dense, x: str) -> str:
        """x (T, B, H) → the layer's outputs (T, B, V)."""
        kernel, bias = layer.get_weights()
        return self.add("Add", [self.add("MatMul", [x, self.constant(kernel)]), self.constant(bias)])

    def likeliest(self, logits: str, output: str | None = None) -> str:
        """Logits (T, B, V) → the likeliest symbols' ids (T, B)."""
        return self.add("ArgMax", [logits], output=output, axis=-1, keepdims=0)

    def outputs(self, logits: str) -> None:
        """Logits (T, B, V) → the graph's outputs."""
        self.likeliest(logits, "ids")
        probabilities = self.add("Softmax", [logits], axis=-1)  # (T, B, V)
        self.add("ReduceMax", [probabilities], output="probabilities", axes=[-1], keepdims=0)

    def model(self, problem: Problem) -> onnx.ModelProto:
        """The finished graph, checked."""
        source = helper.make_tensor_value_info("source", TensorProto.INT32, [problem.source_length, "batch"])
        shape = [problem.target_length, "batch"]
        outputs = [
            helper.make_tensor_value_info("ids", TensorProto.INT64, shape),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
        ]
        graph = helper.make_graph(self.nodes, "greedy", [source], outputs, list(self.weights.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def _to_onnx_gates(weight: Array) -> Array:
    """Keras orders an LSTM's gates input, forget, cell, output; ONNX input, output, forget, cell."""
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)
