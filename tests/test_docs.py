"""README.md and docs/: what they name is there, their examples work, and their figures are those that were measured."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import service

from app import keys, settings
from app.settings import Settings
from training.pairs import files
from training.pairs.files import Reading

ROOT = Path(__file__).parent.parent
OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
GUIDE = ROOT / "docs" / "your-own-data.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
]
WALKED = (GUIDE, CONTRIBUTING)
"""Pages whose commands are run one after another, in a copy: they change files and train models."""


def anchors(page: Path) -> set[str]:
    """What links to a page's headings are called: `## Roll-back, in steps` → `roll-back-in-steps`."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_page_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_exist(page: Path) -> None:
    known = {settings.variable(name) for name in Settings.model_fields} | {"APP_API_KEY_FILE"}  # a misspelling, shown
    assert set(re.findall(r"APP_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))) <= known


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1_300


TEXTS = [*PAGES, *(ROOT / "deploy").rglob("*.y*ml"), *(ROOT / "deploy").rglob("*.cfg")]
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


class Block(NamedTuple):
    """A fenced block of a page: its info string and what stands in it."""

    page: Path
    language: str
    code: str


def blocks(*languages: str, pages: Iterable[Path] = PAGES) -> list[Block]:
    found = [
        Block(page, language, code)
        for page in pages
        for language, code in re.findall(r"^```(.*)\n((?:.*\n)*?)```$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    return [block for block in found if not languages or block.language in languages]


def commands(code: str) -> list[str]:
    """What stands after each `$ `, or on each line of a block without any; lines that end in \\ go on."""
    lines = re.sub(r" *\\\n *", " ", code).splitlines()
    told = [line[2:] for line in lines if line.startswith("$ ")] or lines
    return [line.partition("  #")[0].strip() for line in told if line.strip()]


CURL = re.compile(r"^\$ (curl .+)\n(.+)$", re.MULTILINE)
PRINTED = re.compile(r"^(?:print|console\.log)\(.*(?:#|//) (.+)$", re.MULTILINE)
"""What a line of an example prints stands behind it."""


def named(found: Iterable[tuple[Path, Any]]) -> list[Any]:
    return [pytest.param(each, id=f"{page.stem}-{place}") for place, (page, each) in enumerate(found)]


def asked() -> list[Any]:
    """Each request by curl, and its answer. Those of some pages need a model of their own."""
    found = blocks("console", pages=[page for page in PAGES if page not in WALKED])
    return named((block.page, match) for block in found for match in CURL.findall(block.code))


def programs(language: str) -> list[Any]:
    """Each example that prints, after the blocks of its page that print nothing: they hold what it uses."""
    shared: dict[Path, str] = defaultdict(str)
    found = []
    for block in blocks(language):
        if PRINTED.search(block.code):
            found.append((block.page, shared[block.page] + block.code))
        else:
            shared[block.page] += block.code
    return named(found)


UNRUN = {
    r"make serve|APP_\S+=.* make serve": "never ends; tests/service.py serves as make does",
    r"make (test|lint|format)": "runs this test, or changes this code",
    r"make (train|train-pairs|verify)\b": "takes minutes; tests/training and the guide's test run small networks",
    r"\S+ -m training (fit|fit-pairs|verify|show|compare|list)\b": "needs what takes minutes; the same test runs each",
    r"make study|\S+ -m training study\b": "takes half an hour; tests/training/test_study.py runs a grid of four cells",
    r"\S+ examples/\S+/make_pairs.py": "writes a million lines; tests/examples looks at them",
    r"make (image|test-image)|docker compose": "needs a container engine; tests/deploy/test_image.py",
    r"\S+ -m pip install": "needs a package index",
    r"\S+ -m app.keys": "shows a key on the terminal only; tests/app/test_keys.py",
    r"curl -H .Authorization: Bearer .KEY": "has no answer to compare; api.md has the same with one",
    r"mkdir|git clone|cd ": "of the shell",
}
"""Commands that no test runs as they stand, by how they begin, and why. They stand in blocks called `sh`."""
RUN = {
    "console": "test_example_in_the_shell_answers_so, and the tests of the pages in WALKED",
    "python": "test_example_in_python_prints_so",
    "js": "test_example_in_javascript_prints_so",
    "http": "tests/app/api/test_query.py",
    "diff": "test_worked_changes_work",
    **dict.fromkeys(("tsv", "csv", "jsonl", "lexicon"), "test_formats_of_the_guide_are_read"),
}
"""What runs a block, by its info string."""
SHOWN = ("text", "mermaid")
"""Output, layouts and diagrams: nothing to run."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert 2 * len(blocks(pages=[page])) == len(re.findall(r"^ *```", text, re.MULTILINE)), (
        "a fence is indented or open"
    )
    for block in blocks(pages=[page]):
        if block.language == "sh":
            unknown = [each for each in commands(block.code) if not any(re.match(known, each) for known in UNRUN)]
            assert unknown == [], "no test runs it, and UNRUN does not say why"
        elif block.language in SHOWN:
            assert not re.search(r"^(\$|make|curl|docker|\.venv\S*) ", block.code, re.MULTILINE), "a command in text"
        else:
            assert block.language in RUN, f"nothing is known to run {block.language!r}: {block.code}"
        if block.language == "console" and page not in WALKED:
            assert len(commands(block.code)) == len(CURL.findall(block.code)), block.code
        if block.language in ("diff", "tsv", "csv", "jsonl", "lexicon"):
            assert page in WALKED
    for language in ("python", "js"):
        found = blocks(language, pages=[page])
        assert not found or PRINTED.search(found[-1].code), "what prints nothing is not run"


def test_reasons_are_needed() -> None:
    told = [command for block in blocks("sh") for command in commands(block.code)]
    assert [known for known in UNRUN if not any(re.match(known, each) for each in told)] == []


KEY = keys.fresh_key()


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A service that answers everybody, and one that wants `KEY`."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"{keys.line('docs', KEY)}\n")
    with service.running(drain_s=0) as everybody, service.running(drain_s=0, api_keys_file=path) as guarded:
        yield everybody.port, guarded.port


def output(port: int, *command: str) -> str:
    """What an example prints, with the port of a service that runs."""
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    told = [part.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for part in command]
    done = subprocess.run(
        told, capture_output=True, text=True, check=True, timeout=60, env=service.environment() | {"KEY": KEY}
    )
    return done.stdout.strip()


def port_for(ports: tuple[int, int], code: str) -> int:
    return ports["KEY" in code]


def is_shown(shown: str, answer: str) -> bool:
    """Whether an answer is as a page shows it, where … stands for something left out."""
    return bool(re.fullmatch(".*".join(map(re.escape, shown.split("…"))), answer))


@pytest.mark.parametrize("example", asked())
def test_example_in_the_shell_answers_so(ports: tuple[int, int], example: tuple[str, str]) -> None:
    command, shown = example
    answer = output(port_for(ports, command), "bash", "-c", f'curl() {{ command curl -sS "$@"; }}; {command}')
    if "…" in shown:
        assert is_shown(shown, answer), answer
        return
    found, expected = json.loads(answer), json.loads(shown)
    if "request_id" in expected:
        expected["request_id"] = found["request_id"]  # another one each time
    assert found == expected


@pytest.mark.parametrize("code", programs("python"))
def test_example_in_python_prints_so(ports: tuple[int, int], code: str) -> None:
    assert output(port_for(ports, code), sys.executable, "-c", code).splitlines() == PRINTED.findall(code)


@pytest.mark.parametrize("code", programs("js"))
def test_example_in_javascript_prints_so(ports: tuple[int, int], code: str) -> None:
    command = ("node", "--input-type=module", "-e", code)
    assert output(port_for(ports, code), *command).splitlines() == PRINTED.findall(code)


SMALL = "--epochs 1 --encoder-units 4 --decoder-units 4 --embedding-units 4"


def clone(folder: Path, code: Path = ROOT) -> Path:
    """A folder in which `make` finds all that it needs, runs the code of `code`, and trains networks that are small."""
    python = folder / ".venv-dev" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"""#!/bin/sh
        if [ "$3" = fit-pairs ]; then set -- "$@" {SMALL}; fi
        PYTHONPATH={shlex.quote(str(code))} exec {shlex.quote(sys.executable)} "$@"
        """
    )
    python.chmod(0o755)
    (folder / "requirements").mkdir(exist_ok=True)
    for path in ("requirements/dev.txt", ".venv-dev/requirements.txt"):  # alike, so nothing is installed
        (folder / path).write_text("")
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def walk(page: Path, folder: Path, is_right: Callable[[str, str], bool], root: Path = ROOT) -> int:
    """Do in a folder what a page says, in turn, with the service in `root`. Gives how many answers were compared."""
    port, asked = 0, 0
    with contextlib.ExitStack() as running:
        for block in blocks("console", "diff", pages=[page]):
            if block.language == "diff":
                done(["git", "apply", "-"], folder, block.code)
                continue
            for command, shown in re.findall(r"^\$ (.+)\n(?=(.*)$)", block.code, re.MULTILINE):
                if command == "make serve":
                    running.close()
                    serving = service.running(root=root, models_dir=folder / "models", drain_s=0)
                    port = running.enter_context(serving).port
                elif command.startswith("curl"):
                    answer = output(port, *shlex.split(command))
                    assert is_right(shown, answer), answer
                    asked += 1
                else:
                    done(["bash", "-o", "pipefail", "-c", command], folder)
    return asked


def done(command: list[str], folder: Path, given: str | None = None) -> None:
    ended = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"


@pytest.mark.training
@pytest.mark.timeout(900)
def test_the_guide_leads_from_a_file_to_an_answer(tmp_path: Path) -> None:
    """Each command of the guide, in turn."""

    def is_right(shown: str, answer: str) -> bool:
        blank = {"target": "", "confidence": 0}  # a small network errs
        return {**json.loads(answer), **blank} == {**json.loads(shown), **blank}

    assert walk(GUIDE, clone(tmp_path), is_right) == 1
    assert {path.parent.name for path in tmp_path.glob("models/*/*")} == {"times", "times-back"}
    assert (tmp_path / "models" / "times" / "2" / "report" / "card.md").exists()


@pytest.mark.training
@pytest.mark.timeout(900)
def test_worked_changes_work(tmp_path: Path) -> None:
    """Each change of CONTRIBUTING.md, made to a copy of the code, and each command there."""
    folder = tmp_path / "code"
    for package in ("app", "seq2seq", "training", "tests"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    assert walk(CONTRIBUTING, clone(folder, folder), is_shown, folder) == 2
    assert {path.name for path in folder.glob("models/*")} == {"sorting", "remainders"}


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


def test_options_of_commands_exist() -> None:
    told = [command for block in blocks("sh", "console") for command in commands(block.code)]
    trained = [match for command in told for match in re.findall(r"-m training ([a-z-]+)(.*)", command)]
    assert len(trained) > 15
    for name, rest in trained:
        assert set(re.findall(r" (--[a-z-]+)", rest)) <= set(re.findall(r"--[a-z-]+", help_of(name))), (name, rest)


@cache
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


def test_figures_of_decisions_stand_where_they_were_measured() -> None:
    """So none is left behind when one is measured anew."""
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    pages = [ROOT / "benchmarks" / "README.md", ROOT / "pyproject.toml", *(ROOT / "docs").glob("*.md")]
    pages += [*(ROOT / "app").rglob("*.py"), ROOT / "examples" / "pronunciation" / "README.md"]
    known = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.name != "decisions.md")
    figures = re.findall(r"(?<![\w.])\d[\d,.]*\d%?(?= (?:times|MB|ms|s|µs|words|lines)\b)|\d[\d,]*[.,]\d+%?", text)
    assert len(figures) > 30
    assert [figure for figure in figures if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", known)] == []
