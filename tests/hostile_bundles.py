"""Copies of the addition model, as they are or with a graph that does harm."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import service
from onnx import TensorProto, helper

from seq2seq import bundle

MODELS = service.ROOT / "models"
NEWEST = max((MODELS / "addition").iterdir(), key=lambda path: int(path.name))


def copied(models_dir: Path, version: int = 1) -> Path:
    """The newest addition model as another version, to be changed."""
    directory = models_dir / "addition" / str(version)
    shutil.copytree(NEWEST, directory)
    manifest = json.loads((directory / "manifest.json").read_bytes())
    bundle.write_manifest(directory, manifest | {"version": str(version)})
    return directory


def sealed(directory: Path, graph: onnx.ModelProto) -> Path:
    """The version with another graph, as somebody would leave it who can write to the models directory."""
    content = graph.SerializeToString()
    (directory / "greedy.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest = bundle.read_manifest(directory)
    proof = replace(manifest.proof, graph=digest)
    files = manifest.files | {"greedy.onnx": bundle.FileEntry(digest, len(content))}
    bundle.write_manifest(directory, replace(manifest, evaluation=proof, files=files).as_data())
    return directory


def looping(graph: onnx.ModelProto) -> None:
    """Have a graph count to 2⁶² before it answers."""
    counted = helper.make_graph(
        [helper.make_node("Identity", ["goes_on"], ["goes_on_still"]), helper.make_node("Add", ["n", "n"], ["n_next"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on_still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n_next", TensorProto.FLOAT, []),
        ],
    )
    constants = [("turns", [2**62], TensorProto.INT64), ("yes", [True], TensorProto.BOOL)]
    for name, value, kind in constants:
        graph.graph.initializer.append(helper.make_tensor(name, kind, [], value))
    delayed(graph, [helper.make_node("Loop", ["turns", "yes", "zero"], ["delay"], name="forged\nline", body=counted)])


def greedy(graph: onnx.ModelProto) -> None:
    """Have a graph fill 64 GiB before it answers."""
    graph.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [1], [2**34]))
    fill = helper.make_node("ConstantOfShape", ["shape"], ["filled"])
    delayed(graph, [fill, helper.make_node("ReduceMax", ["filled"], ["delay"], keepdims=0)])


def delayed(graph: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Have the probabilities wait for what `nodes` compute, which is 0."""
    graph.graph.initializer.append(helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]))
    for node in graph.graph.node:
        for place, name in enumerate(node.output):
            if name == "probabilities":
                node.output[place] = "probabilities_before"
    graph.graph.node.extend([*nodes, helper.make_node("Add", ["probabilities_before", "delay"], ["probabilities"])])


HOSTILE: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "loops": (looping, "takes more than 1 s of processor time to load and to answer its examples"),
    "eats memory": (greedy, "alloc"),
}
