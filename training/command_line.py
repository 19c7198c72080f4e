"""The options of the command line and the recipe that they ask for; and back, from a recipe to the command for it.

Knows nothing of Keras, and no problem by name: a problem's options are its fields.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from seq2seq.problem import Problem
from training.recipes import RECIPES, Recipe, RecipeError

PROGRAM = "python -m training"


class CallError(Exception):
    """A wrong call. The message says in one line what is wrong."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a call, and leaves the usage to --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"training: {' '.join(message.split())} (see {self.prog} --help)\n")


def units(text: str) -> tuple[int, ...]:
    """`"24,16"` → (24, 16)."""
    return tuple(map(int, text.split(",")))


OPTIONS: dict[str, dict[str, Any]] = {
    "seed": {"type": int, "help": "seeds weights and data"},
    "samples": {"type": int, "help": "examples to train on"},
    "hold_out": {"action": argparse.BooleanOptionalAction, "help": "never train on half of the distinct problems"},
    "encoder_units": {"type": units, "help": "units of each layer, such as 24 or 24,16"},
    "decoder_units": {"type": units, "help": "units of each layer"},
    "epochs": {"type": int, "help": "how often loss and accuracy are reported"},
    "hard_epochs": {"type": int, "help": "how many of the last epochs have hard examples in half of their samples"},
    "batch_size": {"type": int, "help": "examples a step"},
    "learning_rate": {"type": float, "help": "the rate at its peak"},
}
"""The fields of a recipe that `fit` takes."""


def problem_fields() -> dict[str, list[str]]:
    """The fields of all kinds of problem that recipes have, each with those kinds."""
    kinds: dict[str, list[str]] = {}
    for kind, problem in Problem.kinds.items():
        for field in fields(problem):
            if field.name not in OPTIONS:
                kinds.setdefault(field.name, []).append(kind)
    return kinds


def parser(*more: Callable[[Any], None]) -> argparse.ArgumentParser:
    """The whole command line; `command` names what is asked for, each of `more` adds a command, or options."""
    whole = Parser(prog=PROGRAM, description="Fit, prove and show the models.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", dest="command")

    commands.add_parser("list", help="the recipes")

    command = commands.add_parser("fit", help="train by a recipe and save a bundle")
    command.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES))
    command.add_argument("--out", type=Path, help="the bundle's directory (default: the next version under models/ "
                         "for what ships, under runs/ for the rest)")  # fmt: skip
    command.add_argument("--replace", action="store_true", help="replace the bundle that --out names")
    command.add_argument("--log-dir", type=Path, help="write TensorBoard logs to this directory after each epoch")
    group = command.add_argument_group("what the recipe says, unless given")
    for name, settings in OPTIONS.items():
        group.add_argument(_flag(name), **settings)
    group = command.add_argument_group("what the recipe's problem says, unless given")
    for name, kinds in problem_fields().items():
        group.add_argument(_flag(name), dest=_place(name), metavar="VALUE", help=f"of {' and '.join(kinds)}")

    command = commands.add_parser("verify", help="prove or test saved bundles anew")
    command.add_argument("directories", type=Path, nargs="+", metavar="DIR")
    command.add_argument("--json", action="store_true", help="one line of JSON a bundle")
    command.add_argument("--keras", action="store_true", help="compare with the Keras models anew (needs TensorFlow)")

    command = commands.add_parser("renew", help="write a bundle's graphs anew from its training model, and prove them")
    command.add_argument("directory", type=Path, metavar="DIR")

    command = commands.add_parser("show", help="a bundle's card")
    command.add_argument("directory", type=Path, metavar="DIR")

    command = commands.add_parser("compare", help="how two bundles differ")
    command.add_argument("directories", type=Path, nargs=2, metavar="DIR")

    for add_to in more:
        add_to(commands)
    return whole


def adjusted(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """The recipe with what `fit` was given instead. Raises `CallError`."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    changes = {name: given[name] for name in OPTIONS if name in given}
    own = [field.name for field in fields(recipe.problem)]
    try:
        problem: dict[str, Any] = {}
        for name in problem_fields():
            if _place(name) in given:
                if name not in own:
                    raise ValueError(f"{recipe.name} has no {_flag(name)}; it has {', '.join(map(_flag, own))}")
                problem[name] = _read(name, given[_place(name)], getattr(recipe.problem, name))
        changed = replace(recipe.problem, **problem)
        # A network that accepts less is no next version of what ships: its clients send what it would refuse.
        return replace(recipe, **changes, problem=changed, ships=recipe.ships and changed.covers(recipe.problem))
    except (TypeError, ValueError) as error:
        raise CallError(" ".join(str(error).split())) from error


def reproducing(recipe: Recipe) -> str | None:
    """The command that runs a recipe again: its name, and what differs from the recipe of that name today.

    None where no options make up the difference.
    """
    try:
        today = RECIPES[recipe.name]
    except (KeyError, RecipeError):
        return None
    words = [recipe.name]
    for name in OPTIONS:
        value = getattr(recipe, name)
        if value != getattr(today, name):
            words += _written(name, value)
    for field in fields(recipe.problem):
        value = getattr(recipe.problem, field.name)
        if value != getattr(today.problem, field.name, None):
            words += [_flag(field.name), value if isinstance(value, str) else json.dumps(value)]
    try:
        again = adjusted(today, parser().parse_args(["fit", *words]))
    except (CallError, SystemExit):
        return None
    same = replace(again, about=recipe.about, ships=recipe.ships) == recipe  # these two change nothing in a run
    return f"{PROGRAM} fit {shlex.join(words)}" if same else None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _place(field: str) -> str:
    """Where a problem's field is kept among the options, apart from options of the same name."""
    return f"problem.{field}"


def _read(name: str, text: str, example: object) -> Any:
    if isinstance(example, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_flag(name)} takes a value such as {json.dumps(example)}, not {text[:40]!r}") from error


def _written(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [_flag(name) if value else _flag(f"no_{name}")]
    return [_flag(name), ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
