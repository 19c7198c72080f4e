"""The command line without Keras: its commands on the bundles that ship, wrong calls, and streams of every kind."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from seq2seq import bundle
from seq2seq.bundle import Manifest
from seq2seq.problem import Problem
from training import command_line, report
from training.__main__ import main
from training.recipes import RECIPES, Recipe

MODELS = Path(__file__).parents[2] / "models"


def run(shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash from the project's root, `training` in it standing for the command line."""
    return subprocess.run(
        ["bash", "-c", shell.replace("training", f"{sys.executable} -m training", 1)],
        capture_output=True, text=True, cwd=MODELS.parent, env=os.environ | environment, check=False,
    )  # fmt: skip


def asked(*words: str) -> Recipe:
    """The recipe that a call of `fit` asks for."""
    options = command_line.parser().parse_args(["fit", *words])
    return command_line.adjusted(RECIPES[options.recipe], options)


def by_recipe(data: dict[str, Any]) -> Manifest:
    """The manifest of a model that ships, but of another recipe."""
    manifest = bundle.read_manifest(MODELS / "addition" / "1")
    return replace(manifest, training=manifest.training | {"recipe": data})


def test_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("addition", "1", {"domain": 1_010_000, "by_enumeration": 1_010_000, "by_bounds": 0}),
        ("arithmetic", "1", {"domain": 30_000, "by_enumeration": 30_000, "by_bounds": 0}),
        ("reversal", "2", {"domain": 15_625_000_000, "by_enumeration": 0, "by_bounds": 15_625_000_000}),
        ("reversal", "3", {"domain": 119_579_081_632_600, "by_enumeration": 0, "by_bounds": 119_579_081_632_600}),
    ],
)
def test_what_ships_is_exact(
    name: str, version: str, expected: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = MODELS / name / version
    assert main(["verify", str(directory), "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["model"], line["version"], line["fault"]) == (name, version, "")
    expected |= {"wrong": 0, "held_out_wrong": 0, "tried": 0, "exact": True}
    assert {key: line[key] for key in expected} == expected
    hold_out = bundle.read_manifest(directory).training["recipe"]["hold_out"]
    assert hold_out == (name != "arithmetic")
    assert line["held_out"] / line["domain"] == pytest.approx(0.5 if hold_out else 0, abs=0.01)
    assert line["least_margin"] > 1_000 * line["largest_difference"]
    said = bundle.read_manifest(directory).proof
    assert (line["graph"], line["weakest"], line["held_out"]) == (said.graph, said.weakest, said.held_out)
    assert line["least_margin"] == pytest.approx(said.least_margin, abs=1e-3)


def test_verify_reports_every_bundle_it_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no bundle, what cannot be read, what stands in another's folder: each is told, none stops the others."""
    elsewhere = tmp_path / "reversal" / "7"
    shutil.copytree(MODELS / "reversal" / "2", elsewhere)
    altered = tmp_path / "reversal" / "2"
    shutil.copytree(MODELS / "reversal" / "2", altered)
    with (altered / "encoder.onnx").open("ab") as file:
        file.write(b"more")
    (tmp_path / "file").touch()
    given = [tmp_path, tmp_path / "file", altered, elsewhere, tmp_path / "none", MODELS / "reversal" / "2"]
    assert main(["verify", *map(str, given)]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("manifest.json: is missing") == 3
    assert "encoder.onnx: has" in captured.err
    assert "NOT EXACT" not in captured.out
    assert "will not be served: " in captured.out
    assert captured.out.count("reversal 2: All 15,625,000,000 requests were decided") == 2


def test_show_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(MODELS / "addition" / "1")]) == 0
    card = capsys.readouterr().out
    assert card == (MODELS / "addition" / "1" / "report" / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("addition --seed -1", "seed is from 0 to 4,294,967,295, not -1"),
        ("addition --seed one", "invalid int value"),
        ("addition --samples 0", "samples is from 1 to"),
        ("addition --samples 100", "100 samples are less than one batch of 256 in each of 10 epochs"),
        ("addition --samples 1" + 30 * "0", "samples is from 1 to"),
        ("addition --epochs 0", "epochs is from 1 to"),
        ("addition --batch-size 10000000", "batch_size is from 1 to 65,536"),
        ("addition --learning-rate nan", "learning_rate is a positive number"),
        ("addition --learning-rate 1e999", "learning_rate is a positive number"),
        ("addition --encoder-units 24,", "invalid units value"),
        ("addition --encoder-units 0", "encoder_units is 1 to 16 numbers"),
        ("addition --decoder-units 24,-24", "decoder_units is 1 to 16 numbers"),
        ("reversal --encoder-units 25", "must be the same"),
        ("addition --max-terms x", "--max-terms takes a value such as 4, not 'x'"),
        ("addition --max-terms 2.5", "max_terms must be an integer, not 2.5"),
        ("addition --max-terms 1", "terms must be at least 1 and ordered"),
        ("addition --max-terms 1" + 5_000 * "0", "--max-terms takes a value such as 4"),
        ("addition --max-terms 9", "too large"),
        ("addition --padding up", "padding must be one of"),
        ("addition --cardinality 20", "addition has no --cardinality; it has --min-terms, --max-terms"),
        ("reversal --cardinality 0", "cardinality must be from 1"),
        ("reversal --shortest 9", "lengths must be ordered"),
        ("addition --depth 2", "unrecognized arguments: --depth 2"),
        ("division", "invalid choice: 'division'"),
        ("", "required: RECIPE"),
    ],
)
def test_a_wrong_call_gives_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(["fit", *words.split()])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.startswith("training: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_one_thing_each_is_changed_without_editing_code() -> None:
    recipe = asked("addition", "--encoder-units", "24,16", "--decoder-units=8", "--epochs", "3", "--batch-size", "64",
                   "--learning-rate", "0.5", "--seed", "7", "--samples", "900", "--no-hold-out", "--max-terms", "3",
                   "--largest", "9", "--padding", "left")  # fmt: skip
    problem = replace(RECIPES["addition"].problem, max_terms=3, largest=9, padding="left")  # type: ignore[call-arg]
    assert recipe == replace(RECIPES["addition"], encoder_units=(24, 16), decoder_units=(8,), epochs=3, batch_size=64,
                             learning_rate=0.5, seed=7, samples=900, hold_out=False, problem=problem,
                             ships=False)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "ships"),
    [
        ("--encoder-units 8 --epochs 3", True),
        ("--max-terms 4 --padding term", True),
        ("--min-terms 1", True),
        ("--max-terms 3", False),
        ("--largest 9", False),
    ],
)
def test_a_network_that_accepts_less_is_no_next_version_of_what_ships(words: str, ships: bool) -> None:
    assert asked("addition", *words.split()).ships is ships


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_of_a_recipes_problem_is_an_option(name: str) -> None:
    problem = RECIPES[name].problem
    for field in fields(problem):
        value = getattr(problem, field.name)
        text = value if isinstance(value, str) else json.dumps(value)
        assert asked(name, f"--{field.name.replace('_', '-')}", text).problem == problem


