"""`/v2`: the Open Inference Protocol over REST, with its binary tensor data and its model repository.

`tensors` says what a request means. A body need not be declared to be JSON, because clients of this protocol do not
declare theirs.
"""

from collections.abc import Callable, Collection
from time import monotonic
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.health import require_live, require_ready
from app.http import content_coding
from app.http.bodies import Bodies, Headers, headers_of
from app.http.guards import refuse_foreign_pages
from app.http.json_route import TIMEOUT_DESCRIBED, seconds_granted
from app.http.problem_details import INFERENCE_PROTOCOL, JSON, LONGEST_REFUSAL, ProblemError, protocol_documented
from app.http.schemas import ModelName, ModelVersion
from app.inference_protocol import messages, tensors
from app.inference_protocol.extensions import ModelConfig, Statistics, configuration, statistics
from app.inference_protocol.messages import (
    ChangeRequest,
    IndexEntry,
    IndexRequest,
    InferenceResponse,
    Live,
    LoadRequest,
    Message,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
)
from app.inference_protocol.tensors import interface
from app.operations.lifecycle import Lifecycle
from app.serving.models import Model
from app.serving.predictor import deadline
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
BINARY = "application/octet-stream"
HEAD_BYTES = "Inference-Header-Content-Length"
DESCRIBED = protocol_documented(404, 500, 503)
INFERRED = protocol_documented(400, 404, 413, 415, 429, 500, 503, 504)
LISTED = protocol_documented(400, 413, 415, 500, 503)
CHANGED = protocol_documented(400, 403, 404, 413, 415, 500, 503)
LINKS: dict[str, Any] = {
    operation: {
        "operationId": operation,
        "parameters": {"path.name": "$response.body#/0/name"},
    }
    for operation in (
        "model_metadata",
        "model_ready",
        "load_model",
        "unload_model",
    )
}
"""Where the index of the repository leads: to its first model."""


def server_router(lifecycle: Lifecycle, repository: Repository, version: str) -> APIRouter:
    """The routes that say what the server is, and how."""
    router = _router()

    @router.get("/", include_in_schema=False)  # as the protocol's own text writes it
    @router.get("", responses=protocol_documented(500))
    async def server_metadata() -> ServerMetadata:
        """Describe the server."""
        return ServerMetadata(name=NAME, version=version, extensions=EXTENSIONS)

    @router.get("/health/live", responses=protocol_documented(500, 503))
    async def server_live() -> Live:
        """Say that the process works."""
        require_live(repository)
        return Live(live=True)

    @router.get("/health/ready", responses=protocol_documented(500, 503))
    async def server_ready() -> Ready:
        """Say whether models are loaded and requests are welcome."""
        require_ready(lifecycle, repository)
        return Ready(ready=True)

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
            inputs=[tensors.input.metadata],
            outputs=[output.metadata for output in tensors.outputs],
        )

    def stated(name: str, number: str | None = None) -> Statistics:
        return Statistics(model_stats=[statistics(repository[name].pick(number))])

    @router.get("/models/stats", responses=protocol_documented(500))  # before the model that may be called stats
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


def infer_router(repository: Repository, bodies: Bodies, body_bytes: int, seconds: float) -> APIRouter:
    """The routes that have a model of `repository` answer requests of so many bytes, within so many seconds."""
    router = _router()

    async def answer(request: Request, name: str, number: str | None = None) -> Response:
        predictor = repository[name].pick(number)
        predictor.admit()
        headers, now = headers_of(request.scope), monotonic()
        deadline.set(now + seconds_granted(headers, seconds))
        body = await bodies.read(headers, request.receive, body_bytes)
        asked, binary = messages.parse_request(body, headers.get(HEAD_BYTES.lower().encode("ascii")))
        deadline.set(min(deadline.get(), now + asked.seconds))
        interface_ = interface(predictor.model.problem)
        wanted = interface_.wanted(asked)
        predictions = await predictor.predict_all(interface_.sources(asked, binary))
        return _response(*tensors.answer(predictor.reference, asked.id, wanted, predictions), headers)

    models = [repository[name].pick().model for name in sorted(repository) if repository[name].predictors]
    described: dict[str, Any] = {
        "response_model": InferenceResponse,
        "responses": INFERRED | _inferred(models),
        "openapi_extra": _infers(models),
    }

    @router.post("/models/{name}/infer", **described)
    async def infer(name: ModelName, request: Request) -> Response:
        """Have a model answer each item of a tensor; one that is refused fails the request."""
        return await answer(request, name)

    @router.post("/models/{name}/versions/{number}/infer", **described)
    async def infer_by_version(name: ModelName, number: ModelVersion, request: Request) -> Response:
        """Have one version of a model answer each item of a tensor; one that is refused fails the request."""
        return await answer(request, name, number)

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
            raise ProblemError(403, why_unchangeable)

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
                reason=clipped(entry.reason, LONGEST_REFUSAL),
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
            raise ProblemError(400, "There are no parameters here: a model is loaded as its bundle has it.")
        try:
            await repository.load(name)
        except BundleError as error:
            raise ProblemError(400, clipped(repository.explain(error), LONGEST_REFUSAL)) from None
        return {}

    @router.post("/models/{name}/unload", openapi_extra=_takes(ChangeRequest, {}), **changes)
    async def unload_model(name: ModelName, request: Request) -> dict[str, Any]:
        """Serve a model no more until it is loaded again; what it has taken on, it answers."""
        await message(request, ChangeRequest)
        await repository.unload(name)
        return {}

    return router


def _router(prefix: str = "") -> APIRouter:
    return APIRouter(prefix=INFERENCE_PROTOCOL + prefix, tags=["open inference protocol"])


def _response(content: bytes, head_bytes: int | None, asked: Headers) -> Response:
    content, headers = content_coding.encoded(content, asked.get(b"accept-encoding", b""))
    if head_bytes is None:
        return Response(content, headers=headers, media_type=JSON)
    return Response(content, headers=headers | {HEAD_BYTES: str(head_bytes)}, media_type=BINARY)


# The OpenAPI document


def _takes(schema: type[Message], example: Any) -> dict[str, Any]:
    """A body that a request may have."""
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}, "example": example}}
    return {"requestBody": {"content": content}}


def _infers(models: Collection[Model]) -> dict[str, Any]:
    """The body of a request to infer, with an example for each model, and the header that belongs to it."""
    content = {
        JSON: {
            "schema": {"$ref": "#/components/schemas/InferenceRequest"},
            "examples": _examples(models, tensors.example_request),
        },
        BINARY: {"schema": {"type": "string", "format": "binary"}},
    }
    header = {"name": HEAD_BYTES, "in": "header", **_head_bytes(minimum=0)}
    return {"requestBody": {"required": True, "content": content}, "parameters": [header, TIMEOUT_DESCRIBED]}


def _inferred(models: Collection[Model]) -> dict[int | str, dict[str, Any]]:
    """The answer to it."""
    content = {
        JSON: {"examples": _examples(models, tensors.example_response)},
        BINARY: {"schema": {"type": "string", "format": "binary"}},
    }
    return {200: {"content": content, "headers": {HEAD_BYTES: _head_bytes()}}}


def _head_bytes(**limits: int) -> dict[str, Any]:
    return {
        "description": "How many bytes of the body are JSON, where binary data follows",
        "schema": {"type": "integer", **limits},
    }


def _examples(models: Collection[Model], make: Callable[[Model], Any]) -> dict[str, Any]:
    return {model.manifest.name: {"value": make(model)} for model in models if model.examples}
