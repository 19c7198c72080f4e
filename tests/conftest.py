"""What all tests share.

Files that need Keras are not even imported where their marker is deselected. A test that is a coroutine runs on a loop
of its own, by anyio's plugin of pytest: see `anyio_mode` in pyproject.toml.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

for name in ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"):
    os.environ.pop(name, None)  # what `make test` was told is not for a make that a test runs


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    needs_keras = collection_path.suffix == ".py" and "pytestmark = pytest.mark.training" in collection_path.read_text()
    return True if needs_keras and "not training" in config.option.markexpr else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What is logged may name a folder that is no UTF-8. It is escaped, to reach the process that collects reports."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line of figures, whatever is captured."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    writer = request.config.get_terminal_writer()

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            writer.line()
            writer.line(f"  {line}")

    return say
