"""Puts the service together: `create_app` from settings, or from parts that are given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from app import VERSION
from app.api import health as health_api
from app.api import metrics
from app.api import models as models_api
from app.api import reports as reports_api
from app.api.explain import Explain
from app.api.predict import SHORT_NAMES, Predict
from app.http import catalogue, guards, openapi, pages, playground, problem_pages
from app.http.bodies import Bodies
from app.http.headers import PageHeaders
from app.http.lane import Lane, Limits, Operation
from app.http.middleware import RequestMiddleware
from app.http.openapi import Document
from app.inference_protocol import infer
from app.inference_protocol import routes as protocol_routes
from app.keys import KeyFile
from app.operations.health import Health
from app.operations.lifecycle import Lifecycle, Phase
from app.operations.logs import AccessLog
from app.operations.metrics import Samples, collect
from app.operations.shared_metrics import Board, SharedMetrics
from app.serving import runtime
from app.serving.counters import Traffic
from app.serving.models import Model
from app.serving.predictor import Predictor
from app.serving.repository import STILL_S, Repository
from app.serving.trial import Terms, Trial
from app.settings import Settings, WrongSetting, load, variable
from seq2seq.bundle import BundleError

if TYPE_CHECKING:
    from app.operations.tracing import Tracing

TITLE = "Sequences to service"
DESCRIPTION = "Encoder-decoder LSTMs, exact on every request that they accept."
PLATFORMS = {"onnx": "onnxruntime_onnx", "tensorflow": "tensorflow_keras"}
"""What the Open Inference Protocol calls each runtime."""


def create_app(
    settings: Settings | None = None,
    models: Mapping[str, Model] | None = None,
    *,
    repository: Repository | None = None,
    lifecycle: Lifecycle | None = None,
    traffic: Traffic | None = None,
    keys: KeyFile | None = None,
    tracing: Tracing | None = None,
    board: Board | None = None,
    place: int = 0,
) -> FastAPI:
    """The service, put together from its parts. What is not given is made as the settings say.

    models      are served besides those of the repository
    repository  has loaded its models; the usual one loads what lies under the models directory, or only `models`
    lifecycle   the phase of this worker; whoever serves moves it on
    traffic     is told of each request
    keys        whom the service answers; everybody if a setting names no file of keys
    tracing     makes a span of each request
    board       shows the other workers this one's measures, at its `place`

    Raises `WrongSetting` or `RuntimeMissing`.
    """
    settings = settings or load()
    keys = keys or make_keys(settings)
    if repository is None:
        repository = make_repository(settings) if models is not None else started(make_repository(settings), settings)
    for model in (models or {}).values():
        repository.put(model)
    lifecycle, traffic = lifecycle or Lifecycle(), traffic or make_traffic(settings)
    tracing = tracing or make_tracing(settings)

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

    single = Limits(settings.max_body_bytes, settings.deadline_s)
    batch = Limits(settings.max_batch_body_bytes, settings.deadline_s)
    predict, explain = Predict(single, batch), Explain(single, batch)
    bodies = Bodies(max(settings.max_bodies_bytes, settings.max_batch_body_bytes))  # room for one of any size
    operations = [*predict.operations(), *infer.operations(batch), *explain.operations()]
    health = Health(lifecycle, repository, settings.required_models or _expected(repository), settings.deadline_s)

    def in_front(otherwise: ASGIApp) -> ASGIApp:
        """Every request gets its id, passes the guards, and is for the lane or for FastAPI."""
        checks = guards.guards(settings, keys)
        lane = Lane(operations, repository, bodies, otherwise, is_watched=bool(checks or tracing))
        guarded = guards.guarded(lane, checks)
        stack = RequestMiddleware(guarded, traffic, settings.root_path, lane.route_of)
        return tracing.traced(stack, lane.route_of) if tracing else stack

    def documents(predictors: list[Predictor]) -> list[Document]:
        infers = infer.document([each.model for each in predictors])
        return [predict.document(predictors), explain.document(predictors), infers]

    return _API(
        in_front,
        documents,
        served=lambda: _answering(repository),
        asks_for_keys=keys is not None,
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        routes=_routes(settings, repository, health, workers, bodies, operations),
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        lifespan=lifespan,
        middleware=[Middleware(PageHeaders)],
        exception_handlers=catalogue.handlers(),
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
    )


class _API(openapi.DocumentedAPI):
    """FastAPI behind the lane."""

    def __init__(self, in_front: Callable[[ASGIApp], ASGIApp], *arguments: Any, **options: Any):
        self._in_front = in_front
        super().__init__(*arguments, **options)

    def build_middleware_stack(self) -> ASGIApp:
        outermost = super().build_middleware_stack()
        if not isinstance(outermost, ServerErrorMiddleware):  # which would answer failures in its own words
            raise TypeError(f"FastAPI's outermost layer is not the one that answers failures, but {outermost!r}")
        return self._in_front(outermost.app)


def _answering(repository: Repository) -> list[Predictor]:
    """Who answers by default, model by model."""
    found = [served.predictors.get(served.default or 0) for _, served in sorted(repository.items())]
    return [predictor for predictor in found if predictor is not None]


def _expected(repository: Repository) -> list[str]:
    """The models with short names, if the models directory has them."""
    return [name for name in {each.model for each in SHORT_NAMES} if name in repository.names_on_disk()]


def make_keys(settings: Settings) -> KeyFile | None:
    """The file of keys that a setting names. Raises `WrongSetting`."""
    return KeyFile(settings.api_keys_file) if settings.api_keys_file else None


def make_tracing(settings: Settings) -> Tracing | None:
    """What makes spans of requests, if a setting asks for it. Raises `WrongSetting`."""
    if not settings.tracing:
        return None
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


def make_traffic(settings: Settings) -> Traffic:
    """What counts requests, and logs them if a setting asks for it."""
    log = AccessLog(as_json=settings.log_format == "json") if settings.access_log else None
    return Traffic(log.note if log else None)


def make_repository(
    settings: Settings, trial: Trial | None = None, predictor: type[Predictor] = Predictor
) -> Repository:
    """A repository as the settings say. `trial` tries versions; a `predictor` puts a model to work."""
    runtime.loader(settings.runtime)  # so that a runtime that is missing stops the start
    terms = Terms.of(settings)
    return Repository(
        settings.models_dir,
        trial or Trial(terms),
        terms.load,
        lambda model, measures: predictor(model, settings.max_batch_size, settings.max_queue, measures),
        still_s=STILL_S if settings.watch_s else 0.0,  # who looks once cannot wait until nobody copies
        pinned=settings.versions,
        canaries=settings.canaries,
    )


def started(repository: Repository, settings: Settings) -> Repository:
    """A repository that has loaded what lies under the models directory. Raises `WrongSetting`."""
    try:
        repository.start(settings.required_models)
    except BundleError as error:
        names = ("models_dir",) if error.path == settings.models_dir else ("required_models", "versions")
        raise WrongSetting(f"{error}; it is named by {' or '.join(map(variable, names))}") from error
    return repository


def _routes(
    settings: Settings,
    repository: Repository,
    health: Health,
    workers: SharedMetrics,
    bodies: Bodies,
    operations: Iterable[Operation],
) -> list[BaseRoute]:
    """FastAPI's routes, in one flat list: a router that is included is matched anew for each request."""
    why_unchangeable = _why_unchangeable(settings)
    routers: Iterable[APIRouter] = [
        models_api.router(repository),
        reports_api.router(repository),
        health_api.router(health),
        *([metrics.router(workers)] if settings.metrics else []),
        protocol_routes.server_router(health, VERSION),
        protocol_routes.models_router(repository, PLATFORMS[settings.runtime]),
        protocol_routes.repository_router(repository, bodies, settings.max_body_bytes, why_unchangeable),
    ]
    routes = [route for router in routers for route in router.routes]
    openapi.finish(routes)
    links = ["models", "health/ready", "v2", "problems", *(["metrics"] if settings.metrics else [])]
    if settings.docs:
        routes += pages.docs(TITLE)
        links = ["docs", "openapi.json", *links]
    prefix = settings.root_path
    routes += [*playground.routes(prefix, links), *problem_pages.routes(prefix)]
    paths = [*(getattr(route, "path", "") for route in routes), *(operation.path for operation in operations)]
    if prefix and any(f"{path}/".startswith(f"{prefix}/") for path in paths):
        raise WrongSetting(
            f"APP_ROOT_PATH is {prefix}, which is a route of the service itself; for example: APP_ROOT_PATH=/svc"
        )
    return routes


def _why_unchangeable(settings: Settings) -> str:
    """Why clients may not load and unload models; nothing if they may."""
    if not settings.model_control:
        return f"Loading and unloading is off; {variable('model_control')}=true turns it on."
    if settings.workers > 1:
        return "Several workers serve here, and a request reaches only one; change the models directory instead."
    return ""
