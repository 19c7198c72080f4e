"""The contenders: how to start each, in which environment, and how to send it requests.

All serve the same bundles. A peer's settings come from its own guide for a small model on CPU. If the guide leaves a
choice, the fastest setting is used (see README.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import environments
from benchmarks.environments import ROOT
from benchmarks.workload import INFERENCE, LISTED, PLAIN, Form, Route
from benchmarks.wrk import Check


@dataclass(frozen=True)
class Setup:
    """A server's port, the number of its cores, and the route that gets the requests."""

    port: int
    cores: int
    route: Route
    models_dir: Path


Command = Callable[[Setup], list[str]]


@dataclass(frozen=True)
class Contender:
    """One server that takes part.

    kind        what it is in the comparison
    environment `serving`, `dev`, or the name of a peer's own
    command     the arguments of its interpreter
    check       whether its answers are compared with the truth; without a model, only their form is checked
    slow        whether it answers so few requests that it needs longer windows
    """

    name: str
    about: str
    kind: str
    environment: str
    command: Command
    form: Form = PLAIN
    check: Check = "truth"
    slow: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    def argv(self, setup: Setup) -> list[str]:
        """The whole command. Raises `CannotPrepare` if its environment cannot be made."""
        return [str(environments.python(self.environment)), *self.command(setup)]

    def environ(self, setup: Setup) -> dict[str, str]:
        """The environment variables of its process."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("APP_")},
            "PYTHONPATH": str(ROOT),
            "APP_MODELS_DIR": str(setup.models_dir),
            "BENCH_ROUTE": setup.route,
            "BENCH_PORT": str(setup.port),
            "BENCH_CORES": str(setup.cores),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "-1",
            **self.variables,
        }


def _module(name: str) -> Command:
    return lambda _: ["-m", f"benchmarks.servers.{name}"]


def _service(module: str) -> Command:
    """The service's own command line."""
    return lambda setup: [
        "-m", module, "--port", str(setup.port), "--workers", str(setup.cores), "--log-level", "warning",
    ]  # fmt: skip


def _uvicorn(name: str) -> Command:
    """A FastAPI app by uvicorn's command line."""
    return lambda setup: [
        "-m", "uvicorn", f"benchmarks.servers.{name}:app", "--port", str(setup.port), "--workers", str(setup.cores),
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("ours", "this service", "ours", "serving", _service("app")),
        Contender("ours-v2", "the same, by the Open Inference Protocol", "ours", "serving", _service("app"), INFERENCE),
        Contender(
            "floor",
            "this service with the model call taken out: a constant at the price of everything else",
            "floor",
            "serving",
            _service("benchmarks.servers.floor"),
            check="form",
        ),
        Contender(
            "plain",
            "an empty FastAPI route with the same schemas, written the usual way: a constant",
            "floor",
            "serving",
            _uvicorn("plain"),
            check="form",
        ),
        Contender("litserve", "LitServe", "peer", "litserve", _module("litserve_server")),
        Contender(
            "bentoml",
            "BentoML",
            "peer",
            "bentoml",
            lambda setup: [
                "-m",
                "bentoml",
                "serve",
                "benchmarks.servers.bentoml_service:Answering",
                "--host",
                "127.0.0.1",
                "--port",
                str(setup.port),
            ],
            form=LISTED,
            variables={"BENTOML_DO_NOT_TRACK": "True"},
        ),
        Contender("triton", "Triton", "peer", "triton", _module("triton_server"), form=INFERENCE),
        Contender("mosec", "mosec", "peer", "mosec", _module("mosec_server")),
        Contender("mlserver", "MLServer", "peer", "mlserver", _module("mlserver_runtime"), form=INFERENCE),
        Contender(
            "ray",
            "Ray Serve",
            "peer",
            "ray",
            _module("ray_app"),
            variables={
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
                "RAY_SERVE_ENABLE_HA_PROXY": "1",
                "RAY_USAGE_STATS_ENABLED": "0",
            },
        ),
        Contender(
            "keras-thread",
            "FastAPI with a compiled Keras call in a thread",
            "tutorial",
            "dev",
            _uvicorn("keras_thread"),
        ),
        Contender(
            "tutorial",
            "the tutorials' way: FastAPI and Keras `predict` for each request",
            "tutorial",
            "dev",
            _uvicorn("tutorial"),
            slow=True,
        ),
    )
}
