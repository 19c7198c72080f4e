"""The command line: `python -m training list | fit | verify | renew | show | compare`.

Only `fit`, `renew` and `verify --keras` load Keras; the others run with what serving needs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from seq2seq import bundle
from seq2seq.bundle import BundleError, Manifest
from training import command_line, report, verifying
from training.command_line import CallError
from training.recipes import RECIPES, RecipeError

STOPPED = 130
"""The exit status after Ctrl-C, as shells have it."""

NOT_READ = 141
"""The exit status where nobody reads what is printed, as shells have it."""

STOPPED_MESSAGE = "\ntraining: stopped; nothing was written"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 if anything is wrong, 2 for a wrong call, 130 for Ctrl-C."""
    options = command_line.parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (BundleError, CallError, RecipeError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2 if isinstance(error, CallError) else 1
    except KeyboardInterrupt:
        print(STOPPED_MESSAGE, file=sys.stderr)
        return STOPPED


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process on the spot, for an exception that passes through TensorFlow can corrupt its memory.

    Only while nothing is being written.
    """

    def stop(_: int, __: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # a pipe may be closed
            sys.stdout.flush()
            print(STOPPED_MESSAGE, file=sys.stderr, flush=True)
        os._exit(STOPPED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
    """Train, prove and save; prints the recipe first and what was proven last."""
    recipe = command_line.adjusted(RECIPES[options.recipe], options)
    directory = options.out or _next_version(Path("models" if recipe.ships else "runs") / recipe.name)
    version = directory.name if directory.name.isdigit() else "1"
    print(json.dumps(recipe.as_data(), indent=2))
    if not recipe.hold_out and not recipe.validation:
        print("trains on the whole domain, as the tutorial does; --hold-out shows what it generalises")
    if options.log_dir:
        options.log_dir.mkdir(parents=True, exist_ok=True)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from training import export, fitting, summaries

    callbacks = [summaries.Scalars(options.log_dir)] if options.log_dir else []
    with _stopped_at_once():
        fitted = fitting.fit(recipe, verbose=1 if sys.stdout.isatty() else 2, callbacks=callbacks)
    print(f"fitted {fitted.samples:,} samples in {fitted.seconds:.1f} s; exporting and proving")
    manifest = export.save(recipe, fitted, directory, name=recipe.name, version=version)
    print(f"{directory}: {_summary(manifest)}")
    return 0


def renew(options: argparse.Namespace) -> int:
    """Write a bundle's graphs anew and prove them; its weights and training record stay."""
    from training import export

    manifest = export.renew(options.directory)
    print(f"{options.directory}: {_summary(manifest)}")
    return 0


def _next_version(directory: Path) -> Path:
    versions = [int(path.name) for path in directory.glob("*") if path.name.isdigit()]
    return directory / str(max(versions, default=0) + 1)


def verify(options: argparse.Namespace) -> int:
    """Prove each bundle anew and report it; exit status 1 if any is not exact, or cannot be verified."""
    status = 0
    for directory in options.directories:
        try:
            verdict = verifying.verify(directory, keras=options.keras)
        except BundleError as error:
            print(f"training: {error}", file=sys.stderr)
            status = 1
            continue
        print(json.dumps(verdict.as_data()) if options.json else verdict, flush=True)
        status = 1 if verdict.fault else status
    return status


def _summary(manifest: Manifest) -> str:
    return manifest.evaluation.sentence


def show(options: argparse.Namespace) -> int:
    """Print the model card, made from the manifest."""
    print(report.card(bundle.read_manifest(options.directory)), end="")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Print in which settings and figures two bundles differ."""
    one, other = map(bundle.read_manifest, options.directories)
    print(report.comparison({str(options.directories[0]): one}, {str(options.directories[1]): other}), end="")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": list_recipes,
    "fit": fit,
    "verify": verify,
    "renew": renew,
    "show": show,
    "compare": compare,
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
