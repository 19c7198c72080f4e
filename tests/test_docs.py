"""README.md and docs/: what they name is there, their examples work, and their figures are those that were measured."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import service

from app import settings
from app.settings import Settings
from training.pairs import files
from training.pairs.files import Reading

ROOT = Path(__file__).parent.parent
OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
PAGES = [*(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md"), ROOT / "README.md"]
GUIDE = ROOT / "docs" / "your-own-data.md"


def anchors(page: Path) -> set[str]:
    """What links to a page's headings are called: `## Roll-back, in steps` → `roll-back-in-steps`."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "SECURITY.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_page_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").iterdir() if f"(docs/{page.name})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_exist(page: Path) -> None:
    known = {settings.variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"APP_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))) <= known


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1_300


TEXTS = [*PAGES, ROOT / "SECURITY.md", *(ROOT / "deploy").rglob("*.y*ml"), *(ROOT / "deploy").rglob("*.cfg")]
DEFAULT = re.compile(r"(APP_[A-Z_]*[A-Z])`?(?:, ([\d.,]*\d)(?: s)? by default| \(([\d.,]*\d)(?: s)?\))")


def test_defaults_are_so() -> None:
    """Such as `APP_DEADLINE_S` (10 s), or APP_MAX_QUEUE, 4,096 by default."""
    found = [match for text in TEXTS for match in DEFAULT.findall(text.read_text(encoding="utf-8"))]
    assert len(found) >= 4
    for name, *values in found:
        field = Settings.model_fields[name.removeprefix(settings.PREFIX).lower()]
        assert float("".join(values).replace(",", "")) == field.default, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_make_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    used = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert used or page.name != "README.md"
    assert set(used) <= set(targets)


def examples(pattern: str) -> list[Any]:
    """Every example of a kind, with the name of its page. Those of the guide need a model of its own."""
    pages = [page for page in PAGES if page != GUIDE]
    found = [(page.name, match) for page in pages for match in re.findall(pattern, page.read_text(), re.MULTILINE)]
    return [pytest.param(match, id=f"{name}-{place}") for place, (name, match) in enumerate(found)]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with service.running(drain_s=0) as running:
        yield running.port


def output(port: int, *command: str) -> str:
    """What an example prints, with the port of a service that runs."""
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    told = [part.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for part in command]
    return subprocess.run(told, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize("example", examples(r"^\$ (curl .+)\n(.+)$"))
def test_example_in_the_shell_answers_so(port: int, example: tuple[str, str]) -> None:
    command, shown = example
    answer, expected = json.loads(output(port, *shlex.split(command))), json.loads(shown)
    if "request_id" in expected:
        expected["request_id"] = answer["request_id"]  # another one each time
    assert answer == expected


@pytest.mark.parametrize("code", examples(r"^```python\n((?:.*\n)+?)```$"))
def test_example_in_python_prints_so(port: int, code: str) -> None:
    assert output(port, sys.executable, "-c", code) == code.rpartition("# ")[2].strip()


@pytest.mark.parametrize("code", examples(r"^```js\n((?:.*\n)+?)```$"))
def test_example_in_javascript_prints_so(port: int, code: str) -> None:
    assert output(port, "node", "--input-type=module", "-e", code) == code.rpartition("// ")[2].strip()


SMALL = "--epochs 1 --encoder-units 4 --decoder-units 4 --embedding-units 4"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder in which `make` finds all that it needs, and trains networks that are small."""
    python = tmp_path / ".venv-dev" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"""#!/bin/sh
        if [ "$3" = fit-pairs ]; then set -- "$@" {SMALL}; fi
        PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} "$@"
        """
    )
    python.chmod(0o755)
    (tmp_path / "requirements").mkdir()
    for path in ("requirements/dev.txt", ".venv-dev/requirements.txt"):  # alike, so nothing is installed
        (tmp_path / path).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


@pytest.mark.training
@pytest.mark.timeout(900)
def test_the_guide_leads_from_a_file_to_an_answer(clone: Path) -> None:
    """Each command of the guide, in turn."""
    with contextlib.ExitStack() as running:
        port, asked = 0, 0
        for command, shown in re.findall(r"^\$ (.+)\n(?=(.*)$)", GUIDE.read_text(encoding="utf-8"), re.MULTILINE):
            if command == "make serve":
                port = running.enter_context(service.running(models_dir=clone / "models", drain_s=0)).port
            elif command.startswith("curl"):
                answer, expected = json.loads(output(port, *shlex.split(command))), json.loads(shown)
                asked += 1
                assert {**answer, "target": "", "confidence": 0} == {**expected, "target": "", "confidence": 0}
            else:
                done = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command], cwd=clone, capture_output=True, text=True, timeout=400
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert asked == 1
    assert {path.parent.name for path in clone.glob("models/*/*")} == {"times", "times-back"}
    assert (clone / "models" / "times" / "2" / "report" / "card.md").exists()


def test_what_the_guide_says_is_printed_is_so(tmp_path: Path) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ (awk .+) > times.tsv$", text, re.MULTILINE)
    path = tmp_path / "times.tsv"
    path.write_text(subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=60).stdout)
    table = files.read(str(path), Reading())
    printed = files.described(table, files.split(table))
    for words in re.findall(r"^\| `([^`]+)` \|", text.partition("| `to validate")[0], re.MULTILINE):
        for part in words.split(", to "):
            assert part in printed, part


@pytest.mark.parametrize("name", ["tsv", "csv", "jsonl", "lexicon"])
def test_formats_of_the_guide_are_read(tmp_path: Path, name: str) -> None:
    (content,) = re.findall(rf"^```{name}\n((?:.*\n)+?)```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    path = tmp_path / f"pairs.{name.replace('lexicon', 'dict')}"
    path.write_text(content)
    targets = files.read(str(path), Reading(source_tokens="chars", target_tokens="words")).targets
    assert targets[tuple("cat")] == [("K", "AE", "T")]
    if name == "lexicon":
        assert targets[tuple("read")] == [("R", "EH", "D"), ("R", "IY", "D")]
    else:
        assert targets[tuple("a cat")] == [("AH", "K", "AE", "T")]


def test_options_of_the_guide_exist() -> None:
    known = set(re.findall(r"--[a-z-]+", "".join(map(help_of, ("fit-pairs", "verify", "renew")))))
    used = set(re.findall(r"--[a-z][a-z-]+", GUIDE.read_text(encoding="utf-8")))
    assert len(used) > 20
    assert used <= known


def help_of(name: str) -> str:
    command = [sys.executable, "-m", "training", name, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_metrics_exist() -> None:
    code = (ROOT / "app" / "operations" / "metrics.py").read_text(encoding="utf-8")
    named = {name.removesuffix("_total") for name in re.findall(r"`(service_\w+)`", OPERATE)}
    assert named
    assert {name for name in named if f'"{name}"' not in code} == set()


def test_figures_are_the_benchmarks() -> None:
    measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = OPERATE.partition("| | measured | command |")[2].partition("\n\n")[0]
    figures = re.findall(r"\| ([\d.,]+(?: s| MB)?) \|", table)
    assert len(figures) == 5
    for figure in figures:
        assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d])", measured), figure
