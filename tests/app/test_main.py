"""What starts the service: it needs no more than it says, and refuses with one clear line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import fakes
import pytest

from app import VERSION, settings
from app.command import parser
from app.settings import Settings

ROOT = Path(__file__).parents[2]
PREAMBLE = "app: cannot start: "


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment without any setting, free to be changed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(settings.PREFIX)}
    monkeypatch.setattr(os, "environ", environment)
    return environment


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python at the root of the project, warnings being errors."""
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100, check=False)


def refusal(*arguments: str) -> str:
    """The one line with which the service refuses to start on these arguments."""
    result = python("-m", "app", *arguments)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(PREAMBLE)
    return line.removeprefix(PREAMBLE)


def test_importing_and_building_loads_no_training() -> None:
    program = """
import sys
sys.path.insert(0, "tests")
import fakes
from app.main import create_app
from app.settings import Settings
create_app(Settings(), fakes.models())
import app.__main__, app.command, app.serving.runtime
app.serving.runtime.loader("onnx")
print(sorted({name.partition(".")[0] for name in sys.modules} & {"keras", "tensorflow", "training", "matplotlib"}))
"""
    result = python("-c", program)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_help_lists_every_setting() -> None:
    text = unwrapped(parser().format_help())
    for name in Settings.model_fields:
        assert unwrapped(f"{settings.option(name)} VALUE {settings.described(name)}") in text
        assert unwrapped(f"[{settings.variable(name)}, default {settings.default(name)}]") in text


def unwrapped(text: str) -> str:
    """Text without what lines were broken at."""
    return "".join(text.split())


def test_help_needs_no_models() -> None:
    result = python("-m", "app", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "APP_MODELS_DIR" in result.stdout


def test_version_is_printed() -> None:
    result = python("-m", "app", "--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{VERSION}\n", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--api-key-file", "secret"], "--api-key-file is not an option; did you mean --api-keys-file?"),
        (["--api-key=secret"], "--api-key is not an option; did you mean --api-keys-file?"),
        (["--worker", "4"], "--worker is not an option; did you mean --workers?"),
        (["--colour", "red"], "--colour is not an option; --help lists the options"),
    ],
)
def test_unknown_option_is_refused(arguments: list[str], complaint: str) -> None:
    assert refusal(*arguments) == complaint


def test_misspelt_variable_is_refused(environment: dict[str, str]) -> None:
    environment["APP_API_KEY_FILE"] = "keys"
    assert refusal().startswith("APP_API_KEY_FILE is not a setting; did you mean APP_API_KEYS_FILE?")


def test_empty_option_means_the_default(environment: dict[str, str]) -> None:
    environment["APP_WORKERS"] = "many"
    assert refusal("--workers", "", "--host", "256.0.0.1").startswith("cannot listen on 256.0.0.1 port 8000: ")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_process_that_refuses_exits_with_one_line(tmp_path: Path, workers: str) -> None:
    path = tmp_path / "none"
    assert refusal("--models-dir", str(path), "--port", "0", "--workers", workers) == (
        f"{path}: cannot be listed: No such file or directory; it is named by APP_MODELS_DIR"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_variables_without_effect_are_logged_once(environment: dict[str, str], tmp_path: Path, workers: str) -> None:
    environment.update(APP_COLOUR="secret", APP_SERVICE_HOST="10.96.12.7", APP_PORT="tcp://10.96.12.7:8000")
    done = python("-m", "app", "--models-dir", str(tmp_path / "none"), "--host", "127.0.8.1", "--workers", workers)
    *remarks, refused = done.stderr.splitlines()
    assert [line.split(" ", 1)[1] for line in remarks] == [
        "WARNING:  ignored, because they are not settings: APP_COLOUR",
        "WARNING:  ignored, because Kubernetes sets them for its Services: APP_PORT, APP_SERVICE_HOST",
    ]
    assert refused.startswith(f"{PREAMBLE}{tmp_path / 'none'}")


@pytest.fixture
def bundles(tmp_path: Path, environment: dict[str, str]) -> Path:
    """Two bundles whose networks cannot be run, one of them required."""
    models_dir = tmp_path / "models"
    fakes.write_bundle(models_dir, fakes.addition_manifest())
    fakes.write_bundle(models_dir, fakes.reversal_manifest())
    environment["APP_MODELS_DIR"] = str(models_dir)
    environment["APP_REQUIRED_MODELS"] = '["addition"]'
    environment["APP_PORT"] = "0"
    return models_dir


def test_altered_bundle_is_refused(bundles: Path) -> None:
    path = bundles / "addition" / "1" / "encoder.onnx"
    path.write_bytes(b"another.onnx")
    assert refusal().startswith(f"{path}: was altered")


def test_bundle_of_another_format_is_refused(bundles: Path) -> None:
    path = bundles / "addition" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    assert refusal().startswith(f"{path}: format is 99")


def test_network_that_cannot_be_run_is_refused(bundles: Path) -> None:
    assert refusal().startswith(f"{bundles / 'addition' / '1' / 'greedy.onnx'}: cannot be run")


def test_missing_version_is_refused(bundles: Path) -> None:
    assert refusal("--required-models", "[]", "--versions", '{"reversal": 7}').startswith(
        f"{bundles / 'reversal' / '7'}: is missing"
    )


def test_wrong_setting_is_refused(environment: dict[str, str]) -> None:
    environment["APP_WORKERS"] = "many"
    assert refusal().startswith("APP_WORKERS is 'many': ")
    assert refusal("--workers", "1", "--log-level", "loud").startswith("APP_LOG_LEVEL is 'loud': ")


@pytest.mark.parametrize("content", [None, "ci:no hash"])
def test_unusable_file_of_keys_is_refused(bundles: Path, content: str | None) -> None:
    path = bundles.parent / "keys"
    if content is not None:
        path.write_text(content)
    assert refusal("--api-keys-file", str(path)).startswith(f"APP_API_KEYS_FILE: {path} ")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_busy_port_is_refused(workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        assert refusal("--port", port, "--workers", workers) == (
            f"cannot listen on 127.0.0.1 port {port}: Address already in use; set APP_HOST and APP_PORT, for example:"
            " APP_PORT=8001"
        )


def test_unknown_host_is_refused() -> None:
    assert refusal("--host", "256.0.0.1").startswith("cannot listen on 256.0.0.1 port 8000: ")


def test_more_workers_than_any_machine_can_have_are_refused() -> None:
    for workers in ("1000000000", "1" + 30 * "0"):
        assert refusal("--port", "0", "--workers", workers).startswith(f"APP_WORKERS is {workers}")
