"""Puts the service together: `create_app` from settings and, in tests, from a registry of their own making."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from app import docs, errors, registry, runtime
from app.json_route import Shortcut
from app.middleware import RequestMiddleware
from app.predictor import Predictor
from app.registry import Registry
from app.routes import addition, health, models, reversal
from app.settings import Settings, load

VERSION = "1.0.0"
TITLE = "Sequences to service"
DESCRIPTION = "Encoder-decoder LSTMs that add numbers and reverse lists, exact on every request that they accept."
KINDS = {"addition": "addition", "reversal": "reversal"}
"""The models that the routes need, each with the kind of problem that it must be trained on."""


def create_app(settings: Settings | None = None, served: Registry | None = None) -> FastAPI:
    """The service, its models loaded. Raises `WrongSetting`, `RuntimeMissing` or `BundleError`."""
    settings = settings or load()
    served = load_registry(settings) if served is None else served
    service = _Service()
    return _API(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        routes=[*_routes(settings, served, service), *docs.routes(TITLE)],
        lifespan=service.lifespan,
        middleware=[Middleware(RequestMiddleware)],
        exception_handlers=errors.handlers(),
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        docs_url=None,
        redoc_url=None,
    )


def load_registry(settings: Settings) -> Registry:
    """The models that the settings ask for, loaded and checked."""
    return registry.load(
        settings.models_dir,
        runtime.loader(settings.runtime),
        kinds=KINDS,
        versions=settings.versions,
        batch_size=settings.max_batch_size,
    )


class _API(docs.DocumentedAPI):
    """The service as FastAPI has it, but for the way that its busiest routes are reached."""

    def build_middleware_stack(self) -> ASGIApp:
        return Shortcut(self.routes, super().build_middleware_stack())


class _Service:
    """What lives from start-up to shutdown."""

    def __init__(self) -> None:
        self._is_ready = False

    def is_ready(self) -> bool:
        return self._is_ready

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        gc.collect()
        gc.freeze()  # the models live as long as the process, so the collector need not look at them again
        self._is_ready = True
        try:
            yield
        finally:
            self._is_ready = False
            gc.unfreeze()


def _routes(settings: Settings, served: Registry, service: _Service) -> list[BaseRoute]:
    """Every route, in one flat list: a router that is included is matched anew for each request."""
    limits = (settings.max_body_bytes, settings.max_batch_body_bytes)
    routers: Iterable[APIRouter] = [
        *addition.routers(Predictor(served["addition"], settings.max_batch_size), *limits),
        *reversal.routers(Predictor(served["reversal"], settings.max_batch_size), *limits),
        models.router(served),
        health.router(service.is_ready),
    ]
    return [route for router in routers for route in router.routes]
