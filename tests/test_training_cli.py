"""The commands that need no Keras, on the bundles that ship."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import main

MODELS = Path(__file__).parent.parent / "models"


def test_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "addition-three-terms",
        "addition-two-terms",
        "reversal-six-three",
        "addition",
        "reversal",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("addition", {"domain": 1_010_000, "checked": 1_010_000, "wrong": 0, "held_out_wrong": 0}),
        ("reversal", {"domain": None, "distinct": 125_000, "checked": 1_125_000, "wrong": 0, "held_out_wrong": 0}),
    ],
)
def test_what_ships_is_exact(name: str, expected: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(MODELS / name / "1"), "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["model"], line["version"]) == (name, "1")
    assert {key: line[key] for key in expected} == expected
    assert abs(line["held_out"] / line["checked"] - 0.5) < 0.01
    assert line["onnx_keras_agree"] is True


def test_verify_fails_on_what_is_no_bundle_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path), str(MODELS / "reversal" / "1")]) == 1
    captured = capsys.readouterr()
    assert "manifest.json: is missing" in captured.err
    assert "reversal 1: 0 wrong of 1,125,000" in captured.out


def test_show_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(MODELS / "addition" / "1")]) == 0
    card = capsys.readouterr().out
    assert card == (MODELS / "addition" / "1" / "report" / "card.md").read_text(encoding="utf-8")


def test_an_unknown_recipe_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fit", "division"])
    assert caught.value.code == 2
    assert "addition-three-terms" in capsys.readouterr().err


def test_verify_and_show_load_no_keras() -> None:
    code = (
        "import sys; from training.__main__ import main; main(['show', 'models/addition/1']);"
        "sys.exit(any(name.split('.')[0] in ('keras', 'tensorflow', 'matplotlib') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=MODELS.parent, stdout=subprocess.DEVNULL)
