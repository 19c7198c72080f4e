"""The whole of greedy decoding as one ONNX graph: source ids in, the symbols chosen and their probabilities out.

Written straight from a trained network's weights, so that nothing is computed for a request that does not depend on
it: no shapes, no zero states, no copies between encoder and decoder, and no transposing, since time comes first as it
does in ONNX's LSTM. Knows nothing of fitting or bundles.
"""

from __future__ import annotations

import keras
import numpy as np
import onnx
from onnx import TensorProto

from seq2seq.bundle import NetworkSpec
from seq2seq.problem import Problem
from training.graph_writer import Graph, value
from training.networks import Models


def build(problem: Problem, spec: NetworkSpec, models: Models) -> onnx.ModelProto:
    """source (S, batch) int32 → ids (T, batch) int64, probabilities (T, batch) float32."""
    writer = _Greedy("greedy")
    writer.inputs.append(value("source", TensorProto.INT32, [problem.source_length, "batch"]))
    shape: list[int | str] = [problem.target_length, "batch"]
    writer.outputs += [value("ids", TensorProto.INT64, shape), value("probabilities", TensorProto.FLOAT, shape)]
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
    return writer.model()


def _repeat_vector(problem: Problem, spec: NetworkSpec, models: Models, writer: _Greedy, context: str) -> None:
    """All steps at once."""
    x = writer.add("Concat", [context] * problem.target_length, axis=0)  # (T, B, H)
    for depth in range(len(spec.decoder_units)):
        x = writer.rows(writer.lstm(models.decoder.get_layer(f"decoder_lstm_{depth}"), x)[0])
    writer.choose(writer.dense(models.decoder.get_layer("logits"), x))


def _autoregressive(problem: Problem, models: Models, writer: _Greedy, states: list[tuple[str, str]]) -> None:
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
            x = writer.add("Gather", [embedding, writer.add("ArgMax", [logits[-1]], axis=-1, keepdims=0)])
    writer.choose(writer.add("Concat", logits, axis=0))


class _Greedy(Graph):
    """A graph with the layers of a trained network, each over all steps that it is given."""

    def lstm(
        self, layer: keras.layers.LSTM, x: str, h: str = "", c: str = "", direction: str | None = None
    ) -> tuple[str, str, str]:
        """A layer over x (T, B, D) from states h, c (1, B, H): outputs (T, 1, B, H), final h and c (1, B, H).

        In the direction `reverse` it reads the last step first; its outputs stand in time's order all the same.
        """
        outputs, last_h, last_c = (self.name_of(f"lstm_{name}") for name in ("y", "h", "c"))
        weights = map(self.constant, self.lstm_weights(*layer.get_weights()))
        states = ["", h, c] if h else []  # after `sequence_lens`, which is not needed
        self.node(
            "LSTM",
            [x, *weights, *states],
            [outputs, last_h, last_c],
            hidden_size=layer.units,
            direction=direction,
        )
        return outputs, last_h, last_c

    def rows(self, outputs: str) -> str:
        """A layer's outputs (T, 1, B, H) → (T, B, H), without the axis of directions, of which there is one."""
        return self.add("Squeeze", [outputs, self.axis(1)])

    def dense(self, layer: keras.layers.Dense, x: str) -> str:
        """x (T, B, H) → the layer's outputs (T, B, V)."""
        kernel, bias = layer.get_weights()
        return self.add("Add", [self.add("MatMul", [x, self.constant(kernel)]), self.constant(bias)])

    def choose(self, logits: str) -> None:
        """Logits (T, B, V) → the graph's outputs, the likeliest symbols and their probabilities."""
        self.node("ArgMax", [logits], ["ids"], axis=-1, keepdims=0)
        probabilities = self.add("Softmax", [logits], axis=-1)  # (T, B, V)
        self.node("ReduceMax", [probabilities, self.axis(-1)], ["probabilities"], keepdims=0)
