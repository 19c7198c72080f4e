"""The command line: `python -m training list | fit | fit-pairs | verify | renew | show | compare | study`.

Only `fit`, `fit-pairs`, `renew` and `verify --keras` load Keras, and `study` has processes that do; the others run with
what serving needs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from seq2seq import bundle, staging
from seq2seq.bundle import Bundle, BundleError, Manifest
from seq2seq.problems.pairs import Pairs
from seq2seq.proving.running import Mistake
from training import command_line, environment, output, report, stopping, verifying
from training.command_line import CallError
from training.environment import WrongEnvironment
from training.pairs import command as pairs_command
from training.pairs import report as pairs_report
from training.pairs.files import PairsError
from training.recipes import RECIPES, RecipeError
from training.stopping import Diverged
from training.study import command as study_command
from training.verifying import Source

NOT_READ = 141
"""The exit status where nobody reads what is printed, as shells have it."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 if anything is wrong, 2 for a wrong call, 130 for Ctrl-C."""
    parser = command_line.parser(pairs_command.add_to, study_command.add_to)
    options = parser.parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (BundleError, CallError, Diverged, PairsError, RecipeError, WrongEnvironment) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallError) else 1
    except KeyboardInterrupt:
        print(stopping.nothing_written(), file=sys.stderr)
        return stopping.STOPPED


def list_recipes(_: argparse.Namespace) -> int:
    """Print each recipe's name, network and purpose; exit status 1 if one cannot be built."""
    status = 0
    for name in RECIPES:
        try:
            recipe = RECIPES[name]
        except RecipeError as error:
            print(error)
            status = 1
            continue
        units = f"{'+'.join(map(str, recipe.encoder_units))} to {'+'.join(map(str, recipe.decoder_units))}"
        print(f"{recipe.name:22}{recipe.family:16}{units:12}{recipe.samples:>12,} samples   {recipe.about}")
    return status


def fit(options: argparse.Namespace) -> int:
    """Train, prove and save; prints the recipe first and what was proven last.

    Exit status 1 if an answer is wrong, or if the bundle could not go where it belongs.
    """
    recipe = command_line.adjusted(RECIPES[options.recipe], options)
    wanted = output.destination(options.out, recipe, replace=options.replace)
    print(json.dumps(recipe.as_data(), indent=2))
    if not recipe.hold_out and not recipe.validation:
        print("trains on the whole domain, as the tutorial does; --hold-out shows what it generalises")
    if options.log_dir:
        options.log_dir.mkdir(parents=True, exist_ok=True)
        output.check_writable(options.log_dir)

    environment.load_keras()
    from training import export, fitting, summaries

    callbacks = [summaries.Scalars(options.log_dir)] if options.log_dir else []
    with stopping.stopped_at_once():
        fitted = fitting.fit(recipe, verbose=1 if sys.stdout.isatty() else 2, callbacks=callbacks)
    print(f"fitted {fitted.samples:,} samples in {fitted.seconds:.1f} s; exporting and proving", flush=True)
    runs = output.Destination(output.RUNS / recipe.name)
    with staging.workspace(runs.parent if options.out is None else wanted.parent) as workspace:
        filled = workspace / "bundle"
        draft = export.draft(recipe, fitted, name=recipe.name, version=wanted.version)
        manifest, mistakes = export.write(draft, fitted.models.training.get_weights(), filled)

        def seal(directory: Path, version: str) -> None:
            export.seal(replace(manifest, version=version), directory)

        if options.out is not None:
            directory = output.put(filled, wanted, seal)
        elif recipe.ships and output.is_exact(manifest):
            try:
                directory = output.put_elsewhere(filled, wanted, seal)
            except OSError as error:  # the disk has filled up since it was tried, for one
                print(f"training: cannot write to {wanted.parent}: {error.strerror}", file=sys.stderr)
                directory = output.put(filled, runs, seal)
        else:
            directory = output.put(filled, runs, seal)
    status = _told(directory, replace(manifest, version=directory.name), mistakes)
    if wanted.name not in (None, directory.name):
        print(f"training: {options.out} was taken while this run trained; nothing there was changed", file=sys.stderr)
        return 1
    if directory.parent != wanted.parent and output.is_exact(manifest):
        return 1
    return status


