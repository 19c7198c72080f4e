"""ONNX graphs of networks for texts of varying length: encoder, decoder, and all of greedy decoding as one loop.

Written straight from a trained network's weights, which the file holds in half precision: whoever trains rounds them
first (see `rounded`), so nothing is lost. Time comes first, as in ONNX's LSTM, whose `sequence_lens` keep padding out.
What does not change from step to step is computed before the loop: the inputs of the first decoder layer, for each
symbol, the keys that the attention compares with, and what each source token adds. Standard operators only.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto

from seq2seq.bundle import NetworkSpec
from seq2seq.problem import END_ID, Problem
from training.graph_writer import Array, Graph, value
from training.pairs.networks import MASKED, Layers

FLOAT, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.BOOL


def rounded(weights: list[Any]) -> list[Array]:
    """Weights as half precision has them."""
    return [np.asarray(weight).astype(np.float16).astype(np.float32) for weight in weights]


def build(problem: Problem, spec: NetworkSpec, made: Layers) -> dict[str, onnx.ModelProto]:
    """The graphs by the names of their files.

    encoder.onnx  source (B, S) int32 → memory (B, S, 2H), state_0 (B, D), …
    decoder.onnx  symbol (B, 1) int32, source (B, S), memory, state_0, … → probabilities (B, V), next_state_0, …;
                  in families that attend, attention (B, S) comes after the probabilities
    greedy.onnx   source (S, B) int32 → ids (T, B) int32, probabilities (T, B); T is as many steps as were needed
    """
    writers = _Encoder(spec, made), _Decoder(spec, made), _Greedy(spec, made, problem.target_length)
    return {f"{writer.name}.onnx": writer.model() for writer in writers}


class _Part(Graph):
    """What the graphs have in common."""

    def __init__(self, name: str, spec: NetworkSpec, made: Layers):
        super().__init__(name)
        self.spec, self.made = spec, made
        self.states = [f"state_{place}" for place in range(2 * len(spec.decoder_units))]

    def source(self, *, time_first: bool = False) -> None:
        """Declare the source, and have it with time first."""
        self.inputs.append(value("source", INT32, ["length", "batch"] if time_first else ["batch", "length"]))
        self.sources = "source" if time_first else self.add("Transpose", ["source"], perm=[1, 0])

    def dense(self, layer: keras.layers.Dense, x: str, outer: _Part | None = None) -> str:
        """x (…, H) → the layer's outputs before its activation. `outer` holds its weights if this part does not."""
        kernel, *bias = ((outer or self).half(each) for each in layer.get_weights())
        product = self.add("MatMul", [x, kernel])
        return self.add("Add", [product, *bias]) if bias else product

    def encode(self) -> tuple[str, list[str]]:
        """The source's memory (B, S, 2H), and the decoder's first states (B, D)."""
        lengths = self.add(
            "ReduceSum", [self.add("Cast", [self._is_real()], to=INT32), self.axis(0)], keepdims=0
        )  # (B,)
        x = self.add("Gather", [self.half(self.made.source_embedding.get_weights()[0]), self.sources])  # (S, B, E)
        last = ""
        for depth, layer in enumerate(self.made.encoder):
            weights = layer.get_weights()
            directions = [self.lstm_weights(*weights[start : start + 3]) for start in (0, 3)]
            stacked = [self.half(np.concatenate(each)) for each in zip(*directions, strict=True)]
            units = self.spec.encoder_units[depth]
            outputs = [self.name_of("outputs"), self.name_of("last")]
            self.node("LSTM", [x, *stacked, lengths], outputs, hidden_size=units, direction="bidirectional")
            joined = self.constant(np.array([0, 0, 2 * units], dtype=np.int64))
            x = self.add("Reshape", [self.add("Transpose", [outputs[0]], perm=[0, 2, 1, 3]), joined])  # (S, B, 2H)
            last = outputs[1]
        joined = self.constant(np.array([0, 2 * self.spec.encoder_units[-1]], dtype=np.int64))
        last = self.add("Reshape", [self.add("Transpose", [last], perm=[1, 0, 2]), joined])  # (B, 2H)
        states = [self.add("Tanh", [self.dense(start, last)]) for start in self.made.starts]
        return self.add("Transpose", [x], perm=[1, 0, 2]), states

    def before_steps(self, memory: str) -> dict[str, str]:
        """What each step uses and none changes.

        The attention's keys (B, S, D), what hides padding (B, S, 1), and what each source token adds (B, S, D).
        """
        if self.spec.family == "plain":
            return {}
        (score,) = self.made.score.get_weights()  # (D, 2H)
        real = self.add("Transpose", [self._is_real()], perm=[1, 0])  # (B, S)
        scores = [self.constant(np.array(each, dtype=np.float32)) for each in (0.0, MASKED)]
        found = {
            "keys": self.add("MatMul", [memory, self.half(score.T)]),
            "hidden": self.add("Unsqueeze", [self.add("Where", [real, *scores]), self.axis(2)]),
            "memory": memory,
        }
        if self.spec.family == "hard_attention":
            found["added"] = self.dense(self.made.combined_memory, memory)
        return found

    def inputs_of_symbols(self) -> str:
        """What each symbol adds to the gates of the first decoder layer (V, 4D)."""
        embedding = self.half(self.made.target_embedding.get_weights()[0])
        kernel, _, bias = self.made.decoder[0].get_weights()
        return self.add("Add", [self.add("MatMul", [embedding, self.half(kernel)]), self.half(bias)])

    def step(
        self, outer: _Part, table: str, kept: dict[str, str], symbol: str, states: list[str]
    ) -> tuple[str, list[str], str]:
        """One step of the decoder, whose weights `outer` holds: logits (B, V), and the next states.

        And the attention's scores (B, S, 1); "" in the family that has none.
        """
        x = self.add("Gather", [table, symbol])  # (B, 4D)
        following = []
        for depth, layer in enumerate(self.made.decoder):
            h, c = states[2 * depth : 2 * depth + 2]
            kernel, recurrent, bias = layer.get_weights()
            if depth:
                x = self.add("Add", [self.add("MatMul", [x, outer.half(kernel)]), outer.half(bias)])
            gates = self.add("Add", [x, self.add("MatMul", [h, outer.half(recurrent)])])
            parts = [self.name_of(gate) for gate in "ifgo"]
            self.node("Split", [gates], parts, axis=-1, num_outputs=4)
            i, f, o = (self.add("Sigmoid", [parts[place]]) for place in (0, 1, 3))
            kept_on = self.add("Mul", [f, c])
            c = self.add("Add", [kept_on, self.add("Mul", [i, self.add("Tanh", [parts[2]])])])
            x = self.add("Mul", [o, self.add("Tanh", [c])])
            following += [x, c]
        if self.spec.family == "plain":
            return self.dense(self.made.logits, x, outer), following, ""
        query = self.add("Unsqueeze", [x, outer.axis(2)])  # (B, D, 1)
        scores = self.add("Add", [self.add("MatMul", [kept["keys"], query]), kept["hidden"]])  # (B, S, 1)
        if self.spec.family == "hard_attention":
            own = self.add("Unsqueeze", [self.dense(self.made.combined, x, outer), outer.axis(1)])  # (B, 1, D)
            each = self.add("Tanh", [self.add("Add", [own, kept["added"]])])  # (B, S, D)
            logs = self._logarithms(self.dense(self.made.logits, each, outer), outer.axis(2))  # (B, S, V)
            weighted = self.add("Add", [self._logarithms(scores, outer.axis(1)), logs])
            return self.add("ReduceLogSumExp", [weighted, outer.axis(1)], keepdims=0), following, scores
        weights = self.add("Transpose", [self.add("Softmax", [scores], axis=1)], perm=[0, 2, 1])  # (B, 1, S)
        context = self.add("Squeeze", [self.add("MatMul", [weights, kept["memory"]]), outer.axis(1)])
        kernel, bias = self.made.combined.get_weights()
        units = self.spec.decoder_units[-1]
        both = [
            self.add("MatMul", [x, outer.half(kernel[:units])]),
            self.add("MatMul", [context, outer.half(kernel[units:])]),
        ]
        x = self.add("Tanh", [self.add("Add", [self.add("Add", both), outer.half(bias)])])
        return self.dense(self.made.logits, x, outer), following, scores

    def _logarithms(self, scores: str, axis: str) -> str:
        """The logarithms of the softmax. `LogSoftmax` makes some of them infinite in ONNX's own evaluator."""
        return self.add("Sub", [scores, self.add("ReduceLogSumExp", [scores, axis])])

    def _is_real(self) -> str:
        """Where the source (S, B) is no padding."""
        return self.add("Not", [self.add("Equal", [self.sources, self.constant(np.array(0, dtype=np.int32))])])


