"""One process that serves until it is told to stop, and then loses no request that it can still answer.

SIGTERM turns readiness to 503 and lets the service go on for a grace, so that clients and proxies notice. Then no more
connections are accepted, requests in flight finish, and the process ends. SIGINT skips the grace. `NOW`, and the end of
the time for requests in flight, drop the connections. Each way runs the application's clean-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.http import guards
from app.operations.connections import HttpProtocol
from app.operations.lifecycle import Lifecycle
from app.operations.logs import log_config
from app.operations.signals import NOW
from app.serving.counters import Traffic
from app.settings import Settings, variable

SIGNALS = (signal.SIGTERM, signal.SIGINT, NOW)
ACCEPTORS = 8
"""Most connections that are accepted in one turn of the loop.

libuv accepts one for each listener, and a turn lasts as long as a batch. With one listener, new clients of a busy
service would wait long to be told so.
"""

CLEAN_UP_S = 1.0
"""How much of the time for requests in flight is kept for cleaning up, at most half of it."""

logger = logging.getLogger("app")


class Server(uvicorn.Server):
    """uvicorn's server with a lifecycle.

    A stop takes `drain_s` and `stop_s` seconds at most. `on_serving` is called once connections are accepted.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        *,
        drain_s: float,
        stop_s: float,
        on_serving: Callable[[], None],
    ):
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_s = drain_s
        self._in_flight_s = stop_s - min(CLEAN_UP_S, stop_s / 2)
        self._on_serving = on_serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_serving()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(self._in_flight_s, self._drop_connections)
        await super().shutdown(sockets)

    def stop(self, number: int) -> None:
        """Stop as a signal says. The same signal twice changes nothing: service managers signal each process."""
        grace_s = self._drain_s if number == signal.SIGTERM else 0.0
        if not self._lifecycle.is_draining():
            logger.info("stopping: no longer ready, still serving for %g s", grace_s)
        self._lifecycle.drain()
        if number == NOW:
            self._in_flight_s = 0.0
            self._drop_connections()
        asyncio.get_running_loop().call_later(grace_s, self._end_grace)

    def _end_grace(self) -> None:
        self.should_exit = True

    def _drop_connections(self) -> None:
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised again: to stop as told is a success."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)  # Python's own for SIGINT would print a traceback


def reserve(host: str, port: int) -> socket.socket:
    """A socket that holds the address for the workers. It never listens, so no client waits on it.

    Raises `OSError` if the port is in use, also by another service whose workers do not listen yet.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        try:
            reserved = _bound(socket.socket(family, kind, protocol), address)
        except OSError:  # perhaps only because of connections that are closed already
            reserved = _bound(socket.socket(family, kind, protocol), address, socket.SO_REUSEADDR)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        names = f"{variable('host')} and {variable('port')}"
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror}; set {names}, for example: {variable('port')}=8001"
        ) from error
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # not before: a second service must be refused
    return reserved


def bind_beside(reserved: socket.socket) -> socket.socket:
    """A worker's own socket on the address that its parent holds. It listens once the worker serves."""
    listener = socket.socket(reserved.family, reserved.type, reserved.proto)
    with reserved:  # else a worker would hold the address after its parent's end
        return _bound(listener, reserved.getsockname(), socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def _bound(new: socket.socket, address: Any, *options: int) -> socket.socket:
    try:
        for option in options:
            new.setsockopt(socket.SOL_SOCKET, option, 1)
        new.bind(address)
    except OSError:
        new.close()
        raise
    return new


def serve(
    settings: Settings,
    app: FastAPI,
    lifecycle: Lifecycle,
    traffic: Traffic,
    listener: socket.socket,
    *,
    on_serving: Callable[[], None],
) -> None:
    """Serve `app`, which was made with the same lifecycle and traffic, on a bound socket until a signal says stop."""
    _allow_many_connections()
    config = _config(settings, app, lifecycle, traffic, listener.getsockname()[0])
    listeners = [listener, *(listener.dup() for _ in range(ACCEPTORS - 1))]
    Server(config, lifecycle, drain_s=settings.drain_s, stop_s=settings.stop_timeout_s, on_serving=on_serving).run(
        sockets=listeners
    )


def _config(settings: Settings, app: FastAPI, lifecycle: Lifecycle, traffic: Traffic, address: str) -> uvicorn.Config:
    protocol = partial(
        HttpProtocol,
        read_timeout_s=settings.read_timeout_s,
        note=traffic.note,
        is_draining=lifecycle.is_draining,
        check_host=guards.host_check(settings, address),
        prefix=settings.root_path,
    )
    return uvicorn.Config(
        app,
        lifespan="on",
        http=protocol,  # type: ignore[arg-type]  # anything that makes a protocol will do
        ws="none",
        server_header=False,
        access_log=False,  # the service writes its own
        # Only where a client's address is shown; loopback addresses are proxies only where a setting says so.
        proxy_headers=bool(settings.trusted_proxies) and (settings.access_log or settings.tracing),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=settings.idle_timeout_s,
        log_level=settings.log_level,
        log_config=log_config(settings),
    )


def _allow_many_connections() -> None:
    """Raise the number of open files to the most that the system lets the process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