def renew(options: argparse.Namespace) -> int:
    """Write a bundle's graphs anew and prove or test them; its weights and training record stay.

    Exit status 1, and the old bundle stays, if the new evidence is worse.
    """
    directory = Path(os.path.abspath(options.directory))  # noqa: PTH100  resolves `..`, follows no link
    loaded = bundle.read(directory)
    output.check_free(directory, replace=True)
    source = _source(options)
    if isinstance(loaded.manifest.problem, Pairs):
        if source is None:
            raise CallError(f"{directory} is tested with pairs; give the file that it was made from by --pairs")
        return pairs_command.renew(directory, loaded, *verifying.read_pairs(loaded.manifest, source))
    environment.load_keras()
    from training import export

    with staging.workspace(directory.parent) as workspace:
        weights = export.weights_of(loaded)
        manifest, mistakes = export.write(loaded.manifest, weights, workspace / "bundle")
        more_wrong = manifest.proof.wrong > loaded.manifest.proof.wrong
        if more_wrong or (output.is_exact(loaded.manifest) and not output.is_exact(manifest)):
            print(f"{directory} stays as it is; its new graphs would be worse: {manifest.evaluation.sentence}")
            return 1
        export.seal(manifest, workspace / "bundle")
        output.check_free(directory, replace=True)  # something may have been put there meanwhile
        staging.put(workspace / "bundle", directory, replace=True)
    return _told(directory, manifest, mistakes)


def _source(options: argparse.Namespace) -> Source | None:
    if options.pairs is None and options.test is not None:
        raise CallError("--test needs --pairs, the file that the bundle was made from")
    return None if options.pairs is None else Source(options.pairs, options.test)


def _told(directory: Path, manifest: Manifest, mistakes: list[Mistake]) -> int:
    """Print what is known of a bundle that was written; the exit status is 1 if any answer is wrong or disputed."""
    print(f"{directory}: {manifest.evaluation.sentence}")
    for mistake in mistakes:
        print(f"  {mistake}")
    try:
        bundle.check_evidence(Bundle(directory, manifest))
        bundle.check_identity(directory, manifest)
    except BundleError as error:
        print(f"it will not be served: {error}")
    agree = all(each["agreed"] == each["compared"] for each in manifest.agreement.values())
    return 0 if agree and not manifest.proof.wrong else 1


def verify(options: argparse.Namespace) -> int:
    """Prove or test each bundle anew and report it; exit status 1 if one is not what it says, or cannot be verified.

    What only a file of pairs can show is reported as not verified without that file, and is no fault.
    """
    status = 0
    source = _source(options)
    if source is not None and len(options.directories) > 1:
        raise CallError("--pairs is for one bundle")
    if options.keras:
        environment.load_keras()
    for directory in options.directories:
        try:
            verdict = verifying.verify(directory, keras=options.keras, source=source)
        except Exception as error:  # whatever an odd graph makes of the libraries, the other bundles are verified
            known = isinstance(error, BundleError | PairsError)
            fault = str(error) if known else f"{directory}: cannot be verified: {error!r:.300}"
            print(f"training: {fault}", file=sys.stderr)
            status = 1
            continue
        print(json.dumps(verdict.as_data()) if options.json else verdict, flush=True)
        status = 1 if verdict.fault else status
    return status


def show(options: argparse.Namespace) -> int:
    """Print the model card, made from the manifest."""
    manifest = bundle.read_manifest(options.directory)
    print((pairs_report if isinstance(manifest.problem, Pairs) else report).card(manifest), end="")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Print in which settings and figures two bundles differ."""
    one, other = map(bundle.read_manifest, options.directories)
    print(report.comparison({str(options.directories[0]): one}, {str(options.directories[1]): other}), end="")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": list_recipes,
    "fit": fit,
    "fit-pairs": pairs_command.run,
    "verify": verify,
    "renew": renew,
    "show": show,
    "compare": compare,
    "study": study_command.run,
}


def process() -> int:
    """`main` on the streams that the process was given, whatever they are."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed; the number must not go to a file that is opened later
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        status = NOT_READ
    except OSError as error:
        print(f"training: {error}", file=sys.stderr)
        status = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail again at the exit
    return status


if __name__ == "__main__":
    sys.exit(process())
