"""Serves an application in this process, on a free port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp

from app.operations.connections import HttpProtocol

Address = tuple[str, int]


def configured(app: ASGIApp, lifespan: Literal["on", "off"] = "off", **options: Any) -> uvicorn.Config:
    """What a connection is made from. The options are those of `HttpProtocol`."""
    protocol: Any = partial(HttpProtocol, **options)
    config = uvicorn.Config(app, http=protocol, lifespan=lifespan, ws="none", log_config=None, access_log=False)
    config.load()
    return config


@contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[Address]:
    """Where a server answers, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(configured(app, "on", **options))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()
