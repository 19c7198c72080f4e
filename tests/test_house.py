"""The house itself: which way imports run, and that the README and pyproject.toml say what is so."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import app
from app import settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def imported(package: str) -> dict[str, set[str]]:
    """The top-level modules that each file of a package imports, wherever in the file."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
        found[path.relative_to(ROOT / package).as_posix()] = names - set(sys.stdlib_module_names)
    return found


def test_imports_run_one_way() -> None:
    domain = imported("seq2seq")
    assert domain.pop("bundle/schema.py") == {"seq2seq", "pydantic"}
    assert domain.pop("runtimes/keras.py") == {"seq2seq", "keras", "tensorflow"}
    assert set().union(*domain.values()) == {"seq2seq", "numpy", "onnx", "onnxruntime"}
    assert "training" not in set().union(*imported("app").values())
    assert not {"app", "fastapi", "pydantic"} & set().union(*imported("training").values())


UNASKED = ("app.operations.tracing", "opentelemetry.sdk", "opentelemetry.exporter", "asgiref", "pythonjsonlogger")
"""What is loaded only where a setting asks for it."""


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import app.main; app.main.create_app()", ("keras", "tensorflow", "training", "matplotlib", "onnx")),
        ("import app.main; app.main.create_app()", UNASKED),
        ("import app.command", ("keras", "tensorflow", "training")),
        (
            "import seq2seq.bundle, seq2seq.runtimes.keras",
            ("onnxruntime", "keras", "fastapi", "app", "training"),
        ),
        ("import training.__main__", ("keras", "tensorflow", "matplotlib", "fastapi", "app")),
    ],
)
def test_what_a_process_loads(code: str, forbidden: tuple[str, ...]) -> None:
    check = f"import sys; {code}; print([name for name in {forbidden!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


def test_models_hold_data_only() -> None:
    suffixes = {path.suffix for path in (ROOT / "models").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".keras", ".onnx", ".md", ".png"}


def test_bundles_are_small() -> None:
    for manifest in (ROOT / "models").glob("*/*/manifest.json"):
        size = sum(path.stat().st_size for path in manifest.parent.rglob("*") if path.is_file())
        assert size < 10_000_000


def test_the_readme_lists_every_setting() -> None:
    assert settings.table() in README


def test_the_readme_names_every_module() -> None:
    layout = README.partition("## Layout")[2]
    modules = [path for package in ("seq2seq", "training", "app") for path in (ROOT / package).glob("*.py")]
    modules += [path for path in (ROOT / "app").glob("*/*.py") if path.parent.name in ("serving", "http", "operations")]
    assert [path.name for path in modules if path.name != "__init__.py" and path.name not in layout] == []


def test_the_service_has_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == app.VERSION


UNPICKLING = re.compile(
    r"\b(pickle|cPickle|dill|joblib|marshal|shelve)\b|allow_pickle\s*=\s*True|safe_mode\s*=\s*False"
)


def test_no_exception_is_made_once_and_raised_again() -> None:
    """It would keep the frames of all who ever raised it, and what they hold."""
    for path in (ROOT / "app").rglob("*.py"):
        assert not re.search(r"raise [A-Z_]+$", path.read_text(encoding="utf-8"), re.MULTILINE), path


@pytest.mark.parametrize("package", ["seq2seq", "training", "app"])
def test_nothing_is_unpickled(package: str) -> None:
    paths = list((ROOT / package).rglob("*.py"))
    assert paths
    assert [path.name for path in paths if UNPICKLING.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_requirement_is_pinned_by_hash(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    requirements = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    assert len(requirements) > 20
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_the_base_image_is_pinned_by_digest() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE=(.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.13\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) <= {"${BASE}", *stages}