CALLS = [
    "",
    "--seed 7",
    "--seed 0 --samples 70000 --no-hold-out",
    "--samples 80000 --hold-out",
    "--encoder-units 24,24 --decoder-units 24,24",
    "--epochs 4 --batch-size 33 --learning-rate 0.012345678901234567",
]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("call", CALLS)
def test_the_card_names_the_command_that_gives_the_same_recipe(name: str, call: str) -> None:
    recipe = asked(name, *call.split())
    command = command_line.reproducing(recipe)
    assert command is not None
    words = command.removeprefix("python -m training fit ").split()
    assert asked(*words) == recipe
    assert not call or words != [name] or recipe == RECIPES[name]
    assert f"\n`{command}`\n" in report.card(by_recipe(recipe.as_data()))


@pytest.mark.parametrize(
    ("name", "words"),
    [("addition", "half of all distinct problems"), ("addition-three-terms", "the whole domain")],
)
def test_the_card_says_what_was_trained_on(name: str, words: str) -> None:
    card = report.card(by_recipe(RECIPES[name].as_data()))
    (row,) = [line for line in card.splitlines() if line.startswith("| trained on |")]
    assert f"; {words}" in row


@pytest.mark.parametrize(
    ("name", "call"),
    [("addition", "--max-terms 2 --largest 20 --padding left"), ("reversal", "--cardinality 20 --take 2 --longest 7")],
)
def test_the_command_names_the_problems_fields(name: str, call: str) -> None:
    recipe = asked(name, *call.split())
    command = command_line.reproducing(recipe)
    assert command is not None
    assert sorted(command.split()) == sorted(f"python -m training fit {name} {call}".split())


@pytest.mark.parametrize(
    "recipe",
    [
        replace(RECIPES["addition"], name="division"),
        replace(RECIPES["addition"], rare=0.25),
        replace(RECIPES["addition"], name="reversal"),
    ],
    ids=["a recipe that is gone", "a setting that no option sets", "a problem of another kind"],
)
def test_a_card_promises_no_command_that_gives_another_recipe(recipe: Recipe) -> None:
    assert command_line.reproducing(recipe) is None
    for data in (recipe.as_data(), RECIPES["addition"].as_data() | {"field": "of another release"}):
        assert "No command of this release" in report.card(by_recipe(data))


