"""A served ONNX graph, evaluated over boxes: how far does each true symbol's logit lie above the others?

The graph itself is interpreted, node by node, so what is proven is what is served. A graph with an operation that this
module does not know is refused, never guessed at. Knows nothing of problems or requests.

    source (S, B) → Gather → LSTM … → MatMul, Add → logits (T, B, V) → ArgMax → ids (T, B)

Wherever the graph takes an arg-max, the true symbol is put in its place. That is sound: greedy decoding gives the true
answer if and only if each arg-max, given the true symbols before it, gives the true symbol.

Some places of the source may stand for a set of values. The encoder must read these places first. It reads each
combination once; the states it ends in are given back, and a box around any set of them starts the rest of the graph.
B is the number of boxes, S and T the source and target length, H a layer's units, V the vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from seq2seq.proving.intervals import Affine, Array, Integers, Interval, hull, lstm_step
from seq2seq.vocabulary import IdArray

States = dict[str, tuple[Interval, Interval]]
"""By the name of each encoder layer's output: h and c, each (B, H)."""


FIRST: Integers = np.zeros(1, dtype=np.int64)
"""Where a run of all rows starts."""


class Unprovable(Exception):
    """A graph that cannot be bounded. The message says why."""


class _Rows(NamedTuple):
    """Rows of a constant table, one for each id (B,)."""

    table: str
    ids: Integers


class _Outputs(NamedTuple):
    """What an LSTM node gives: each step's output, and the last h and c."""

    steps: list[Interval]
    h: Interval
    c: Interval


