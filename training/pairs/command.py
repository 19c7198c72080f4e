"""The command `fit-pairs`: a file of pairs in, a bundle out, with a proof or with honest error rates."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from seq2seq import bundle, staging
from seq2seq.bundle import PLAIN_NAME, Bundle, BundleError, Manifest
from seq2seq.decoding import VARYING
from seq2seq.evidence import ErrorRates
from seq2seq.problems.pairs import Normalization, Pairs, Tokens
from seq2seq.proving.running import Mistake
from training import command_line, environment, output, stopping
from training.command_line import CallError
from training.pairs import files, recipes, report
from training.pairs.files import Format, Parts, Reading, Split, Table
from training.pairs.recipes import PairsRecipe, Precision
from training.pairs.scoring import Score

if TYPE_CHECKING:
    from training.pairs.fitting import PairsFit

CHECKPOINT = "checkpoint.npz"
FEW_TESTED = 100
"""So few tested sources say little, and the command says so."""

OPTIONS: dict[str, dict[str, Any]] = {
    "family": {"choices": [*VARYING], "help": "how the decoder attends to the encoder's outputs"},
    "encoder_units": {"type": command_line.units, "help": "units per direction, one number a layer, such as 128,128"},
    "decoder_units": {"type": command_line.units, "help": "units, one number a layer"},
    "embedding_units": {"type": int, "help": "units of each symbol's embedding"},
    "epochs": {"type": int, "help": "most passes over the pairs"},
    "patience": {"type": int, "help": "stop after so many rounds without a better validation"},
    "batch_size": {"type": int, "help": "pairs a step"},
    "learning_rate": {"type": float, "help": "the rate at its peak"},
    "dropout": {"type": float, "help": "the share of units that is dropped in training"},
    "label_smoothing": {"type": float, "help": "the share of each target that is spread over all symbols"},
    "noise": {"type": float, "help": "share of the decoder's input symbols that are replaced by random ones"},
    "weight_decay": {"type": float, "help": "how strongly weights are pulled towards 0"},
    "precision": {
        "choices": get_args(Precision),
        "help": "number format of products in training; bfloat16 is faster on CPUs that multiply it",
    },
    "averaging": {"type": float, "help": "the momentum of the averaged weights"},
    "seed": {"type": int, "help": "seeds weights and data"},
}
"""The fields of a recipe that the command takes."""


def add_to(commands: Any) -> None:
    """Declare the command and its options, and those of other commands where a file of pairs is the only truth."""
    command = commands.add_parser("fit-pairs", help="train on a file of pairs and save a bundle")
    command.add_argument("file", metavar="FILE", help="TSV, CSV, JSON Lines or a lexicon; - is standard input")
    command.add_argument("--name", required=True, help="what the model is called in requests")
    command.add_argument(
        "--out", type=Path, help="the bundle's directory (default: the next version under models/NAME)"
    )
    command.add_argument("--replace", action="store_true", help="replace the bundle that --out names")
    command.add_argument(
        "--resume", action="store_true", help="continue the stopped run of this name, with the same file and options"
    )
    command.add_argument("--complete", action="store_true", help="FILE is all there is: half is held out, and the "
                         "answers to all of it are proven")  # fmt: skip
    group = command.add_argument_group("how the file is read")
    group.add_argument("--format", choices=get_args(Format), help="default: by the file's name, or its first line")
    group.add_argument("--columns", metavar="SOURCE,TARGET", help="by name or number (default: 1,2)")
    for side in ("source", "target"):
        group.add_argument(f"--{side}-tokens", choices=get_args(Tokens), help="default: guessed, and printed")
    group.add_argument("--normalization", choices=get_args(Normalization), default="NFC", help="Unicode form")
    group.add_argument("--fold-case", action="store_true", help="read sources without regard to case")
    group.add_argument("--longest", type=int, default=100, help="most tokens of a source or a target (default: 100)")
    group.add_argument("--swap", action="store_true", help="learn the reverse direction")
    group.add_argument(
        "--validation", metavar="FILE", help="pairs to choose the best round by (default: a twentieth of FILE)"
    )
    group.add_argument("--test", metavar="FILE", help="pairs to test with (default: a tenth of FILE)")
    group = command.add_argument_group("network and training (the defaults depend on the number of pairs)")
    for name, settings in OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", **settings)
    for name in ("verify", "renew"):
        group = commands.choices[name].add_argument_group("for models that fit-pairs made")
        group.add_argument("--pairs", metavar="FILE", help="the file that the bundle was made from")
        group.add_argument("--test", metavar="FILE", help="the file that it was tested with, if that was another")


def run(options: argparse.Namespace) -> int:
    """Read, train, prove or test, and save. Raises `CallError`, `Diverged` or `PairsError`."""
    if not PLAIN_NAME.fullmatch(options.name):
        raise CallError(f"--name {options.name}: it may hold at most 100 letters, digits, '-', '_' and '.'")
    if options.complete and (options.validation or options.test):
        raise CallError("--complete splits FILE itself; leave out --validation and --test")
    problem, reading, parts, sha256 = _read(options)
    recipe = _recipe(options, problem, parts, sha256)
    wanted = output.destination(options.out, recipe, replace=options.replace)
    checkpoint = output.RUNS / options.name / CHECKPOINT
    if not options.resume:
        checkpoint.unlink(missing_ok=True)
    elif not checkpoint.exists():
        raise CallError(f"there is no stopped run of {options.name} to go on with; leave out --resume")
    print(json.dumps(recipe.as_data()), flush=True)

    environment.load_keras()
    from training.pairs import fitting

    try:
        with stopping.stopped_at_once(lambda: _stopped(checkpoint)):
            fit = fitting.fit(recipe, parts["train"], parts["validation"], checkpoint=checkpoint)
    except fitting.WrongCheckpoint as error:
        raise CallError(str(error)) from error
    with stopping.told(lambda: _stopped(checkpoint)), staging.workspace(wanted.parent) as workspace:
        filled = workspace / "bundle"
        proven = _proven(recipe, reading, fit, parts, wanted.version, filled) if options.complete else None
        manifest, score = proven or _tested(recipe, reading, fit, parts, wanted.version, filled)

        def seal(directory: Path, version: str) -> None:
            sealed = replace(manifest, version=version)
            report.write(sealed, score, directory / "report")
            bundle.seal(directory, sealed)
            bundle.read(directory)

        directory = output.put(filled, wanted, seal)
    checkpoint.unlink(missing_ok=True)
    print(f"{directory}: {manifest.evaluation.sentence}")
    if score is None:
        print(f"held out of training: {manifest.proof.held_out:,}, of them wrong: {manifest.proof.held_out_wrong:,}")
    else:
        print(report.mistakes(score))
        if len(score.sources) < FEW_TESTED:
            print(f"only {len(score.sources)} sources were tested, so the interval above is wide")
    print(_asking(options.name, manifest.golden[0].request))
    return 0


def _proven(
    recipe: PairsRecipe, reading: Reading, fit: PairsFit, parts: Parts, version: str, filled: Path
) -> tuple[Manifest, None] | None:
    """Write the bundle's graphs and prove them; None, and nothing stays, where they are not exact."""
    from training.pairs import export

    draft = export.draft(recipe, fit, reading, version=version)
    export.write(draft, fit.layers, filled)
    mistakes: list[Mistake] = []
    try:
        manifest, mistakes = export.prove(draft, filled, files.Joined(parts), parts["train"])
        bundle.check_evidence(Bundle(filled, manifest))
    except BundleError as error:
        print(f"not proven, so the bundle gets error rates instead: {error.fault}", *mistakes, sep="\n  ")
        shutil.rmtree(filled)
        return None
    return manifest, None


