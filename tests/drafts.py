"""Copies of what ships, without a seal, so that their graphs can be changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import service

from seq2seq import bundle
from seq2seq.bundle import Bundle

SHIPPED = {"addition": "2", "reversal": "3"}
MODELS = service.ROOT / "models"


def draft_of(name: str, folder: Path) -> Bundle:
    """A copy of a model that ships."""
    directory = folder / name / SHIPPED[name]
    shutil.copytree(MODELS / name / SHIPPED[name], directory)
    return Bundle(directory, replace(bundle.read_manifest(directory), files={}))


def change(draft: Bundle, name: str, edit: Callable[[Any], object]) -> None:
    """Edit the graph in one of its files."""
    path = draft.path / name
    model = onnx.load(path)
    edit(model.graph)
    path.write_bytes(model.SerializeToString())


def weights(graph: Any) -> Any:
    """The largest of a graph's tensors of weights."""
    return max(graph.initializer, key=lambda tensor: len(tensor.raw_data))
