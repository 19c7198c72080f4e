"""Puts the service together: `create_app` from settings and, in tests, from a registry of their own making."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from app import VERSION
from app.api import addition, health, metrics, models, reversal
from app.http import guards, openapi, problem_details
from app.http.bodies import Bodies
from app.http.headers import PageHeaders
from app.http.json_route import Limits, Shortcut
from app.http.middleware import RequestMiddleware
from app.inference_protocol import routes as inference_routes
from app.keys import KeyFile
from app.operations.lifecycle import Lifecycle, Phase
from app.operations.logs import AccessLog
from app.operations.metrics import Samples, collect
from app.operations.shared_metrics import Board, SharedMetrics
from app.serving import runtime
from app.serving.counters import Traffic
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.serving.repository import STILL_S, Repository
from app.serving.served_model import ServedModel
from app.serving.trial import Terms, Trial
from app.serving.trial_process import Process
from app.settings import Settings, WrongSetting, load, variable
from seq2seq.bundle import BundleError

if TYPE_CHECKING:
    from app.operations.tracing import Tracing

TITLE = "Sequences to service"
DESCRIPTION = "Encoder-decoder LSTMs that add numbers and reverse lists, exact on every request that they accept."
KINDS = {"addition": "addition", "reversal": "reversal"}
"""The models that have routes of their own, each with the kind of problem that it must be trained on."""

PLATFORMS = {"onnx": "onnxruntime_onnx", "tensorflow": "tensorflow_keras"}
"""What the Open Inference Protocol calls each runtime."""


def create_app(
    settings: Settings | None = None,
    models: Mapping[str, Model] | None = None,
    *,
    board: Board | None = None,
    place: int = 0,
    trial_process: Process | None = None,
) -> FastAPI:
    """The service with these models, or those that the settings ask for, which are loaded and checked.

    A worker shares its measures with others at its `place` on a `board`. `trial_process` waits to try versions.

    Raises `WrongSetting` or `RuntimeMissing`.
    """
    settings = settings or load()
    keys = KeyFile(settings.api_keys_file) if settings.api_keys_file else None
    checks = guards.guards(settings, keys)
    tracing = _tracing() if settings.tracing else None
    repository = _repository(settings, trial_process)
    if models is None:
        try:
            repository.start(settings.required_models)
        except BundleError as error:
            names = ("models_dir",) if error.path == settings.models_dir else ("required_models", "versions")
            raise WrongSetting(f"{error}; it is named by {' or '.join(map(variable, names))}") from error
    else:
        for model in models.values():
            repository.put(model)
    lifecycle = Lifecycle()
    log = AccessLog(as_json=settings.log_format == "json") if settings.access_log else None
    traffic = Traffic(log.note if log else None)

    def measures() -> Samples:
        return collect(traffic, repository, is_ready=lifecycle.phase is Phase.READY)

    workers = SharedMetrics(measures, board, place)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with (
            tracing.lifespan() if tracing else nullcontext(),
            workers.sharing(),
            repository.watching(settings.watch_s),
            lifecycle.lifespan(),
        ):
            with keys.watching() if keys else nullcontext():
                yield

    app = _API(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        routes=_routes(settings, repository, lifecycle, workers),
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        lifespan=lifespan,
        middleware=[Middleware(RequestMiddleware, traffic=traffic), Middleware(PageHeaders), *checks],
        exception_handlers=problem_details.handlers(),
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.guards = checks
    app.state.root_path = settings.root_path
    app.state.tracing = tracing
    app.asks_for_keys = keys is not None
    app.state.lifecycle = lifecycle
    app.state.repository = repository
    app.state.traffic = traffic
    return app


def _tracing() -> Tracing:
    try:
        from app.operations.tracing import Tracing
    except ModuleNotFoundError as error:
        raise WrongSetting(
            f"APP_TRACING is true, but {error.name} is not installed; install requirements/tracing.txt"
        ) from error
    try:
        return Tracing.from_environment()
    except ValueError as error:
        raise WrongSetting(f"APP_TRACING is true, but a variable OTEL_* cannot be used: {error}") from error


def _repository(settings: Settings, trial_process: Process | None) -> Repository:
    """Where models come from, and how they are put to work."""
    runtime.loader(settings.runtime)  # so that a runtime that is missing stops the start
    terms = Terms(settings.runtime, KINDS, settings.max_batch_size, settings.prove, settings.load_timeout_s)
    return Repository(
        settings.models_dir,
        Trial(terms, trial_process),
        terms.load,
        lambda model, measures: Predictor(model, settings.max_batch_size, settings.max_queue, measures),
        names=KINDS,
        still_s=STILL_S if settings.watch_s else 0.0,  # who looks once cannot wait until nobody copies
        pinned=settings.versions,
        canaries=settings.canaries,
    )


class _API(openapi.DocumentedAPI):
    """The service as FastAPI has it, but for the way that its busiest routes are reached."""

    def build_middleware_stack(self) -> ASGIApp:
        stack, state = super().build_middleware_stack(), self.state
        shortcut = Shortcut(self.routes, stack, state.traffic, state.guards, state.root_path)
        tracing: Tracing | None = self.state.tracing
        return shortcut if tracing is None else tracing.traced(shortcut, shortcut.route_of)


def _routes(
    settings: Settings, repository: Repository, lifecycle: Lifecycle, workers: SharedMetrics
) -> list[BaseRoute]:
    """Every route, in one flat list: a router that is included is matched anew for each request."""
    bodies = Bodies(max(settings.max_bodies_bytes, settings.max_batch_body_bytes))  # room for one of any size
    routers: Iterable[APIRouter] = [
        *addition.routers(repository["addition"], *_limits(settings, repository["addition"], bodies)),
        *reversal.routers(repository["reversal"], *_limits(settings, repository["reversal"], bodies)),
        models.router(repository),
        health.router(lifecycle, repository),
        *([metrics.router(workers)] if settings.metrics else []),
        inference_routes.server_router(lifecycle, repository, VERSION),
        inference_routes.models_router(repository, PLATFORMS[settings.runtime]),
        inference_routes.infer_router(repository, bodies, settings.max_batch_body_bytes, settings.deadline_s),
        inference_routes.repository_router(repository, bodies, settings.max_body_bytes, _why_unchangeable(settings)),
    ]
    routes = [route for router in routers for route in router.routes]
    openapi.finish(routes)
    links = ["models", "health/ready", "v2", *(["metrics"] if settings.metrics else [])]
    if settings.docs:
        routes += openapi.routes(TITLE)
        links = ["docs", "openapi.json", *links]
    prefix = settings.root_path
    if prefix and any(f"{getattr(route, 'path', '')}/".startswith(f"{prefix}/") for route in routes):
        raise WrongSetting(
            f"APP_ROOT_PATH is {prefix}, which is a route of the service itself; for example: APP_ROOT_PATH=/svc"
        )
    return [*routes, openapi.home(TITLE, prefix, links)]


def _why_unchangeable(settings: Settings) -> str:
    """Why clients may not load and unload models; nothing if they may."""
    if not settings.model_control:
        return f"Loading and unloading is off; {variable('model_control')}=true turns it on."
    if settings.workers > 1:
        return "Several workers serve here, and a request reaches only one; change the models directory instead."
    return ""


def _limits(settings: Settings, served: ServedModel, bodies: Bodies) -> tuple[Limits, Limits]:
    """What is granted to single requests, and to batches."""
    return (
        Limits(settings.max_body_bytes, settings.deadline_s, served.admit, bodies),
        Limits(settings.max_batch_body_bytes, settings.deadline_s, served.admit, bodies),
    )