def test_a_broken_recipe_has_its_own_line_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: str) -> Recipe:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setitem(RECIPES.builders, "addition-two-terms", broken)
    assert main(["list"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "addition-two-terms: the recipe cannot be built: division by zero"
    assert [line.split()[0].rstrip(":") for line in lines] == list(RECIPES)
    assert main(["fit", "addition-two-terms"]) == 1
    assert capsys.readouterr().err == f"training: {lines[1]}\n"
    assert main(["show", str(MODELS / "addition" / "1")]) == 0


@pytest.mark.parametrize("call", ["list", "fit --help", "show models/addition/1", "show models/none", "fit division"])
def test_a_closed_pipe_ends_quietly(call: str) -> None:
    read, write = os.pipe()
    os.close(read)  # the reader is gone before anything is written
    command = [sys.executable, "-m", "training", *call.split()]
    for errors in (subprocess.PIPE, write):
        result = subprocess.run(command, stdout=write, stderr=errors, text=True, cwd=MODELS.parent, check=False)
        wrong = call in ("show models/none", "fit division")
        assert result.returncode in ((1, 2, 141) if wrong else (0, 141))
        assert (result.stderr or "").count("\n") == (wrong and errors is subprocess.PIPE)
    os.close(write)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("call", "status"), [("list", 0), ("show models/addition/1", 0), ("show x", 1), ("fit x", 2)])
def test_closed_streams_cost_nothing_but_what_they_would_show(closed: str, call: str, status: int) -> None:
    result = run(f"training {call} {closed}")
    assert result.returncode == status
    assert result.stdout == ""
    assert result.stderr.count("\n") == (status > 0 and "2>&-" not in closed)


def test_what_cannot_be_written_is_one_line() -> None:
    result = run("training list > /dev/full")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "training: [Errno 28] No space left on device\n"


def test_show_replaces_what_an_encoding_lacks() -> None:
    result = run("training show models/addition/1", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == report.card(bundle.read_manifest(MODELS / "addition" / "1")).replace("→", "?")


def test_a_log_directory_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(f"training fit addition --out {tmp_path}/1 --log-dir {tmp_path}/file")
    assert result.returncode == 1
    assert result.stderr == f"training: [Errno 17] File exists: '{tmp_path}/file'\n"


def test_compare_shows_what_differs_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = str(MODELS / "addition" / "1"), str(MODELS / "reversal" / "2")
    assert main(["compare", one, other]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == [one, other]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["recipe.problem.max_terms"] == ["3", "-"]
    assert rows["recipe.samples"] == ["32,000,000", "6,144,000"]
    assert rows["network.encoder_units"] == ["24", "16"]
    assert all(cells[0] != cells[1] for cells in rows.values())
    assert "recipe.seed" not in rows

    assert main(["compare", one, one]) == 0
    assert capsys.readouterr().out == "Recipe, network and evaluation are the same.\n"
    assert main(["compare", one, "nowhere"]) == 1
    assert "nowhere/manifest.json: is missing" in capsys.readouterr().err


def test_compare_knows_no_figure_by_name() -> None:
    one = by_recipe({"bound": {"rows": 1_000}, "shares": [0.5, 1.0], "same": 1})
    other = by_recipe({"bound": {"rows": 2}, "shares": [0.5], "same": 1, "new": True})
    assert report.comparison({"a": one}, {"b": other}).splitlines() == [
        "                   a         b",
        "recipe.bound.rows  1,000     2",
        "recipe.shares      0.5, 1.0  0.5",
        "recipe.new         -         True",
    ]


@pytest.mark.parametrize("call", ["list", "show models/addition/1", "compare models/addition/1 models/reversal/2"])
def test_what_needs_no_keras_loads_none(call: str) -> None:
    code = (
        f"import sys; from training.__main__ import main; main({call.split()!r});"
        "sys.exit(any(name.split('.')[0] in ('keras', 'tensorflow', 'matplotlib') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=MODELS.parent, stdout=subprocess.DEVNULL)


def test_the_command_line_names_no_problem() -> None:
    source = Path(command_line.__file__).read_text(encoding="utf-8")
    names = {field.name for kind in Problem.kinds.values() for field in fields(kind)} | set(Problem.kinds)
    assert not [name for name in names if re.search(rf"\b{name}\b", source)]
