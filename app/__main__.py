"""`python -m app`: serves the models, or refuses to start with one line that says why."""

from __future__ import annotations

import argparse
import copy
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app import settings as options
from app.main import create_app
from app.protocol import HttpProtocol
from app.runtime import RuntimeMissing
from app.settings import Settings, WrongSetting
from seq2seq.bundle import BundleError

REFUSED = 1
CANNOT_START = (WrongSetting, RuntimeMissing, BundleError, OSError)

logger = logging.getLogger("app")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Returns the exit status."""
    _into_environment(parser().parse_args(arguments))
    try:
        settings = options.load()
        listener = _listen(settings.host, settings.port)
    except CANNOT_START as error:
        return _refuse(error)
    with listener:
        try:
            app = _app(settings)
        except CANNOT_START as error:
            return _refuse(error)
        return _serve(settings, listener, app)


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"app: cannot start: {' '.join(str(error).split())}\n")
    return REFUSED


def parser() -> argparse.ArgumentParser:
    """An option for each setting, saying which environment variable it stands in for."""
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Serve the models of a directory over HTTP.",
        epilog="Each option overrides the environment variable that its help names.",
    )
    for name, field in Settings.model_fields.items():
        help_ = f"{field.description} [{options.variable(name)}, default {options.default(name)}]"
        parser.add_argument(options.option(name), metavar="VALUE", help=help_.replace("%", "%%"))
    return parser


def _into_environment(namespace: argparse.Namespace) -> None:
    """Make the command line's settings those of the environment, which worker processes read as well."""
    for name, value in vars(namespace).items():
        if value is not None:
            os.environ[options.variable(name)] = value


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, so that a busy port is known before any model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener


def _app(settings: Settings) -> FastAPI | str:
    """The app; or, for several workers, where each finds its own, after one was made to see that it can be."""
    app = create_app(settings)
    return app if settings.workers == 1 else "app.main:create_app"


def _serve(settings: Settings, listener: socket.socket, app: FastAPI | str) -> int:
    config = _config(settings, app)
    host, port = listener.getsockname()[:2]
    logger.info("serving on http://%s:%d, described at /docs", f"[{host}]" if ":" in host else host, port)
    try:
        if settings.workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
            return 0
        return _supervise(Multiprocess(config, sockets=[listener]))
    except KeyboardInterrupt:
        return 0


def _supervise(supervisor: Multiprocess) -> int:
    supervisor.run()
    failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
    return REFUSED if failed else 0


def _config(settings: Settings, app: FastAPI | str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=settings.workers,
        lifespan="on",
        http=HttpProtocol,
        ws="none",
        server_header=False,
        access_log=settings.access_log,
        proxy_headers=settings.access_log,  # where alone a client's address is shown
        log_level=settings.log_level,
        log_config=_log_config(settings),
    )


def _log_config(settings: Settings) -> dict[str, Any]:
    """uvicorn's, with the service's own messages among its own."""
    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["app"] = {"handlers": ["default"], "level": settings.log_level.upper(), "propagate": False}
    return config


if __name__ == "__main__":
    sys.exit(main())
