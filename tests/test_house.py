"""The house itself: which way imports run, and that docs/ and pyproject.toml are right about it."""

import ast
import builtins
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import app
from app import settings
from seq2seq.problems import from_spec, kinds

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LAYOUT = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Layout")[2]


def modules_in(path: Path) -> set[str]:
    """The modules that a file imports, wherever in the file: `import a.b` and `from a import b` both give `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported(package: str) -> dict[str, set[str]]:
    """The top-level modules that each file of a package imports."""
    return {
        path.relative_to(ROOT / package).as_posix(): {name.partition(".")[0] for name in modules_in(path)}
        - set(sys.stdlib_module_names)
        for path in (ROOT / package).rglob("*.py")
    }


def test_imports_run_one_way() -> None:
    domain = imported("seq2seq")
    assert domain.pop("bundle/schema.py") == {"seq2seq", "pydantic"}
    assert domain.pop("runtimes/keras.py") == {"seq2seq", "keras", "tensorflow"}
    assert set().union(*domain.values()) == {"seq2seq", "numpy", "onnx", "onnxruntime"}
    assert "training" not in set().union(*imported("app").values())
    assert not {"app", "fastapi", "pydantic"} & set().union(*imported("training").values())


SUMS = {"min_terms": 2, "max_terms": 3, "largest": 99, "padding": "term", "smallest": 0}
LISTS = {"shortest": 6, "longest": 6, "cardinality": 50, "take": 3}
TEXTS = {
    "source_tokens": "chars",
    "target_tokens": "words",
    "source_symbols": ["a"],
    "target_symbols": ["A"],
    "longest_source": 4,
    "longest_target": 4,
    "normalization": "NFC",
    "fold_case": False,
    "domain": None,
}
TEXT_FIELDS = ("source", "sources", "target", "targets")
SIGNS = {"operators": "+-*", "largest": 99}
SPECS: dict[str, dict[str, Any]] = {"addition": SUMS, "arithmetic": SIGNS, "reversal": LISTS, "pairs": TEXTS}
ROOMS = (
    "text",
    "settings",
    "keys",
    "serving",
    "http",
    "operations",
    "api",
    "inference_protocol",
    "main",
    "service",
    "command",
)
"""The parts of `app`; each imports those before it only. `api` and `inference_protocol` do not know each other."""


def rooms_in(path: Path) -> set[str]:
    """The parts of `app` that a file imports."""
    return {name.split(".")[1] for name in modules_in(path) if name.startswith("app.")} - {"VERSION"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way_inside_the_app(room: str) -> None:
    place = ROOT / "app" / room
    files = list(place.rglob("*.py")) or [place.with_suffix(".py")]
    allowed = {room, *ROOMS[: ROOMS.index(room)]} - ({"api"} if room == "inference_protocol" else set())
    for path in files:
        assert rooms_in(path) <= allowed, path


def test_every_part_of_the_app_has_its_place() -> None:
    parts = {path.stem for path in (ROOT / "app").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts == {*ROOMS, "__init__", "__main__"}


def test_one_table_names_tasks() -> None:
    """No other file of the service names a task, its kind, or one of its fields."""
    problems = [from_spec({"kind": kind, **SPECS[kind]}) for kind in kinds()]
    fields = [field for problem in problems for field in (problem.input, *problem.outputs)]
    names = {problem.kind for problem in problems} | {name for field in fields for name in (field.name, field.plural)}
    common = {*dir(builtins), "decoded", "sequence", "sequences", *TEXT_FIELDS}  # words for more than a field
    for path in (ROOT / "app").rglob("*.py"):
        if path == ROOT / "app" / "api" / "predict.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = set(re.findall(r"[A-Za-z_]+", node.value.lower()))
                assert not words & (names - common), (path, node.value)
                assert node.value not in names - {"sum"}, (path, node.value)


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


def test_the_page_of_settings_lists_every_one() -> None:
    assert settings.table() in (DOCS / "settings.md").read_text(encoding="utf-8")


def test_the_layout_names_every_module() -> None:
    modules = [path for package in ("seq2seq", "training", "app") for path in (ROOT / package).glob("*.py")]
    modules += [path for path in (ROOT / "app").glob("*/*.py") if path.parent.name in ("serving", "http", "operations")]
    assert [path.name for path in modules if path.name != "__init__.py" and path.name not in LAYOUT] == []


def test_the_layout_names_nothing_else() -> None:
    packages = ("seq2seq", "training", "app", "benchmarks", "deploy")
    there = {path.name for package in packages for path in (ROOT / package).rglob("*.py")}
    assert set(re.findall(r"\w+\.py", LAYOUT)) - there == set()


def test_the_service_has_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == app.VERSION
    releases = re.findall(r"^## \[(\d.*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert releases[0] == app.VERSION


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
