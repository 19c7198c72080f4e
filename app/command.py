"""The command line: serves the models, or refuses to start with one line that says why."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence

from app import VERSION
from app import settings as options
from app.http import guards
from app.main import create_app, make_keys, make_repository, make_tracing, make_traffic, started
from app.operations import logs, streams, worker
from app.operations.lifecycle import Lifecycle
from app.operations.shared_metrics import Board
from app.operations.signals import Signals
from app.operations.supervisor import CannotStart, Place, Supervisor
from app.serving import trial_process
from app.serving.predictor import Predictor
from app.serving.runtime import RuntimeMissing
from app.settings import Settings, WrongSetting
from seq2seq.bundle import BundleError

REFUSED = 1
REFUSALS = (WrongSetting, RuntimeMissing, BundleError, OSError)

logger = logging.getLogger("app")


def run(
    signals: Signals,
    process: trial_process.Process | None,
    arguments: Sequence[str] | None = None,
    predictor: type[Predictor] = Predictor,
) -> int:
    """Serve until a signal says stop. `process` waits to try versions. Returns the exit status."""
    try:
        settings = options.load(_given(*parser().parse_known_args(arguments)))
        board = Board(settings.workers)
        reserved = worker.reserve(settings.host, settings.port)
    except REFUSALS as error:
        return _refuse(error)
    logs.configure(settings)
    for remark in options.remarks():
        logger.warning("%s", remark)
    if settings.api_keys_file is None and not guards.is_loopback(reserved.getsockname()[0]):
        logger.warning(
            "other machines can use this service without a key; %s names a file of keys",
            options.variable("api_keys_file"),
        )
    with reserved:
        try:
            _supervise(signals, settings, reserved, board, process, predictor)
        except CannotStart as error:
            return _refuse(error)
    return 0


def _supervise(
    signals: Signals,
    settings: Settings,
    reserved: socket.socket,
    board: Board,
    process: trial_process.Process | None,
    predictor: type[Predictor],
) -> None:
    """Have workers serve on the reserved address. Raises `CannotStart`."""
    unused = [process]

    def first_serves() -> None:
        trial_process.end(unused.pop())
        host, port = reserved.getsockname()[:2]
        logger.info("serving on http://%s:%d, see /", f"[{host}]" if ":" in host else host, port)

    def work(place: Place) -> None:
        try:
            with worker.bind_beside(reserved) as listener:
                trial = unused[0] if unused else None
                lifecycle, traffic = Lifecycle(), make_traffic(settings)
                keys, tracing = make_keys(settings), make_tracing(settings)  # before models are loaded: they may refuse
                app = create_app(
                    settings,
                    repository=started(make_repository(settings, trial, predictor), settings),
                    lifecycle=lifecycle,
                    traffic=traffic,
                    keys=keys,
                    tracing=tracing,
                    board=board,
                    place=place.number,
                )
                worker.serve(settings, app, lifecycle, traffic, listener, on_serving=place.serves)
        except REFUSALS as error:
            raise CannotStart(" ".join(str(error).split())) from error

    Supervisor(
        signals,
        work,
        settings.workers,
        drain_s=settings.drain_s,
        stop_s=settings.stop_timeout_s,
        on_serving=first_serves,
    ).run()


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"app: cannot start: {' '.join(str(error).split())}\n")
    streams.flush()
    return REFUSED


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