class Graph:
    """A graph with the input `source` and the outputs `ids` and `probabilities`. Raises `Unprovable`."""

    def __init__(self, content: bytes):
        self._model = model = onnx.load_from_string(content)
        graph = model.graph
        if model.functions or any(node.domain for node in graph.node):
            raise Unprovable("the graph has operations of its own, beside those of ONNX")
        self._constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self._nodes = {output: node for node in graph.node for output in node.output}
        self._projected: dict[tuple[str, str, str], Interval] = {}
        for name, constant in self._constants.items():
            if not np.isfinite(constant).all():
                raise Unprovable(f"the weight {name} holds values that are not numbers")
        (self.logits,) = self._node("ids", "ArgMax").input
        self._places = {name: place for place, name in enumerate(self._pieces(self.logits))}

    def with_logits(self) -> bytes:
        """The same graph with its logits as one more output, named `logits`."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        model.graph.output.append(onnx.helper.make_tensor_value_info(self.logits, onnx.TensorProto.FLOAT, None))
        content: bytes = model.SerializeToString()
        return content

    def read(self, ids: IdArray, states: States | None = None) -> States:
        """Have the encoder read ids (B, m) for the last m places of the source, before all others: its states then.

        `states` are those that it reads them in, if it has read other places before.
        """
        walk = _Walk(self, [*ids.T], None, states or {})
        return {name: (outputs.h, outputs.c) for name in self._encoder() for outputs in [walk.lstm(name)]}

    def reach(self, symbols: IdArray, steps: int) -> States:
        """One box around all states that the encoder can be in after so many steps, each with one of these ids (n,)."""
        box: States = {}
        for _ in range(steps):
            before = {name: (h.take(0 * symbols), c.take(0 * symbols)) for name, (h, c) in box.items()}
            after = self.read(symbols[:, None], before)
            box = {name: (hull(h, FIRST), hull(c, FIRST)) for name, (h, c) in after.items()}
        return box

    def evaluate(self, sources: IdArray, targets: IdArray, states: States) -> list[Affine]:
        """The logits at each of T places, given the true symbols before.

        sources  ids (B, n) of the source's first n places
        targets  the true answers' ids (B, T)
        states   what `read` gave for the places that follow, or boxes around that; empty if there are none
        """
        steps = _Walk(self, [*sources.T], [*targets.T], states).sequence(self.logits)
        if len(steps) != targets.shape[1] or not all(isinstance(step, Affine) for step in steps):
            raise Unprovable("the graph does not end in one dense layer for each symbol of the answer")
        return steps

    def margins(self, sources: IdArray, targets: IdArray, states: States) -> Array:
        """A lower bound (B,) on the least margin of a true symbol's logit over the others', in the whole answer."""
        margins = [
            logits.margins(ids) for logits, ids in zip(self.evaluate(sources, targets, states), targets.T, strict=True)
        ]
        least: Array = np.min(margins, axis=0)
        return least

    def _encoder(self) -> list[str]:
        """The outputs of the LSTMs that read the source step by step, in the order of the layers."""
        return [name for name, node in self._nodes.items() if node.op_type == "LSTM" and self._reads_source(name)
                and name == node.output[0]]  # fmt: skip

    def _reads_source(self, name: str) -> bool:
        """Whether a value has one step for each place of the source."""
        node = self._nodes.get(name)
        if node is None:
            return name == "source"
        inputs = {"Gather": node.input[1:], "Squeeze": node.input[:1], "LSTM": node.input[:1]}
        is_whole = node.op_type != "Gather" or node.input[0] in self._constants
        return is_whole and any(map(self._reads_source, inputs.get(node.op_type, ())))

    def _pieces(self, name: str) -> list[str]:
        """The values that a value is put together from, one after another in time."""
        node = self._nodes.get(name)
        if node is None or node.op_type != "Concat":
            return [name]
        return [piece for each in node.input for piece in self._pieces(each)]

    def _node(self, name: str, *expected: str) -> Any:
        node = self._nodes.get(name)
        if node is None or (expected and node.op_type not in expected):
            found = "nothing" if node is None else node.op_type
            raise Unprovable(f"{name} comes from {found}, not from {' or '.join(expected) or 'a node'}")
        return node


class _Walk:
    """One evaluation of a graph; every value has a list with an entry for each step along its first axis, time."""

    def __init__(self, graph: Graph, source: list[Integers], truth: list[Integers] | None, states: States):
        self._graph = graph
        self._source = source
        self._truth = truth
        self._states = states
        self._lstms: dict[str, _Outputs] = {}
        self._values: dict[str, list[Any]] = {"source": source}

    def sequence(self, name: str) -> list[Any]:
        """A value's steps: ids, rows of a table, intervals, or dense layers' results."""
        if name not in self._values:
            node = self._graph._node(name)
            operation = getattr(self, f"_{node.op_type.lower()}", None)
            if operation is None:
                raise Unprovable(f"{name} comes from {node.op_type}, an operation that cannot be bounded")
            try:
                self._values[name] = operation(name, node, _attributes(node))
            except (AttributeError, LookupError, TypeError, ValueError) as error:  # inputs left out, odd shapes
                raise Unprovable(f"{name} comes from a form of {node.op_type} that cannot be bounded") from error
        return self._values[name]

    def _gather(self, name: str, node: Any, attributes: dict[str, Any]) -> list[Any]:
        """Rows of a table, by ids; or some of the source's places, which must be among those that are known."""
        table, index = node.input
        if attributes.get("axis", 0) != 0:
            raise Unprovable(f"{name} gathers along axis {attributes['axis']}")
        if table == "source":
            places = self._constant(index).tolist()
            if not all(0 <= place < len(self._source) for place in places):
                raise Unprovable(f"{name} takes places {places} of the source, which do not decide the answer")
            return [self._source[place] for place in places]
        if self._constant(table).ndim != 2:
            raise Unprovable(f"{name} gathers from {table}, which is not a table")
        return [_Rows(table, ids) for ids in self.sequence(index)]

    def _mul(self, name: str, node: Any, _: dict[str, Any]) -> list[Any]:
        """Zeros of the batch's size: ids times 0."""
        if self._constant(node.input[1]).any():
            raise Unprovable(f"{name} multiplies by something other than 0")
        steps = self.sequence(node.input[0])
        if not all(isinstance(step, np.ndarray) for step in steps):
            raise Unprovable(f"{name} multiplies something other than symbols")
        return [np.zeros_like(step) for step in steps]

    def _lstm(self, name: str, node: Any, _: dict[str, Any]) -> list[Any]:
        outputs = self.lstm(node.output[0])
        if name == node.output[0]:
            raise Unprovable(f"{name} is used with the axis of its directions")
        return [outputs.h if name == node.output[1] else outputs.c]

    def _squeeze(self, name: str, node: Any, _: dict[str, Any]) -> list[Any]:
        """An LSTM's outputs without the axis of its directions."""
        if self._constant(node.input[1]).tolist() != [1]:
            raise Unprovable(f"{name} drops other axes than that of an LSTM's directions")
        return list(self.lstm(node.input[0]).steps)

    def _concat(self, name: str, node: Any, attributes: dict[str, Any]) -> list[Any]:
        if attributes["axis"] != 0:
            raise Unprovable(f"{name} joins values along axis {attributes['axis']}, not in time")
        return [step for each in node.input for step in self.sequence(each)]

    def _matmul(self, name: str, node: Any, _: dict[str, Any]) -> list[Any]:
        weight = self._constant(node.input[1])
        steps = self.sequence(node.input[0])
        if weight.ndim != 2 or not all(isinstance(step, Interval) for step in steps):
            raise Unprovable(f"{name} multiplies something other than an LSTM's outputs by a matrix")
        weight = weight.astype(np.float64)
        return [Affine(step, weight, np.zeros(weight.shape[1])) for step in steps]

    def _add(self, name: str, node: Any, _: dict[str, Any]) -> list[Any]:
        steps, bias = self.sequence(node.input[0]), self._constant(node.input[1]).astype(np.float64)
        if not all(isinstance(step, Affine) and step.bias.shape == bias.shape for step in steps):
            raise Unprovable(f"{name} adds to something other than a matrix product")
        return [Affine(step.x, step.weight, step.bias + bias) for step in steps]

    def _argmax(self, name: str, node: Any, attributes: dict[str, Any]) -> list[Any]:
        """The true symbols at the places whose logits these are."""
        if attributes.get("axis", 0) != -1 or attributes.get("keepdims", 1) or attributes.get("select_last_index", 0):
            raise Unprovable(f"{name} is not the first arg-max over the vocabulary")
        places = self._graph._places
        place = places.get(node.input[0])
        if place is None or self._truth is None or len(places) != len(self._truth):
            raise Unprovable(f"{name} chooses from logits that are no part of the answer")
        if len(self.sequence(node.input[0])) != 1:
            raise Unprovable(f"{name} chooses several symbols at once")
        return [self._truth[place]]

    def lstm(self, name: str) -> _Outputs:
        """An LSTM node, by its first output: its steps in time's order, whichever way it reads them."""
        if name not in self._lstms:
            self._lstms[name] = self._run_lstm(name)
        return self._lstms[name]

    def _run_lstm(self, name: str) -> _Outputs:
        node = self._graph._node(name, "LSTM")
        attributes = _attributes(node)
        direction = attributes.pop("direction", b"forward")
        units = attributes.pop("hidden_size", 0)
        if attributes or direction not in (b"forward", b"reverse"):
            raise Unprovable(f"{name} comes from an LSTM with {', '.join(attributes) or direction.decode()}")
        names: list[str] = list(node.input) + [""] * (8 - len(node.input))
        x, weight, recurrent, bias, lengths, h, c, peepholes = names
        if lengths or peepholes or not bias or bool(h) != bool(c):
            raise Unprovable(f"{name} comes from an LSTM with inputs that cannot be bounded")
        steps = self.sequence(x)
        inputs = [self._projected(step, weight, bias) for step in steps]
        count = len(inputs[0].low)
        if h:
            (h_now,), (c_now,) = self.sequence(h), self.sequence(c)
        elif name in self._states:
            if direction == b"forward":
                raise Unprovable(f"{name} reads the places that decide the answer first, not last")
            h_now, c_now = self._states[name]
        else:
            zeros = np.zeros((count, units))
            h_now = c_now = Interval(zeros, zeros)
        matrix = self._constant(recurrent)[0].T.astype(np.float64)  # (H, 4H)
        outputs = []
        for step in reversed(inputs) if direction == b"reverse" else inputs:
            h_now, c_now = lstm_step(step, matrix, h_now, c_now)
            outputs.append(h_now)
        return _Outputs(outputs[::-1] if direction == b"reverse" else outputs, h_now, c_now)

    def _projected(self, step: Any, weight: str, bias: str) -> Interval:
        """What a step's input and the biases add to the gates (B, 4H)."""
        matrix = self._constant(weight)[0].T.astype(np.float64)  # (D, 4H)
        biases = self._constant(bias)[0].astype(np.float64).reshape(2, -1).sum(axis=0)  # (4H,)
        if isinstance(step, Interval):
            return Affine(step, matrix, biases).bounds()
        if not isinstance(step, _Rows):
            raise Unprovable(f"an LSTM with the weights {weight} reads something other than symbols or outputs")
        key = (step.table, weight, bias)
        if key not in self._graph._projected:
            table = self._constant(step.table).astype(np.float64)  # (V, D)
            self._graph._projected[key] = Affine(Interval(table, table), matrix, biases).bounds()
        return self._graph._projected[key].take(step.ids)

    def _constant(self, name: str) -> Any:
        if name not in self._graph._constants:
            raise Unprovable(f"{name} is computed, where only a constant can be bounded")
        return self._graph._constants[name]


def _attributes(node: Any) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
