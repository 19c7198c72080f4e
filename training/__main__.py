"""The command line: `python -m training list | fit | verify | renew | show`.

Only `fit`, `renew` `verify --keras` load Keras; the others run with what serving needs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from seq2seq import bundle
from seq2seq.bundle import BundleError, Manifest
from training import report, verifying
from training.recipes import RECIPES, Recipe

STOPPED = 130
"""The exit status after Ctrl-C, as shells have it."""

STOPPED_MESSAGE = "\ntraining: stopped; nothing was written"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 if anything is wrong, 2 for a wrong call, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except BundleError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(STOPPED_MESSAGE, file=sys.stderr)
        return STOPPED
    return status


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process on the spot, for an exception that passes through TensorFlow can corrupt its memory.

    Only while nothing is being written.
    """

    def stop(_: int, __: FrameType | None) -> None:
        sys.stdout.flush()
        print(STOPPED_MESSAGE, file=sys.stderr, flush=True)
        os._exit(STOPPED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Fit, prove and show the models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="the recipes")
    command.set_defaults(run=list_recipes)

    command = commands.add_parser("fit", help="train by a recipe and save a bundle")
    command.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES))
    command.add_argument("--out", type=Path, help="the bundle's directory (default: the next version under models/ "
                         "for what ships, under runs/ for the rest)")  # fmt: skip
    command.add_argument("--seed", type=int, help="seeds weights and data (default: the recipe's)")
    command.add_argument("--samples", type=int, help="pairs to train on (default: the recipe's)")
    command.add_argument("--hold-out", action="store_true", help="never train on half of the distinct problems")
    command.set_defaults(run=fit)

    command = commands.add_parser("verify", help="run saved bundles over their whole domain")
    command.add_argument("directories", type=Path, nargs="+", metavar="DIR")
    command.add_argument("--json", action="store_true", help="one line of JSON a bundle")
    command.add_argument("--keras", action="store_true", help="compare with the Keras models anew (needs TensorFlow)")
    command.set_defaults(run=verify)

    command = commands.add_parser("renew", help="write a bundle's graphs anew from its training model, and prove them")
    command.add_argument("directory", type=Path, metavar="DIR")
    command.set_defaults(run=renew)

    command = commands.add_parser("show", help="a bundle's card")
    command.add_argument("directory", type=Path, metavar="DIR")
    command.set_defaults(run=show)
    return parser


def list_recipes(_: argparse.Namespace) -> int:
    """Print each recipe's name, network and purpose."""
    for recipe in RECIPES.values():
        units = f"{'+'.join(map(str, recipe.encoder_units))} to {'+'.join(map(str, recipe.decoder_units))}"
        print(f"{recipe.name:22}{recipe.family:16}{units:12}{recipe.samples:>12,} samples   {recipe.about}")
    return 0


def fit(options: argparse.Namespace) -> int:
    """Train, prove and save; prints the recipe first and what was proven last."""
    recipe = _adjusted(RECIPES[options.recipe], options)
    directory = options.out or _next_version(Path("models" if recipe.ships else "runs") / recipe.name)
    version = directory.name if directory.name.isdigit() else "1"
    print(json.dumps(recipe.as_data(), indent=2))
    if not recipe.hold_out:
        print("trains on the whole domain, as the tutorial does; --hold-out shows what it generalises")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from training import export, fitting

    with _stopped_at_once():
        fitted = fitting.fit(recipe, verbose=1 if sys.stdout.isatty() else 2)
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


def _adjusted(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    changes: dict[str, Any] = {"seed": options.seed, "samples": options.samples, "hold_out": options.hold_out or None}
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})


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


if __name__ == "__main__":
    sys.exit(main())
