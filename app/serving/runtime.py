"""Chooses what runs the networks: ONNX Runtime, or TensorFlow. Knows nothing of HTTP or batching."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from seq2seq.bundle import Bundle
from seq2seq.decoding import VARYING, Network, Search

Runtime = Literal["onnx", "tensorflow"]
Loader = Callable[[Bundle], Network]


class RuntimeMissing(Exception):
    """The runtime that was asked for is not installed."""


def loader(runtime: Runtime, *, is_tried: bool = False) -> Loader:
    """What loads a bundle's network. Of one that `is_tried` the graphs were seen to agree, and are not compared again.

    Raises `RuntimeMissing` where the runtime is not installed.
    """
    if runtime == "onnx":
        from seq2seq.runtimes import onnx

        return onnx.load_searching if is_tried else onnx.load_checked
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise RuntimeMissing(f"the runtime tensorflow is not installed: {error}") from error
    from seq2seq.runtimes import keras as keras_runtime

    return keras_runtime.load


def search(bundle: Bundle, network: Network) -> Search | None:
    """The beam search of a bundle's network; None in families that have none."""
    return getattr(network, "beam", None) if bundle.manifest.network.family in VARYING else None
