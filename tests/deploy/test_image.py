"""The container image as it is meant to be run: read-only, without capabilities, as nobody in particular.

`IMAGE` names an image that was built already (`make test-image` does that); without it, it is built first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import service

pytestmark = pytest.mark.image

(PINNED,) = re.findall(r"^ARG BASE=(.+)$", (service.ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
BASE = os.environ.get("BASE", PINNED)
STARTED_WITHIN = 60.0
STOPPED_WITHIN = 20.0
MOST_BYTES_OVER_BASE = 220_000_000
HARDENED = ["--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges"]

# What runs inside tells what it finds there as JSON.
CREDENTIALS = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({"user": os.getuid(), "groups": sorted({os.getgid(), *os.getgroups()}),
                  "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
                  "no_new_privileges": status["NoNewPrivs"]}))
"""
WRITABLE = """
import json, os
writable = []
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/dev", "/proc", "/sys", "/tmp")]
    paths = (os.path.join(folder, name) for name in (".", *files))
    writable += [path for path in paths if os.access(path, os.W_OK) and not os.path.islink(path)]
print(json.dumps(writable))
"""
INSTALLED = """
import importlib.metadata, json
print(json.dumps([[part.metadata["Name"], part.version] for part in importlib.metadata.distributions()]))
"""
IMPORTABLE = """
import importlib.util, json
names = ("tensorflow", "keras", "training", "tests", "pytest", "uv")
print(json.dumps([name for name in names if importlib.util.find_spec(name)]))
"""


@dataclass(frozen=True)
class Engine:
    """Docker or Podman: their commands are alike but for how a container gets a port of the host."""

    command: str

    def __call__(self, *arguments: str, timeout: float = 60) -> str:
        done = subprocess.run([self.command, *arguments], capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise AssertionError(f"{self.command} {' '.join(arguments)} failed\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def inspect(self, image: str) -> dict[str, Any]:
        described: list[dict[str, Any]] = json.loads(self("image", "inspect", image))
        return described[0]

    def start(self, image: str) -> Container:
        if self.command == "docker":
            name = self("run", "--detach", "--publish=127.0.0.1::8000", *HARDENED, image)
            return Container(self, name, "http://" + self("port", name, "8000/tcp").splitlines()[0])
        port = service.free_port()
        # Of its own accord Podman makes /run and /var/tmp writable, and needs systemd for health checks.
        options = ["--network=host", f"--env=APP_PORT={port}", "--read-only-tmpfs=false", "--no-healthcheck"]
        return Container(self, self("run", "--detach", *options, *HARDENED, image), f"http://127.0.0.1:{port}")


@dataclass(frozen=True)
class Container:
    """A running container, and where it answers."""

    engine: Engine
    name: str
    url: str

    def exec(self, *command: str) -> str:
        return self.engine("exec", self.name, *command)

    def tells(self, script: str) -> Any:
        return json.loads(self.exec("python", "-c", script))

    def logs(self) -> str:
        done = subprocess.run([self.engine.command, "logs", self.name], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def running(self) -> bool:
        return self.engine("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < deadline and self.running():
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"it stopped, or was not ready within {STARTED_WITHIN:.0f} s\n{self.logs()}")


@contextmanager
def running(engine: Engine, image: str) -> Iterator[Container]:
    """A container that is ready; it is removed at the end, whatever becomes of it."""
    container = engine.start(image)
    try:
        container.wait_until_ready()
        yield container
    finally:
        engine("rm", "--force", container.name)


@pytest.fixture(scope="module")
def engine() -> Engine:
    docker = shutil.which("docker") and subprocess.run(["docker", "version"], capture_output=True, check=False)
    return Engine("docker" if docker and docker.returncode == 0 else "podman")


@pytest.fixture(scope="module")
def image() -> str:
    if name := os.environ.get("IMAGE"):
        return name
    subprocess.run(["make", "image"], cwd=service.ROOT, check=True)
    return "sequences-to-service"


@pytest.fixture(scope="module")
def container(engine: Engine, image: str) -> Iterator[Container]:
    with running(engine, image) as container:
        yield container


def test_it_adds(container: Container) -> None:
    response = httpx.post(f"{container.url}/add", json={"expression": "10+6"})
    assert response.status_code == 200
    assert response.json()["sum"] == 16


def test_it_reverses(container: Container) -> None:
    response = httpx.post(f"{container.url}/reverse", json={"sequence": [20, 36, 40, 10, 34, 28]})
    assert response.status_code == 200
    assert response.json()["reversed"] == [40, 36, 20]


def test_its_health_check_passes_inside(engine: Engine, image: str, container: Container) -> None:
    described = engine.inspect(image)
    check = described["Config"].get("Healthcheck") or described["Healthcheck"]  # Docker, Podman
    kind, *command = check["Test"]
    assert kind == "CMD"
    container.exec(*command)


def test_it_runs_without_any_privilege(container: Container) -> None:
    found = container.tells(CREDENTIALS)
    assert found == {"user": 10001, "groups": [10001], "capabilities": 0, "no_new_privileges": "1"}


def test_it_can_write_nowhere_but_in_tmp(container: Container) -> None:
    assert container.tells(WRITABLE) == []


def test_it_holds_nothing_but_what_serves(container: Container) -> None:
    assert container.tells(IMPORTABLE) == []
    assert set(container.exec("ls", "/srv").split()) == {"app", "models", "seq2seq"}


def test_it_says_what_it_is(engine: Engine, image: str) -> None:
    labels = engine.inspect(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "sequences-to-service"
    assert labels["org.opencontainers.image.version"] not in ("", "unknown")
    assert labels["org.opencontainers.image.base.name"] == BASE


def test_its_bill_of_materials_lists_what_is_installed(container: Container) -> None:
    bill = json.loads(container.exec("cat", "/usr/share/sbom/sequences-to-service.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "sequences-to-service"
    listed = {(part["name"], part["version"]) for part in bill["components"]}
    assert listed == {(name, version) for name, version in container.tells(INSTALLED)}


def test_it_stops_on_sigterm(engine: Engine, image: str) -> None:
    with running(engine, image) as container:
        engine("kill", "--signal=TERM", container.name)
        assert engine("wait", container.name, timeout=STOPPED_WITHIN) == "0", container.logs()


def test_it_is_small(engine: Engine, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    size, base = engine.inspect(image)["Size"], engine.inspect(BASE)["Size"]
    with capsys.disabled():
        sys.stdout.write(f"\nimage: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB over {BASE}\n")
    assert size - base <= MOST_BYTES_OVER_BASE
