"""The command `fit-pairs`: a file of pairs in, a bundle with honest error rates out."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from seq2seq import bundle, staging
from seq2seq.bundle import PLAIN_NAME
from seq2seq.problems.pairs import Normalization, Pairs, Tokens
from training import command_line, environment, output
from training.command_line import CallError
from training.pairs import files, recipes, report
from training.pairs.files import Format, Parts, Reading, Split, Table
from training.pairs.recipes import PairsRecipe

CHECKPOINT = "checkpoint.npz"
FEW_TESTED = 100
"""So few tested sources say little, and the command says so."""

OPTIONS: dict[str, dict[str, Any]] = {
    "family": {"choices": ["attention", "plain"], "help": "whether the decoder attends to the encoder's outputs"},
    "encoder_units": {"type": command_line.units, "help": "units of a direction of each layer, such as 128,128"},
    "decoder_units": {"type": command_line.units, "help": "units of each layer"},
    "embedding_units": {"type": int, "help": "units of each symbol's embedding"},
    "epochs": {"type": int, "help": "how often every pair is seen at most"},
    "patience": {"type": int, "help": "after so many rounds without gain training ends"},
    "batch_size": {"type": int, "help": "pairs a step"},
    "learning_rate": {"type": float, "help": "the rate at its peak"},
    "dropout": {"type": float, "help": "the share of units that is dropped in training"},
    "label_smoothing": {"type": float, "help": "the share of each target that is spread over all symbols"},
    "noise": {"type": float, "help": "the share of symbols told to the decoder that are replaced by random ones"},
    "weight_decay": {"type": float, "help": "how strongly weights are pulled towards 0"},
    "averaging": {"type": float, "help": "the momentum of the averaged weights"},
    "seed": {"type": int, "help": "seeds weights and data"},
}
"""The fields of a recipe that the command takes."""


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    command = commands.add_parser("fit-pairs", help="train on a file of pairs and save a bundle")
    command.add_argument("file", metavar="FILE", help="TSV, CSV, JSON Lines or a lexicon; - is standard input")
    command.add_argument("--name", required=True, help="the model's name, by which it is served")
    command.add_argument(
        "--out", type=Path, help="the bundle's directory (default: the next version under models/NAME)"
    )
    command.add_argument("--replace", action="store_true", help="replace the bundle that --out names")
    command.add_argument("--resume", action="store_true", help="go on where a stopped run of the same name was")
    group = command.add_argument_group("how the file is read")
    group.add_argument("--format", choices=get_args(Format), help="default: by the file's name, or its first line")
    group.add_argument("--columns", metavar="SOURCE,TARGET", help="by name or number (default: 1,2)")
    for side in ("source", "target"):
        group.add_argument(f"--{side}-tokens", choices=get_args(Tokens), help="default: guessed, and printed")
    group.add_argument("--normalization", choices=get_args(Normalization), default="NFC", help="Unicode form")
    group.add_argument("--fold-case", action="store_true", help="read sources without regard to case")
    group.add_argument("--longest", type=int, default=100, help="most tokens of a source or a target (default: 100)")
    group.add_argument("--swap", action="store_true", help="learn the reverse direction")
    group.add_argument("--validation", metavar="FILE", help="pairs to validate by (default: a share of FILE)")
    group.add_argument("--test", metavar="FILE", help="pairs to test with (default: a share of FILE)")
    group = command.add_argument_group("network and training, unless the data decide")
    for name, settings in OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", **settings)


def run(options: argparse.Namespace) -> int:
    """Read, train, calibrate, test and save. Raises `CallError` or `PairsError`."""
    if not PLAIN_NAME.fullmatch(options.name):
        raise CallError(f"--name {options.name}: it may hold at most 100 letters, digits, '-', '_' and '.'")
    problem, parts, sha256 = _read(options)
    recipe = _recipe(options, problem, parts, sha256)
    wanted = output.destination(options.out, recipe, replace=options.replace)
    print(json.dumps({key: value for key, value in recipe.as_data().items() if key != "problem"}), flush=True)

    environment.load_keras()
    from training.pairs import export, fitting

    checkpoint = output.RUNS / options.name / CHECKPOINT
    if not options.resume:
        checkpoint.unlink(missing_ok=True)
    try:
        fit = fitting.fit(recipe, parts["train"], parts["validation"], checkpoint=checkpoint)
    except (fitting.Diverged, fitting.WrongCheckpoint) as error:
        raise CallError(str(error)) from error
    before = fitting.score(fit, recipe, parts["test"]).calibration_error
    temperature = export.calibrate(problem, fit, parts["validation"])
    with staging.workspace(wanted.parent) as workspace:
        filled = workspace / "bundle"
        draft = export.draft(recipe, fit, version=wanted.version)
        export.write(draft, fit.layers, filled)
        manifest, score = export.evaluate(draft, filled, parts["test"], temperature=temperature, uncalibrated=before)

        def seal(directory: Path, version: str) -> None:
            sealed = replace(manifest, version=version)
            report.write(sealed, score, directory / "report")
            bundle.seal(directory, sealed)
            bundle.read(directory)

        directory = output.put(filled, wanted, seal)
    checkpoint.unlink(missing_ok=True)
    print(f"{directory}: {manifest.evaluation.sentence}\n{report.mistakes(score)}")
    if len(score.sources) < FEW_TESTED:
        print(f"{len(score.sources)} tested sources say little; the interval above is that wide")
    print(_asking(options.name, manifest.golden[0].request))
    return 0


def _read(options: argparse.Namespace) -> tuple[Pairs, Parts, str]:
    reading = Reading(
        options.format,
        None if options.columns is None else _columns(options.columns),
        options.source_tokens,
        options.target_tokens,
        options.normalization,
        options.fold_case,
        options.longest,
        options.swap,
    )
    table = files.read(options.file, reading)
    others: dict[Split, Table] = {}
    alike = replace(reading, source_tokens=table.source_tokens, target_tokens=table.target_tokens)
    for name in ("validation", "test"):
        if (path := getattr(options, name)) is not None:
            others[name] = files.read(path, alike)
    parts = files.split(table, others)
    print(files.described(table, parts), flush=True)
    return files.problem_of([table, *others.values()], reading, complete=False), parts, table.sha256


def _columns(text: str) -> tuple[str, str]:
    columns = [each.strip() for each in text.split(",")]
    if len(columns) != 2 or not all(columns):
        raise CallError(f"--columns takes a source and a target, such as 1,2 or word,sound; not {text[:60]!r}")
    return columns[0], columns[1]


def _recipe(options: argparse.Namespace, problem: Pairs, parts: Parts, sha256: str) -> PairsRecipe:
    pairs = sum(map(len, parts["train"].values()))
    recipe = recipes.sized(options.name, problem, pairs, complete=False, sha256=sha256)
    given = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    try:
        return replace(recipe, **given)
    except ValueError as error:
        raise CallError(str(error)) from error


def _asking(name: str, request: str) -> str:
    """The command that asks the new endpoint, once the service runs."""
    body = shlex.quote(json.dumps({"source": request}, ensure_ascii=False))
    return (
        f"ask it, once `make serve` runs:\n  curl -H 'Content-Type: application/json' -d {body}"
        f" http://127.0.0.1:8000/models/{name}/predict"
    )
