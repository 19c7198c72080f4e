"""Has workers serve as the settings say."""

from __future__ import annotations

import logging
import socket

from app import settings as options
from app.http import guards
from app.main import create_app, make_keys, make_repository, make_tracing, make_traffic, started
from app.operations import logs, worker
from app.operations.lifecycle import Lifecycle
from app.operations.shared_metrics import Board
from app.operations.signals import Signals
from app.operations.supervisor import CannotStart, Place, Supervisor
from app.serving import trial_process
from app.serving.predictor import Predictor
from app.serving.runtime import RuntimeMissing
from app.serving.trial import Trial
from app.settings import Settings, WrongSetting
from seq2seq.bundle import BundleError

logger = logging.getLogger("app")


def run(signals: Signals, settings: Settings, trial: Trial, predictor: type[Predictor]) -> None:
    """Serve until a signal says stop. `trial` tries versions for the first worker. Raises `CannotStart`."""
    try:
        board = Board(settings.workers)
        reserved = worker.reserve(settings.host, settings.port)
    except OSError as error:
        raise CannotStart(str(error)) from error
    logs.configure(settings)
    for remark in options.remarks():
        logger.warning("%s", remark)
    if settings.api_keys_file is None and not guards.is_loopback(reserved.getsockname()[0]):
        logger.warning(
            "other machines can use this service without a key; %s names a file of keys",
            options.variable("api_keys_file"),
        )
    with reserved:
        _supervise(signals, settings, reserved, board, trial, predictor)


def _supervise(
    signals: Signals,
    settings: Settings,
    reserved: socket.socket,
    board: Board,
    trial: Trial,
    predictor: type[Predictor],
) -> None:
    """Have workers serve on the reserved address. Raises `CannotStart`."""
    unused = [trial]

    def first_serves() -> None:
        trial_process.end(unused.pop().first)
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
        except (WrongSetting, RuntimeMissing, BundleError, OSError) as error:
            raise CannotStart(" ".join(str(error).split())) from error

    Supervisor(
        signals,
        work,
        settings.workers,
        drain_s=settings.drain_s,
        stop_s=settings.stop_timeout_s,
        on_serving=first_serves,
    ).run()
