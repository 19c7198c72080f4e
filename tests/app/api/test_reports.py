"""The files of a bundle's report, as they were sealed; and what models tell of themselves in brief and in full."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from client import Client, client_of_fakes

from app.main import create_app
from app.settings import Settings
from seq2seq.bundle import read_manifest

MODELS = Path(__file__).parents[3] / "models"
REPORT = "/models/addition/report"


@dataclass
class Bundles:
    client: Client
    folder: Path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """A service of one model, whose folder a test may change."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS / "addition" / "1", folder / "addition" / "1")
    return Bundles(Client(create_app(Settings(models_dir=folder, watch_s=0))), folder / "addition" / "1" / "report")


def test_card_and_plots_are_shown_as_they_were_sealed(bundles: Bundles) -> None:
    card = bundles.client.get(f"{REPORT}/card.md")
    assert (card.status_code, card.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert card.content == (bundles.folder / "card.md").read_bytes()
    plot = bundles.client.get(f"{REPORT}/loss.png?version=1")
    assert (plot.status_code, plot.headers["content-type"]) == (200, "image/png")
    assert plot.content == (bundles.folder / "loss.png").read_bytes()


def test_browsers_keep_them(bundles: Bundles) -> None:
    answer = bundles.client.get(f"{REPORT}/card.md")
    assert answer.headers["cache-control"] == "private, max-age=86400"
    assert answer.headers["etag"].strip('"') == read_manifest(bundles.folder.parent).files["report/card.md"].sha256
    again = bundles.client.get(f"{REPORT}/card.md", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "file",
    ["none.md", "manifest.json", "..%2fmanifest.json", "%2e%2e%2fmanifest.json", "card.md%00", "CARD.MD", "card.md/"],
)
def test_only_what_the_manifest_lists_is_shown(bundles: Bundles, file: str) -> None:
    (bundles.folder / "none.md").write_text("not listed")
    answer = bundles.client.get(f"{REPORT}/{file}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    (bundles.folder / "none.md").unlink()


def test_the_error_says_which_there_are(bundles: Bundles) -> None:
    detail = bundles.client.get(f"{REPORT}/none.md").json()["detail"]
    assert detail == "The report of addition has no file none.md; there are card.md, error.png, loss.png."
    assert bundles.client.get("/models/none/report/card.md").status_code == 404
    assert bundles.client.get(f"{REPORT}/card.md?version=7").status_code == 404


def test_what_was_altered_is_not_shown(bundles: Bundles, tmp_path: Path) -> None:
    card = bundles.folder / "card.md"
    sealed = card.read_bytes()
    card.write_text("altered")
    answer = bundles.client.get(f"{REPORT}/card.md")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The file card.md was altered")
    card.unlink()
    assert bundles.client.get(f"{REPORT}/card.md").json()["detail"].startswith("The file card.md is missing")
    (tmp_path / "other").write_bytes(sealed)
    card.symlink_to(tmp_path / "other")
    assert bundles.client.get(f"{REPORT}/card.md").status_code == 503
    card.unlink()
    card.write_bytes(sealed)


def test_a_model_without_a_report_has_none() -> None:
    answer = client_of_fakes().get(f"{REPORT}/card.md")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "The report of addition has no file card.md; there are none.",
    )


def test_models_in_brief_say_how_to_ask_them() -> None:
    client = client_of_fakes()
    brief, whole = client.get("/models?brief=true").json()["models"], client.get("/models").json()["models"]
    assert [each["name"] for each in brief] == [each["name"] for each in whole] == ["addition", "reversal"]
    first = brief[0]
    assert {*first} == {"name", "version", "versions", "interface", "example", "n_best"}
    assert first["interface"]["input"]["name"] == "expression"
    assert first["interface"]["input"]["schema"] == whole[0]["limits"]
    assert [each["name"] for each in first["interface"]["outputs"]] == ["sum", "decoded"]
    assert first["example"] == {"expression": "10+6", "sum": 16, "decoded": "16", "confidence": 0.997003}
    assert all(each.items() <= more.items() for each, more in zip(brief, whole, strict=True))


def test_what_is_not_true_or_false_is_refused() -> None:
    answer = client_of_fakes().get("/models?brief=maybe")
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "The query parameter brief is maybe; send true or false.",
    )


def test_one_model_tells_its_examples_and_files(bundles: Bundles) -> None:
    told = bundles.client.get("/models/addition").json()
    assert len(told["examples"]) == 8
    assert told["examples"][0] == told["example"]
    manifest = read_manifest(bundles.folder.parent)
    assert told["files"] == {name: {"size": each.size, "sha256": each.sha256} for name, each in manifest.files.items()}
