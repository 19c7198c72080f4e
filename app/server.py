"""One process that serves until it is told to stop, and then stops without losing a request.

On SIGTERM readiness turns 503 at once while service goes on for a grace, so that whoever sends requests here can
notice; then no connection is accepted any more, what is in flight finishes, and the process ends with status 0. A
second signal, or a deadline, ends it at once. Ctrl-C does without the grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app import security
from app.lifecycle import Lifecycle
from app.logs import log_config
from app.protocol import http_protocol
from app.settings import Settings

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ACCEPTORS = 8
"""How many connections are accepted in a turn of the loop at most.

libuv accepts one by each listener, and a turn lasts as long as a batch, so that with one listener who comes while the
service is busy would wait long to be told so.
"""

logger = logging.getLogger("app")


class Server(uvicorn.Server):
    """uvicorn's server with a lifecycle.

    `on_started` is called once connections are accepted. When `parent`, a pipe, ends, the server stops as on SIGTERM.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        drain_s: float,
        on_started: Callable[[], None],
        parent: int | None = None,
    ):
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_s = drain_s
        self._on_started = on_started
        self._parent = parent
        self._grace: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._parent is not None:
            self._loop.add_reader(self._parent, self._orphaned, self._parent)
        self._on_started()

    def stop(self, grace_s: float) -> None:
        """Drain for `grace_s` seconds, then stop; asked again, stop at once."""
        if self._grace is not None:
            self.should_exit = self.force_exit = True
            return
        self._lifecycle.drain()
        self._grace = asyncio.get_running_loop().call_later(grace_s, self._end_grace)
        logger.info("stopping: no longer ready, still serving for %g s", grace_s)

    def _orphaned(self, parent: int) -> None:
        asyncio.get_running_loop().remove_reader(parent)
        self.stop(self._drain_s)

    def _end_grace(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._loop is None:
            self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self.stop, self._drain_s if sig == signal.SIGTERM else 0.0)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but that a signal that was obeyed is not raised again: to stop as told is a success."""
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    settings: Settings,
    app: FastAPI,
    listener: socket.socket,
    *,
    on_started: Callable[[], None],
    parent: int | None = None,
) -> None:
    """Serve `app` on a socket that is bound, until a signal says to stop."""
    _allow_many_connections()
    lifecycle: Lifecycle = app.state.lifecycle
    config = _config(settings, app, lifecycle, listener.getsockname()[0])
    listeners = [listener, *(listener.dup() for _ in range(ACCEPTORS - 1))]
    Server(config, lifecycle, settings.drain_s, on_started, parent).run(sockets=listeners)


def _config(settings: Settings, app: FastAPI, lifecycle: Lifecycle, address: str) -> uvicorn.Config:
    hosts = security.host_check(settings, address)
    return uvicorn.Config(
        app,
        lifespan="on",
        http=http_protocol(settings.read_timeout_s, lifecycle.is_draining, app.state.traffic.note, hosts),
        ws="none",
        server_header=False,
        access_log=False,  # the service writes its own
        proxy_headers=settings.access_log or settings.tracing,  # where alone a client's address is shown
        timeout_keep_alive=settings.idle_timeout_s,
        timeout_graceful_shutdown=settings.stop_timeout_s,
        log_level=settings.log_level,
        log_config=log_config(settings),
    )


def _allow_many_connections() -> None:
    """Raise the number of open files to the most that the system lets the process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
