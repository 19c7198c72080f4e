"""A served graph that decodes in a loop: its logits, as it computes them and exactly.

Exact ones come from ONNX's reference implementation in double precision, which is told the true symbol at each step.
Knows nothing of problems or requests.

    source (S, B) → encoder → Loop: logits (B, V) → ArgMax → ids (T, B)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from seq2seq.proving.intervals import Array
from seq2seq.vocabulary import IdArray

LOGITS, TRUTH = "logits_shown", "truth"
"""The output and the input that a graph is given here."""


class NoLoop(Exception):
    """A graph that does not choose symbols in one loop. The message says why."""


def with_logits(content: bytes) -> bytes:
    """The same graph with its logits (T, B, V) as one more output, named `LOGITS`. Raises `NoLoop`."""
    model = onnx.load_from_string(content)
    _show_logits(model)
    shown: bytes = model.SerializeToString()
    return shown


def _show_logits(model: Any) -> Any:
    """Show the logits; the node in the loop that chooses a symbol is returned. Raises `NoLoop`."""
    loops = [node for node in model.graph.node if node.op_type == "Loop"]
    choices = [node for loop in loops for node in _body(loop).node if node.op_type == "ArgMax"]
    if len(loops) != 1 or len(choices) != 1:
        raise NoLoop(f"it has {len(loops)} loops, in which {len(choices)} times the likeliest symbol is chosen")
    loop, choice = loops[0], choices[0]
    _body(loop).output.append(helper.make_tensor_value_info(choice.input[0], TensorProto.FLOAT, None))
    loop.output.append(LOGITS)
    model.graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, None))
    return choice


def _body(loop: Any) -> Any:
    return next(each.g for each in loop.attribute if each.name == "body")


class Exact:
    """A graph's logits in double precision. Raises `NoLoop`."""

    def __init__(self, content: bytes):
        model = onnx.load_from_string(content)
        choice = _show_logits(model)
        loop = next(node for node in model.graph.node if node.op_type == "Loop")
        step = _body(loop).input[0].name
        told = helper.make_node("Gather", [TRUTH, step], choice.output, axis=0)
        nodes = [told if node == choice else node for node in _body(loop).node]
        del _body(loop).node[:]
        _body(loop).node.extend(nodes)
        model.graph.input.append(helper.make_tensor_value_info(TRUTH, TensorProto.INT64, None))
        for graph in (model.graph, _body(loop)):
            _double(graph)
        self._evaluator = ReferenceEvaluator(model, new_ops=[LSTM])

    def __call__(self, sources: IdArray, targets: IdArray) -> Array:
        """Source ids (B, S), true answers' ids (B, T) → the logits at each place, given the true symbols before."""
        given = {"source": np.ascontiguousarray(sources.T), TRUTH: np.ascontiguousarray(targets.T.astype(np.int64))}
        logits = np.asarray(self._evaluator.run([LOGITS], given)[0])  # (T * B, V): this Loop puts steps in one row
        found: Array = logits.reshape(-1, len(sources), logits.shape[-1]).transpose(1, 0, 2)
        return found


def _double(graph: Any) -> None:
    """Have all that is computed in single precision be computed in double."""
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE


class LSTM(OpRun):  # type: ignore[misc]  # onnx has no types
    """ONNX's LSTM in both directions over sequences of different lengths; its reference implementation has neither."""

    def _run(
        self, x: Any, weight: Any, recurrent: Any, bias: Any, lengths: Any, direction: str = "forward", **_: Any
    ) -> tuple[Any, Any, Any]:
        if direction != "bidirectional":
            raise NoLoop(f"it has an LSTM that reads {direction}")
        steps, batch = x.shape[:2]
        units = recurrent.shape[-1]
        outputs = np.zeros((steps, 2, batch, units))
        ends = np.zeros((2, batch, units)), np.zeros((2, batch, units))
        for way, order in enumerate((range(steps), reversed(range(steps)))):
            h, c = ends[0][way], ends[1][way]
            for step in order:
                gates = x[step] @ weight[way].T + h @ recurrent[way].T + bias[way].reshape(2, -1).sum(axis=0)
                i, o, f, g = np.split(gates, 4, axis=-1)
                following = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
                is_real = (step < lengths)[:, None]
                c[:] = np.where(is_real, following, c)
                h[:] = np.where(is_real, _sigmoid(o) * np.tanh(following), h)
                outputs[step, way] = np.where(is_real, h, 0.0)
        return outputs, *ends


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