class _Encoder(_Part):
    def __init__(self, spec: NetworkSpec, made: Layers):
        super().__init__("encoder", spec, made)
        self.source()
        memory, states = self.encode()
        self.give(memory, "memory", FLOAT, ["batch", "length", 2 * spec.encoder_units[-1]])
        for name, state, units in zip(self.states, states, spec.state_units, strict=True):
            self.give(state, name, FLOAT, ["batch", units])


class _Decoder(_Part):
    def __init__(self, spec: NetworkSpec, made: Layers):
        super().__init__("decoder", spec, made)
        self.inputs.append(value("symbol", INT32, ["batch", 1]))
        self.source()
        self.inputs.append(value("memory", FLOAT, ["batch", "length", 2 * spec.encoder_units[-1]]))
        units = spec.state_units
        self.inputs += [value(name, FLOAT, ["batch", size]) for name, size in zip(self.states, units, strict=True)]
        kept = self.before_steps("memory")
        symbol = self.add("Squeeze", ["symbol", self.axis(1)])
        logits, following, scores = self.step(self, self.inputs_of_symbols(), kept, symbol, self.states)
        symbols = made.logits.units
        self.give(self.add("Softmax", [logits], axis=-1), "probabilities", FLOAT, ["batch", symbols])
        if scores:
            weights = self.add("Squeeze", [self.add("Softmax", [scores], axis=1), self.axis(2)])
            self.give(weights, "attention", FLOAT, ["batch", "length"])
        for name, state, size in zip(self.states, following, units, strict=True):
            self.give(state, f"next_{name}", FLOAT, ["batch", size])


