"""SECURITY.md says what is so: each line of its threat model names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def threats() -> list[list[str]]:
    """The cells of each row of the tables that name tests."""
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return [row for row in cells if len(row) == 3 and "::" in row[2]]


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_line_is_held_by_tests_that_there_are() -> None:
    rows = threats()
    assert len(rows) >= 40
    for threat, guard, held in rows:
        assert threat
        assert guard
        named = NAMED.findall(held)
        assert NAMED.sub("", held).replace(",", "").strip() == "", held
        for file, name in named:
            assert name in names_in(ROOT / file), f"{file} has no {name}, which is to hold: {threat}"


def test_no_line_of_a_threat_table_is_without_a_test() -> None:
    lines = DOCUMENT.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("| threat |")]
    assert len(starts) >= 6
    for start in starts:
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            assert NAMED.search(line), line


def test_every_name_of_a_test_is_in_a_table() -> None:
    assert len(re.findall(r"::test_", DOCUMENT)) == sum(len(NAMED.findall(held)) for *_, held in threats())


def test_it_names_no_person() -> None:
    assert "@" not in DOCUMENT
    assert "http://127.0.0.1" in DOCUMENT
    assert not re.search(r"https?://(?!127\.0\.0\.1)", DOCUMENT)
