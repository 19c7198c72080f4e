"""The playground's files, without a browser: what they say, what they may load, and how they are kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from client import Client, client_of_fakes
from test_house import ROOT, SPECS, TEXT_FIELDS

from app.http import playground
from seq2seq.problems import from_spec, kinds

FOLDER = ROOT / "app" / "playground"
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of_fakes()


def addresses() -> list[str]:
    return ["/", *(f"/playground/{name}" for name in playground.names())]


def test_the_page_loads_what_is_there(client: Client) -> None:
    page = client.get("/").text
    loaded = set(re.findall(r'(?:href|src)="(playground/[^"]*)"', page))
    assert {"playground/app.js", "playground/style.css", "playground/icon.svg"} < loaded
    for name in playground.names():
        text = (FOLDER / name).read_text(encoding="utf-8")
        loaded |= {f"playground/{found}" for found in re.findall(r'(?:from|import\() ?"\./([^"]*)"', text)}
    assert loaded == {f"playground/{name}" for name in playground.names()}


@pytest.mark.parametrize("address", addresses())
def test_a_new_release_is_seen_at_once(client: Client, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    for known in (answer.headers["etag"], f'"other", W/{answer.headers["etag"]}'):
        again = client.get(address, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert client.get(address, headers={"if-none-match": '"other"'}).status_code == 200
    head = client.request("HEAD", address)
    assert (head.status_code, head.headers["content-length"]) == (200, answer.headers["content-length"])


@pytest.mark.parametrize("name", ["none.js", "index.html", "..%2fmain.py", "%2e%2e/main.py", "a/b.js", ""])
def test_there_are_no_others(client: Client, name: str) -> None:
    answer = client.get(f"/playground/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("address", addresses())
def test_the_page_may_load_its_own_files_only(client: Client, address: str) -> None:
    answer = client.get(address)
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    namespace = "http://www.w3.org/2000/svg"
    assert "//" not in re.sub(rf"{namespace}|// .*|/\*.*?\*/", "", answer.text) or address.endswith(".js")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)


def test_no_script_or_style_stands_in_the_page(client: Client) -> None:
    page = client.get("/").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]


def test_nothing_becomes_markup() -> None:
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc"
    assert [path.name for path in FOLDER.iterdir() if re.search(risky, path.read_text(encoding="utf-8"))] == []


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_file_names_a_task(path: Path) -> None:
    """Nor its kind, nor one of its fields: all of that comes from the service."""
    problems = [from_spec({"kind": kind, **SPECS[kind]}) for kind in kinds()]
    fields = [field for problem in problems for field in (problem.input, *problem.outputs)]
    names = {problem.kind for problem in problems} | {name for field in fields for name in (field.name, field.plural)}
    common = {"sum", "sequence", "sequences", "pairs", *TEXT_FIELDS}  # words for more than a field
    words = set(re.findall(r"[a-z_]+", path.read_text(encoding="utf-8").lower()))
    assert not words & (names - common)
