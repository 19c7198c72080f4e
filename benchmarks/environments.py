"""The virtual environments that contenders run in, made when first needed. Knows nothing of what runs in them.

A peer's environment is `.venv-bench/<peer>/`, made from the hash-pinned `requirements/<peer>.txt`. It keeps a copy of
that file, and is made again only when the file has changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
REQUIREMENTS = Path(__file__).parent / "requirements"
PEERS = ROOT / ".venv-bench"


class CannotPrepare(Exception):
    """Something that the benchmark needs is missing and cannot be installed. The message says what to do."""


def python(environment: str) -> Path:
    """The interpreter of `serving`, `dev` or a peer's environment. Raises `CannotPrepare`."""
    if environment == "dev":
        return Path(sys.executable)
    if environment == "serving":
        serving = ROOT / ".venv" / "bin" / "python"
        return serving if serving.exists() else Path(sys.executable)
    return _peer(environment)


def directory(environment: str) -> Path:
    """Where an environment is."""
    return python(environment).parent.parent


def outcome(environment: str, *command: str | Path) -> Any:
    """What `python -m COMMAND` prints last, as JSON, in an environment and without a GPU. Raises `CannotPrepare`."""
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    argv: list[str | Path] = [python(environment), "-m", *command]
    result = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT, env=environ)
    if result.returncode:
        raise CannotPrepare(f"{' '.join(map(str, command))} failed: {result.stderr.strip()[-500:]}")
    return json.loads(result.stdout.splitlines()[-1])


def _peer(name: str) -> Path:
    directory, wanted = PEERS / name, REQUIREMENTS / f"{name}.txt"
    copy, interpreter = directory / "requirements.txt", directory / "bin" / "python"
    if copy.exists() and copy.read_bytes() == wanted.read_bytes():
        return interpreter
    sys.stderr.write(f"making {directory.relative_to(ROOT)} from {wanted.relative_to(ROOT)}\n")
    _run(sys.executable, "-m", "venv", "--clear", directory)
    install = ("install", "--quiet", "--require-hashes", "-r", wanted)
    try:
        _run(sys.executable, "-m", "uv", "pip", *install, "--python", interpreter)
    except CannotPrepare:  # uv is some twenty times faster, but may not know pip's index
        _run(interpreter, "-m", "pip", "--disable-pip-version-check", *install)
    shutil.copyfile(wanted, copy)
    return interpreter


def _run(*command: str | Path) -> None:
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotPrepare(f"{' '.join(map(str, command[1:4]))} failed: {last}")
