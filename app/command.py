"""The command line: serves the models, or refuses to start with one line that says why.

Loads no FastAPI until versions are being tried: both take a quarter of a second, so they are done side by side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from app import VERSION
from app import settings as options
from app.operations import streams
from app.operations.signals import Signals
from app.operations.supervisor import CannotStart
from app.serving import trial_process
from app.serving.folders import look
from app.serving.predictor import Predictor
from app.serving.repository import QUICK_S, in_turn
from app.serving.trial import Terms, Trial
from app.settings import Settings, WrongSetting

REFUSED = 1


def run(
    signals: Signals,
    process: trial_process.Process | None,
    arguments: Sequence[str] | None = None,
    predictor: type[Predictor] = Predictor,
) -> int:
    """Serve until a signal says stop. `process` waits to try versions. Returns the exit status."""
    try:
        settings = options.load(_given(*parser().parse_known_args(arguments)))
        trial = _begun(settings, process)
        from app import service

        service.run(signals, settings, trial, predictor)
    except (WrongSetting, CannotStart) as error:
        sys.stderr.write(f"app: cannot start: {' '.join(str(error).split())}\n")
        streams.flush()
        return REFUSED
    return 0


def _begun(settings: Settings, process: trial_process.Process | None) -> Trial:
    """A trial whose first process begins with what a start will ask for."""
    trial = Trial(Terms.of(settings), process)
    versions = in_turn(look(settings.models_dir).versions, settings.versions)
    trial.begin([version.path for version in versions], QUICK_S)
    return trial


def parser() -> argparse.ArgumentParser:
    """An option for each setting, saying which environment variable it stands in for.

    pydantic-settings' own command line takes 3 ms more of each start, shows the values of unknown options, which may be
    keys, and would still need this parser for `--version` and the examples.
    """
    parser = argparse.ArgumentParser(
        prog="python -m app",
        allow_abbrev=False,
        description="Serve the models of a directory over HTTP.",
        epilog="Each option overrides the environment variable that its help names.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    for name in Settings.model_fields:
        help_ = f"{options.described(name)} [{options.variable(name)}, default {options.default(name)}]"
        parser.add_argument(options.option(name), metavar="VALUE", help=help_.replace("%", "%%"))
    return parser


def _given(namespace: argparse.Namespace, unknown: Sequence[str]) -> dict[str, str]:
    """What the command line sets. Raises `WrongSetting` for an unknown option."""
    for argument in unknown:
        name = ascii(argument.partition("=")[0])[1:-1]
        if not name.startswith("-"):
            raise WrongSetting("an argument has no name; --help lists the options, for example: --port 8001")
        near = options.resembling(name)
        hint = f"did you mean {options.option(near)}?" if near else "--help lists the options"
        raise WrongSetting(f"{name} is not an option; {hint}")
    return {name: value for name, value in vars(namespace).items() if value is not None}