def _tested(
    recipe: PairsRecipe, reading: Reading, fit: PairsFit, parts: Parts, version: str, filled: Path
) -> tuple[Manifest, Score]:
    """Calibrate the network, write the bundle's graphs, and measure how often they err."""
    from training.pairs import export, fitting

    before = fitting.score(fit, recipe, parts["test"]).calibration_error
    temperature = export.calibrate(recipe.problem, fit, parts["validation"])
    draft = export.draft(recipe, fit, reading, version=version)
    export.write(draft, fit.layers, filled)
    return export.evaluate(draft, filled, parts["test"], temperature=temperature, uncalibrated=before)


def renew(directory: Path, loaded: Bundle, table: Table, parts: Parts) -> int:
    """Write a bundle's graphs anew from its weights, and prove or test them.

    Exit status 1, and the old bundle stays, if they would be worse.
    """
    environment.load_keras()
    from training.pairs import export, networks

    old = replace(loaded.manifest, files={})
    score = None
    with staging.workspace(directory.parent) as workspace:
        filled = workspace / "bundle"
        export.write(old, networks.load(loaded), filled)
        if isinstance(old.evaluation, ErrorRates):
            manifest, score = export.evaluate(
                old,
                filled,
                parts["test"],
                temperature=old.evaluation.temperature,
                uncalibrated=old.evaluation.uncalibrated_error,
            )
            is_worse = score.wrong.sum() > old.evaluation.wrong
        else:
            manifest, _ = export.prove(old, filled, table.targets, parts["train"])
            is_worse = not output.is_exact(manifest)
        if is_worse:
            print(f"{directory} stays as it is; its new graphs would be worse: {manifest.evaluation.sentence}")
            return 1
        report.write(manifest, score, filled / "report")
        bundle.seal(filled, manifest)
        bundle.read(filled)
        output.check_free(directory, replace=True)  # something may have been put there meanwhile
        staging.put(filled, directory, replace=True)
    print(f"{directory}: {manifest.evaluation.sentence}")
    return 0


def _stopped(checkpoint: Path) -> str:
    if checkpoint.exists():
        return "\ntraining: stopped; the same command with --resume goes on from the last round that was validated"
    return stopping.nothing_written()


def _read(options: argparse.Namespace) -> tuple[Pairs, Reading, Parts, str]:
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
    parts = files.split(table, others, complete=options.complete)
    print(files.described(table, parts), flush=True)
    problem = files.problem_of([table, *others.values()], reading, complete=options.complete)
    return problem, alike, parts, files.sha256_of(table.targets)


def _columns(text: str) -> tuple[str, str]:
    columns = [each.strip() for each in text.split(",")]
    if len(columns) != 2 or not all(columns):
        raise CallError(f"--columns takes a source and a target, such as 1,2 or word,sound; not {text[:60]!r}")
    return columns[0], columns[1]


def _recipe(options: argparse.Namespace, problem: Pairs, parts: Parts, sha256: str) -> PairsRecipe:
    pairs = sum(map(len, parts["train"].values()))
    recipe = recipes.sized(options.name, problem, pairs, complete=options.complete, sha256=sha256)
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
