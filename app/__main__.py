"""`python -m app`: serves the models, or refuses to start with one line that says why."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app import VERSION, logs, server, streams
from app import settings as options
from app.main import create_app
from app.runtime import RuntimeMissing
from app.settings import Settings, WrongSetting
from app.supervisor import Parent, Supervisor
from seq2seq.bundle import BundleError

REFUSED = 1
CANNOT_START = (WrongSetting, RuntimeMissing, BundleError, OSError)

logger = logging.getLogger("app")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Returns the exit status."""
    try:
        _into_environment(*parser().parse_known_args(arguments))
        settings = options.load()
        listeners = _listen(settings.host, settings.port, settings.workers)
    except CANNOT_START as error:
        return _refuse(error)
    logs.configure(settings)
    for remark in options.remarks():
        logger.warning("%s", remark)
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        return _serve(settings, listeners[0]) if settings.workers == 1 else _supervise(settings, listeners)


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"app: cannot start: {' '.join(str(error).split())}\n")
    streams.flush()
    return REFUSED


def parser() -> argparse.ArgumentParser:
    """An option for each setting, saying which environment variable it stands in for."""
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


def _into_environment(namespace: argparse.Namespace, unknown: Sequence[str]) -> None:
    """Make the command line's settings those of the environment, which worker processes read as well."""
    for argument in unknown:
        name = argument.partition("=")[0]
        near = options.resembling(name)
        hint = f"did you mean {options.option(near)}?" if near else "--help lists the options"
        raise WrongSetting(f"{name} is not an option; {hint}")
    for name, value in vars(namespace).items():
        if value is not None:
            os.environ[options.variable(name)] = value


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    """A socket for each worker, bound to the same address, so that a busy port is known before any model is loaded.

    The system spreads connections over them; a single one would leave nearly all to whichever worker wakes first.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = _bound(socket.socket(family, kind, protocol), address, socket.SO_REUSEADDR)
        if count == 1:
            return [listener]
        address = listener.getsockname()
        listener.close()  # it was bound by itself, so nobody else listens there
        return [_bound(socket.socket(family, kind, protocol), address, socket.SO_REUSEPORT) for _ in range(count)]
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _bound(listener: socket.socket, address: Any, option: int) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _serve(
    settings: Settings, listener: socket.socket, parent: Parent | None = None, workers_dir: Path | None = None
) -> int:
    """Load the models and serve, in this process."""
    try:
        app = create_app(settings, workers_dir=workers_dir)
    except CANNOT_START as error:
        return _refuse(error)
    if parent is None:
        server.serve(settings, app, listener, on_started=lambda: _say_where(listener))
    else:
        server.serve(settings, app, listener, on_started=parent.started, parent=parent.alive_r)
    return 0


def _supervise(settings: Settings, listeners: list[socket.socket]) -> int:
    """Have several processes serve."""
    with TemporaryDirectory(prefix="workers-") as folder:

        def work(parent: Parent) -> int:
            for place, listener in enumerate(listeners):
                if place != parent.place:
                    listener.close()
            return _serve(settings, listeners[parent.place], parent, Path(folder))

        def let_go() -> None:
            for listener in listeners:
                listener.close()

        supervisor = Supervisor(
            work,
            settings.workers,
            settings.drain_s + settings.stop_timeout_s,
            on_started=lambda: _say_where(listeners[0]),
            on_stopping=let_go,
        )
        return supervisor.run()


def _say_where(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    logger.info("serving on http://%s:%d, described at /docs", f"[{host}]" if ":" in host else host, port)


if __name__ == "__main__":
    sys.exit(main())
