"""What Keras and TensorFlow need of the environment, set before they are imported, whatever the user's shell says."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import sys
import tempfile
from typing import Any

PACKAGES = ("keras", "tensorflow", "numpy", "matplotlib", "onnx", "tf2onnx", "onnxruntime")
"""What training needs; a bundle tells their versions."""

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""The CPU cores that this process may use."""


def versions() -> dict[str, Any]:
    """The versions of Python and of these packages, as a bundle's record of its training holds them."""
    packages = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "packages": packages}


class WrongEnvironment(Exception):
    """Training cannot run here. The message says in one line why."""


def load_keras() -> None:
    """Import Keras on TensorFlow with its own defaults. Raises `WrongEnvironment`.

    A shell may export another backend or limits on epochs (`KERAS_...`), a notebook its own Matplotlib backend, and the
    user's keras.json or matplotlibrc other defaults. None of these is part of a recipe. Export and plots import
    their packages last of all, so all are looked for first.
    """
    for package in PACKAGES:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise WrongEnvironment(f"{package} is not installed; training needs requirements/training.txt") from None
    for name in [name for name in os.environ if name.startswith("KERAS_")]:
        del os.environ[name]
    os.environ.pop("MPLBACKEND", None)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "keras" not in sys.modules:
        with tempfile.TemporaryDirectory() as home:  # read once, on import
            os.environ["KERAS_HOME"] = home
            import keras  # noqa: F401
        del os.environ["KERAS_HOME"]
    import matplotlib
    from keras import config

    if config.backend() != "tensorflow":
        raise WrongEnvironment(f"Keras was imported with the backend {config.backend()}; training needs tensorflow")
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    matplotlib.rcdefaults()


def one_thread_an_operation() -> None:
    """Products this small lose more by being split than they gain. Without effect once TensorFlow has started."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
