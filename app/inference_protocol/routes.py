"""`/v2`: the Open Inference Protocol over REST, with its binary tensor data and its model repository.

`tensors` says what a request means. A body need not be declared to be JSON, because clients of this protocol do not
declare theirs.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request

from app.http.bodies import Bodies, headers_of
from app.http.guards import refuse_foreign_pages
from app.http.openapi import ref
from app.http.problem_details import INFERENCE_PROTOCOL, JSON, ProblemError
from app.http.problem_types import ProblemType
from app.http.schemas import ModelName, ModelVersion
from app.inference_protocol import messages
from app.inference_protocol.errors import TAG, protocol_documented
from app.inference_protocol.extensions import ModelConfig, Statistics, configuration, statistics
from app.inference_protocol.messages import (
    ChangeRequest,
    IndexEntry,
    IndexRequest,
    Live,
    LoadRequest,
    Message,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
)
from app.inference_protocol.tensors import interface
from app.operations.health import Health
from app.serving.repository import Repository
from app.text import clipped
from seq2seq.bundle import BundleError

NAME = "sequences-to-service"
EXTENSIONS = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "statistics",
]
NOT_OFFERED = {
    "/trace/setting": "trace settings",
    "/models/{name}/trace/setting": "trace settings",
    "/logging": "log settings",
    "/systemsharedmemory/{rest:path}": "system shared memory",
    "/cudasharedmemory/{rest:path}": "CUDA shared memory",
}
"""What Triton's clients may ask for and this service does not offer, by its path."""

FAILED = protocol_documented(ProblemType.INTERNAL_ERROR)
STATED = protocol_documented(ProblemType.INTERNAL_ERROR, ProblemType.NOT_READY)
DESCRIBED = protocol_documented(ProblemType.UNKNOWN_MODEL, ProblemType.INTERNAL_ERROR, ProblemType.MODEL_UNAVAILABLE)
OF_BODIES = (
    ProblemType.BAD_REQUEST,
    ProblemType.BODY_TOO_LARGE,
    ProblemType.UNSUPPORTED_MEDIA_TYPE,
    ProblemType.INTERNAL_ERROR,
    ProblemType.OVERLOADED,
)
LISTED = protocol_documented(*OF_BODIES)
CHANGED = protocol_documented(*OF_BODIES, ProblemType.FORBIDDEN, ProblemType.UNKNOWN_MODEL)
LINKS: dict[str, Any] = {
    operation: {"operationId": operation, "parameters": {"path.name": "$response.body#/0/name"}}
    for operation in ("model_metadata", "model_ready", "load_model", "unload_model")
}
"""Where the index of the repository leads: to its first model."""


def server_router(health: Health, version: str) -> APIRouter:
    """The routes that say what the server is, and how."""
    router = _router()

    @router.get("/", include_in_schema=False)  # as the protocol's own text writes it
    @router.get("", responses=FAILED)
    async def server_metadata() -> ServerMetadata:
        """Describe the server."""
        return ServerMetadata(name=NAME, version=version, extensions=EXTENSIONS)

    @router.get("/health/live", responses=STATED)
    async def server_live() -> Live:
        """Say that the process works."""
        health.require_live()
        return Live(live=True)

    @router.get("/health/ready", responses=STATED)
    async def server_ready() -> Ready:
        """Say whether models are loaded and requests are welcome."""
        health.require_ready()
        return Ready(ready=True)

    for path, what in NOT_OFFERED.items():
        router.add_api_route(path, _refusing(what), methods=["GET", "POST"], include_in_schema=False)

    return router