class _Greedy(_Part):
    """The loop ends when every row has written its end, or `most` symbols. What a row writes after that is padding."""

    def __init__(self, spec: NetworkSpec, made: Layers, most: int):
        super().__init__("greedy", spec, made)
        self.source(time_first=True)
        memory, states = self.encode()
        kept = self.before_steps(memory)
        table = self.inputs_of_symbols()
        zero, one = (self.constant(np.array(each, dtype=np.int32)) for each in (0, END_ID))
        sure = self.constant(np.array(1.0, dtype=np.float32))
        first = self.add("Gather", ["source", zero], axis=0)  # (B,)
        start = self.add("Mul", [first, zero])
        running = self.add("Equal", [start, one])  # false for each row
        begin = [start, running, *states]

        body = _Part("step", spec, made)
        carried = [
            ("symbol", INT32, []),
            ("ended", BOOL, []),
            *((n, FLOAT, [u]) for n, u in zip(self.states, spec.state_units, strict=True)),
        ]
        body.inputs = [value("step", TensorProto.INT64, []), value("goes_on", BOOL, [])]
        body.inputs += [value(name, kind, ["batch", *sizes]) for name, kind, sizes in carried]
        logits, following, _ = body.step(self, table, kept, "symbol", self.states)
        likeliest = body.add("Cast", [body.add("ArgMax", [logits], axis=-1, keepdims=0)], to=INT32)
        highest = body.add("ReduceMax", [body.add("Softmax", [logits], axis=-1), self.axis(-1)], keepdims=0)
        chosen = body.add("Where", ["ended", zero, likeliest])
        ended = body.add("Or", ["ended", body.add("Equal", [chosen, one])])
        all_ended = body.add("ReduceMin", [body.add("Cast", [ended], to=INT32), self.axis(0)], keepdims=0)
        body.give(body.add("Equal", [all_ended, zero]), "next_goes_on", BOOL, [])
        body.give(chosen, "next_symbol", INT32, ["batch"])
        body.give(ended, "next_ended", BOOL, ["batch"])
        for name, state, units in zip(self.states, following, spec.state_units, strict=True):
            body.give(state, f"next_{name}", FLOAT, ["batch", units])
        body.give(chosen, "id", INT32, ["batch"])
        body.give(body.add("Where", ["ended", sure, highest]), "probability", FLOAT, ["batch"])

        most_steps = self.constant(np.array(most, dtype=np.int64))
        outputs = [self.name_of(f"last_{name}") for name, _, _ in carried] + ["ids", "probabilities"]
        self.node("Loop", [most_steps, self.constant(np.array(True)), *begin], outputs, body=body.graph())
        self.outputs += [value("ids", INT32, ["steps", "batch"]), value("probabilities", FLOAT, ["steps", "batch"])]
