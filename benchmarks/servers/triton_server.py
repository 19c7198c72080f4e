"""Triton, by its guide: C++ front end, Python backend with the same network in it, dynamic batching without delay.

It answers less than the others: the text that the model wrote is left out. The wheel of PyTriton carries the server.
Its Python backend runs `triton_model.py` in a process of its own, a stub that is linked to this version of Python.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from benchmarks.servers import model
from benchmarks.workload import FIELDS, MODELS

CONFIG = """
backend: "python"
max_batch_size: 64
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
instance_group [ {{ count: {cores}, kind: KIND_CPU }} ]
input [ {{ name: "{field}", data_type: {kind}, dims: [ -1 ] }} ]
output [
  {{ name: "{answer}", data_type: TYPE_INT64, dims: [ -1 ] }},
  {{ name: "confidence", data_type: TYPE_FP32, dims: [ 1 ] }}
]
"""


def repository(folder: Path) -> Path:
    """The folder with the one model that is served."""
    route = model.route()
    version = folder / "models" / MODELS[route] / "1"
    version.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("triton_model.py"), version / "model.py")
    field, answer = FIELDS[route]
    kind = "TYPE_STRING" if route == "add" else "TYPE_INT64"
    config = CONFIG.format(cores=model.cores(), field=field, answer=answer, kind=kind)
    version.with_name("config.pbtxt").write_text(config, encoding="utf-8")
    return version.parent.parent


def backends(folder: Path, server: Path) -> Path:
    """The backends, with the stub for this Python in its place."""
    copied = folder / "backends"
    shutil.copytree(server / "backends", copied)
    stub = f"python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copy(server / stub, copied / "python")
    return copied


def main() -> None:
    found = find_spec("pytriton")
    assert found is not None and found.origin is not None  # noqa: S101, PT018
    server = Path(found.origin).with_name("tritonserver")
    folder = Path(sys.prefix, "bench")  # one server runs at a time
    shutil.rmtree(folder, ignore_errors=True)
    environ = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{server.parent.parent / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}",
        "BENCH_PACKAGES": os.pathsep.join([*filter(None, sys.path)]),
    }
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={repository(folder)}",
        f"--backend-directory={backends(folder, server)}",
        "--http-address=127.0.0.1",
        f"--http-port={model.port()}",
        f"--http-thread-count={max(2, model.cores())}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--log-info=false",
        "--backend-config=python,stub-timeout-seconds=60",
    ]
    os.execve(command[0], command, environ)  # noqa: S606


if __name__ == "__main__":
    main()
