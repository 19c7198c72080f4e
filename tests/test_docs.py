"""docs/: what they name is there, and their figures are those that were measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import settings
from app.settings import Settings

ROOT = Path(__file__).parent.parent
OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_exist(page: Path) -> None:
    known = {settings.variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"APP_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))) <= known


TEXTS = [*PAGES, ROOT / "SECURITY.md", *(ROOT / "deploy").rglob("*.y*ml"), *(ROOT / "deploy").rglob("*.cfg")]
DEFAULT = re.compile(r"(APP_[A-Z_]*[A-Z])`?(?:, ([\d.,]*\d)(?: s)? by default| \(([\d.,]*\d)(?: s)?\))")


def test_defaults_are_so() -> None:
    """Such as `APP_DEADLINE_S` (10 s), or APP_MAX_QUEUE, 4,096 by default."""
    found = [match for text in TEXTS for match in DEFAULT.findall(text.read_text(encoding="utf-8"))]
    assert len(found) >= 4
    for name, *values in found:
        field = Settings.model_fields[name.removeprefix(settings.PREFIX).lower()]
        assert float("".join(values).replace(",", "")) == field.default, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_make_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    used = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert used
    assert set(used) <= set(targets)


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
