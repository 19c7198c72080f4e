"""Puts the service together: `create_app` from settings and, in tests, from a registry of their own making."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from app import VERSION, docs, errors, registry, runtime, security
from app.headers import PageHeaders
from app.json_route import Limits, Shortcut
from app.lifecycle import Lifecycle, Phase
from app.logs import AccessLog
from app.measures import Traffic
from app.metrics import Family, collect
from app.middleware import RequestMiddleware
from app.predictor import Predictor
from app.registry import Model
from app.repository import Repository, Served
from app.routes import addition, health, inference, metrics, models, reversal
from app.settings import Settings, WrongSetting, load, require_models
from app.workers import Workers

if TYPE_CHECKING:
    from app.tracing import Tracing

TITLE = "Sequences to service"
DESCRIPTION = "Encoder-decoder LSTMs that add numbers and reverse lists, exact on every request that they accept."
KINDS = {"addition": "addition", "reversal": "reversal"}
"""The models that the routes need, each with the kind of problem that it must be trained on."""

PLATFORMS = {"onnx": "onnxruntime_onnx", "tensorflow": "tensorflow_keras"}
"""What the Open Inference Protocol calls each runtime."""


def create_app(
    settings: Settings | None = None, models: Mapping[str, Model] | None = None, workers_dir: Path | None = None
) -> FastAPI:
    """The service with these models, or those that the settings ask for, which are loaded and checked.

    `workers_dir` is the folder by which several workers keep in touch. Raises `WrongSetting`, `RuntimeMissing` or
    `BundleError`.
    """
    settings = settings or load()
    guards = security.guards(settings)
    tracing = _tracing() if settings.tracing else None
    repository = _repository(settings)
    if models is None:
        repository.start(KINDS)
        require_models(settings, repository)
    else:
        for model in models.values():
            repository.put(model)
    lifecycle = Lifecycle()
    log = AccessLog(as_json=settings.log_format == "json") if settings.access_log else None
    traffic = Traffic(log.note if log else None)

    def measures() -> list[Family]:
        return collect(traffic, repository, is_ready=lifecycle.phase is Phase.READY)

    workers = Workers(workers_dir, repository, measures)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with (
            tracing.lifespan() if tracing else nullcontext(),
            workers.together(),
            repository.watching(settings.watch_s),
            lifecycle.lifespan(),
        ):
            yield

    app = _API(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        routes=[*_routes(settings, repository, lifecycle, workers), *(docs.routes(TITLE) if settings.docs else ())],
        lifespan=lifespan,
        middleware=[Middleware(RequestMiddleware, traffic=traffic), Middleware(PageHeaders), *guards],
        exception_handlers=errors.handlers(),
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.guards = guards
    app.state.tracing = tracing
    app.asks_for_keys = settings.api_keys_file is not None
    app.state.lifecycle = lifecycle
    app.state.repository = repository
    app.state.traffic = traffic
    return app


def _tracing() -> Tracing:
    try:
        from app.tracing import Tracing
    except ModuleNotFoundError as error:
        raise WrongSetting(
            f"APP_TRACING is true, but {error.name} is not installed; install requirements/tracing.txt"
        ) from error
    try:
        return Tracing.from_environment()
    except ValueError as error:
        raise WrongSetting(f"APP_TRACING is true, but a variable OTEL_* cannot be used: {error}") from error


def _repository(settings: Settings) -> Repository:
    """Where models come from, and how they are put to work."""

    def load_model(directory: Path) -> Model:
        loader = runtime.loader(settings.runtime)
        return registry.load_model(
            directory,
            loader,
            kind=KINDS.get(directory.parent.name),
            batch_size=settings.max_batch_size,
            prove=settings.prove,
        )

    return Repository(
        settings.models_dir,
        load_model,
        lambda model, measures: Predictor(model, settings.max_batch_size, settings.max_queue, measures),
        pinned=settings.versions,
        canaries=settings.canaries,
    )


class _API(docs.DocumentedAPI):
    """The service as FastAPI has it, but for the way that its busiest routes are reached."""

    def build_middleware_stack(self) -> ASGIApp:
        shortcut = Shortcut(self.routes, super().build_middleware_stack(), self.state.traffic, self.state.guards)
        tracing: Tracing | None = self.state.tracing
        return shortcut if tracing is None else tracing.traced(shortcut, shortcut.route_of)


def _routes(settings: Settings, repository: Repository, lifecycle: Lifecycle, workers: Workers) -> list[BaseRoute]:
    """Every route, in one flat list: a router that is included is matched anew for each request."""
    routers: Iterable[APIRouter] = [
        *addition.routers(repository["addition"], *_limits(settings, repository["addition"])),
        *reversal.routers(repository["reversal"], *_limits(settings, repository["reversal"])),
        models.router(repository),
        health.router(lifecycle, repository, KINDS),
        *([metrics.router(workers)] if settings.metrics else []),
        inference.server_router(lifecycle, repository, KINDS, VERSION),
        inference.models_router(repository, PLATFORMS[settings.runtime]),
        inference.infer_router(repository, settings.max_batch_body_bytes, settings.deadline_s),
        inference.repository_router(repository, settings.max_body_bytes, workers.order),
    ]
    return [route for router in routers for route in router.routes]


def _limits(settings: Settings, served: Served) -> tuple[Limits, Limits]:
    """What is granted to single requests, and to batches."""
    return (
        Limits(settings.max_body_bytes, settings.deadline_s, served.admit),
        Limits(settings.max_batch_body_bytes, settings.deadline_s, served.admit),
    )
