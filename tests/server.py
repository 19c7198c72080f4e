"""Serves an application in this process, on a free port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from app.operations.connections import HttpProtocol

Address = tuple[str, int]


def configured(
    app: ASGIApp, protocol: type[HttpProtocol] = HttpProtocol, lifespan: Literal["on", "off"] = "off"
) -> uvicorn.Config:
    """What a connection is made from."""
    config = uvicorn.Config(app, http=protocol, lifespan=lifespan, ws="none", log_config=None, access_log=False)
    config.load()
    return config


@contextmanager
def serving(app: ASGIApp, protocol: type[HttpProtocol] = HttpProtocol) -> Iterator[Address]:
    """Where a server answers, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(configured(app, protocol, "on"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()