def models_router(repository: Repository, platform: str) -> APIRouter:
    """The routes that describe the models of `repository`, which run on a `platform`."""
    router = _router()

    def describe(name: str, number: str | None = None) -> ModelMetadata:
        tensors = interface(repository[name].pick(number).model.problem)
        return ModelMetadata(
            name=name,
            versions=[str(each) for each in sorted(repository[name].predictors)],
            platform=platform,
            inputs=[each.metadata for each in tensors.inputs],
            outputs=[output.metadata for output in tensors.outputs],
        )

    def stated(name: str, number: str | None = None) -> Statistics:
        return Statistics(model_stats=[statistics(repository[name].pick(number))])

    @router.get("/models/stats", responses=FAILED)  # before the model that may be called stats
    async def all_statistics() -> Statistics:
        """Give the statistics of every version that is served, as Triton does."""
        predictors = [each for name in sorted(repository) for _, each in sorted(repository[name].predictors.items())]
        return Statistics(model_stats=[statistics(predictor) for predictor in predictors])

    @router.get("/models/{name}/stats", responses=DESCRIBED)
    async def model_statistics(name: ModelName) -> Statistics:
        """Give a model's statistics, by the version that answers, as Triton does."""
        return stated(name)

    @router.get("/models/{name}/versions/{number}/stats", responses=DESCRIBED)
    async def version_statistics(name: ModelName, number: ModelVersion) -> Statistics:
        """Give the statistics of one version of a model, as Triton does."""
        return stated(name, number)

    def configured(name: str, number: str | None = None) -> ModelConfig:
        served = repository[name]
        return configuration(served.pick(number), sorted(served.predictors), platform)

    @router.get("/models/{name}/config", responses=DESCRIBED)
    async def model_config(name: ModelName) -> ModelConfig:
        """Give a model's configuration, as Triton does."""
        return configured(name)

    @router.get("/models/{name}/versions/{number}/config", responses=DESCRIBED)
    async def version_config(name: ModelName, number: ModelVersion) -> ModelConfig:
        """Give the configuration of one version of a model, as Triton does."""
        return configured(name, number)

    @router.get("/models/{name}", responses=DESCRIBED)
    async def model_metadata(name: ModelName) -> ModelMetadata:
        """Describe a model's tensors."""
        return describe(name)

    @router.get("/models/{name}/versions/{number}", responses=DESCRIBED)
    async def version_metadata(name: ModelName, number: ModelVersion) -> ModelMetadata:
        """Describe the tensors of one version of a model."""
        return describe(name, number)

    @router.get("/models/{name}/ready", responses=DESCRIBED)
    async def model_ready(name: ModelName) -> ModelReady:
        """Say whether a model is served."""
        repository[name].pick()
        return ModelReady(name=name, ready=True)

    @router.get("/models/{name}/versions/{number}/ready", responses=DESCRIBED)
    async def version_ready(name: ModelName, number: ModelVersion) -> ModelReady:
        """Say whether one version of a model is served."""
        repository[name].pick(number)
        return ModelReady(name=name, ready=True)

    return router


def repository_router(repository: Repository, bodies: Bodies, body_bytes: int, why_unchangeable: str) -> APIRouter:
    """The routes that list the models and change which are served, unless there is a reason why they may not."""
    router = _router("/repository")

    async def message(request: Request, schema: type[Message]) -> Message:
        """The body of a request that need not have one."""
        body = await bodies.read(headers_of(request.scope), request.receive, body_bytes)
        return messages.parse(schema, body or b"{}")

    async def require_changeable() -> None:
        if why_unchangeable:
            raise ProblemError(ProblemType.FORBIDDEN, why_unchangeable)

    @router.post(
        "/index", responses={200: {"links": LINKS}, **LISTED}, openapi_extra=_takes(IndexRequest, {"ready": True})
    )
    async def list_repository(request: Request) -> list[IndexEntry]:
        """List every version that there is, served or not, and why not."""
        asked = await message(request, IndexRequest)
        return [
            IndexEntry(
                name=entry.name,
                version=entry.version,
                state="READY" if entry.is_served else "UNAVAILABLE",
                reason=clipped(entry.reason, messages.LONGEST_REFUSAL),
            )
            for entry in await repository.index()
            if entry.is_served or not asked.ready
        ]

    guards = [Depends(refuse_foreign_pages), Depends(require_changeable)]
    changes: dict[str, Any] = {"responses": CHANGED, "dependencies": guards}

    @router.post("/models/{name}/load", openapi_extra=_takes(LoadRequest, {}), **changes)
    async def load_model(name: ModelName, request: Request) -> dict[str, Any]:
        """Load all versions of a model anew. If one is refused, what was served is served on."""
        asked = await message(request, LoadRequest)
        if asked.parameters:
            raise ProblemError(
                ProblemType.BAD_REQUEST, "This service takes no parameters: a model is loaded as its bundle says."
            )
        try:
            await repository.load(name)
        except BundleError as error:
            raise ProblemError(
                ProblemType.BAD_REQUEST, clipped(repository.explain(error), messages.LONGEST_REFUSAL)
            ) from None
        return {}

    @router.post("/models/{name}/unload", openapi_extra=_takes(ChangeRequest, {}), **changes)
    async def unload_model(name: ModelName, request: Request) -> dict[str, Any]:
        """Serve a model no more until it is loaded again; what it has taken on, it answers."""
        await message(request, ChangeRequest)
        await repository.unload(name)
        return {}

    return router


def _refusing(what: str) -> Callable[..., Any]:
    async def refuse() -> None:
        raise ProblemError(
            ProblemType.UNKNOWN_ROUTE, f"This service does not offer {what}; GET /v2 lists its extensions."
        )

    return refuse


def _router(prefix: str = "") -> APIRouter:
    return APIRouter(prefix=INFERENCE_PROTOCOL + prefix, tags=[TAG])


# The OpenAPI document


def _takes(schema: type[Message], example: Any) -> dict[str, Any]:
    """A body that a request may have."""
    return {"requestBody": {"content": {JSON: {"schema": ref(schema.__name__), "example": example}}}}
