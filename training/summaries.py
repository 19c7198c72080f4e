"""Logs for TensorBoard, written while a run goes on.

Needs no package but TensorFlow: Keras' own callback stops without the package tensorboard. Runs and tags have the
names that Keras gives them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
)
"""Has TensorBoard draw a value as a point of a curve."""


class Scalars(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch, one point for each figure: `train/` and `validation/` are two runs with the same tags."""

    def __init__(self, directory: Path):
        super().__init__()
        self.directory = directory
        self.writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            run = "validation" if name.startswith("val_") else "train"
            if run not in self.writers:
                self.writers[run] = tf.summary.create_file_writer(str(self.directory / run))
            with self.writers[run].as_default(step=epoch):
                tf.summary.write(f"epoch_{name.removeprefix('val_')}", tf.constant(value, tf.float32), metadata=SCALAR)
        for writer in self.writers.values():
            writer.flush()
