"""`/v2`: the Open Inference Protocol over REST, with its binary tensor data and its model repository.

What a request means is `app.inference_protocol`'s to say. A body need not be declared to be JSON, for the clients that
speak this protocol do not declare theirs.
"""

from collections.abc import Awaitable, Callable, Collection
from time import monotonic
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app import content_coding, inference_messages, inference_protocol
from app.errors import INFERENCE_PROTOCOL, JSON, ProblemError, protocol_documented
from app.inference_messages import (
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
from app.inference_protocol import interface
from app.json_route import TIMEOUT_DESCRIBED, read_body, seconds_granted
from app.lifecycle import Lifecycle
from app.predictor import deadline
from app.registry import Model
from app.repository import Entry, Repository, UnknownModel
from app.routes.health import require_live, require_ready
from app.schemas import ModelName, ModelVersion, clipped
from app.security import refuse_foreign_pages
from app.workers import Action, NotCarriedOut, NotInTime
from seq2seq.bundle import BundleError

NAME = "sequences-to-service"
EXTENSIONS = ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"]
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
        "describe_model_v2_models__name__get",
        "model_ready_v2_models__name__ready_get",
        "load_model_v2_repository_models__name__load_post",
        "unload_model_v2_repository_models__name__unload_post",
    )
}
"""Where the index of the repository leads: to its first model."""

Order = Callable[[Action, str], Awaitable[None]]
"""Has every process that serves load or unload the model of a name. Raises what `Workers.order` does."""


def server_router(lifecycle: Lifecycle, repository: Repository, required: Collection[str], version: str) -> APIRouter:
    """The routes that say what the server is, and how, which needs the `required` models."""
    router = _router()

    @router.get("", responses=protocol_documented(500))
    async def describe_server() -> ServerMetadata:
        """Describe the server."""
        return ServerMetadata(name=NAME, version=version, extensions=EXTENSIONS)

    @router.get("/health/live", responses=protocol_documented(500, 503))
    async def server_live() -> Live:
        """Say that the process works."""
        require_live(repository)
        return Live(live=True)

    @router.get("/health/ready", responses=protocol_documented(500, 503))
    async def server_ready() -> Ready:
        """Say whether every model is loaded and requests are welcome."""
        require_ready(lifecycle, repository, required)
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

    @router.get("/models/{name}", responses=DESCRIBED)
    async def describe_model(name: ModelName) -> ModelMetadata:
        """Describe a model's tensors."""
        return describe(name)

    @router.get("/models/{name}/versions/{number}", responses=DESCRIBED)
    async def describe_version(name: ModelName, number: ModelVersion) -> ModelMetadata:
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


def infer_router(repository: Repository, body_bytes: int, seconds: float) -> APIRouter:
    """The routes that have a model of `repository` answer requests of so many bytes, within so many seconds."""
    router = _router()

    async def answer(request: Request, name: str, number: str | None = None) -> Response:
        model = repository[name]
        predictor = model.pick(number)
        model.admit()
        headers, now = dict(request.scope["headers"]), monotonic()
        deadline.set(now + seconds_granted(headers, seconds))
        body = await _content(request, body_bytes)
        asked, binary = inference_messages.parse_request(body, headers.get(HEAD_BYTES.lower().encode("ascii")))
        deadline.set(min(deadline.get(), now + asked.seconds))
        tensors = interface(predictor.model.problem)
        wanted = tensors.wanted(asked)
        predictions = await predictor.predict_all(tensors.sources(asked, binary))
        return _response(*inference_protocol.answer(predictor.reference, asked.id, wanted, predictions), headers)

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


def repository_router(repository: Repository, body_bytes: int, order: Order) -> APIRouter:
    """The routes that list the models and have `order` change which are served."""
    router = _router("/repository")

    def index() -> list[Entry]:
        try:
            return repository.index()
        except BundleError as error:
            raise ProblemError(503, _told(repository, error)) from None

    async def change(action: Action, name: str) -> dict[str, Any]:
        if not any(entry.name == name for entry in index()):
            raise UnknownModel(f"There is no model {name:.60} to {action}.")
        try:
            await order(action, name)
        except (BundleError, NotCarriedOut) as error:
            raise ProblemError(400, _told(repository, error)) from None
        except NotInTime as error:
            raise ProblemError(503, _told(repository, error)) from None
        return {}

    @router.post(
        "/index", responses={200: {"links": LINKS}, **LISTED}, openapi_extra=_takes(IndexRequest, {"ready": True})
    )
    async def list_repository(request: Request) -> list[IndexEntry]:
        """List every version that there is, served or not, and why not."""
        asked = await _message(request, IndexRequest, body_bytes)
        return [
            IndexEntry(
                name=entry.name,
                version=str(entry.version),
                state="UNAVAILABLE" if entry.reason else "READY",
                reason=entry.reason,
            )
            for entry in index()
            if not (asked.ready and entry.reason)
        ]

    changes: dict[str, Any] = {"responses": CHANGED, "dependencies": [Depends(refuse_foreign_pages)]}

    @router.post("/models/{name}/load", openapi_extra=_takes(LoadRequest, {}), **changes)
    async def load_model(name: ModelName, request: Request) -> dict[str, Any]:
        """Load what is new, has changed, or was unloaded; where that is refused, what was served is served on."""
        asked = await _message(request, LoadRequest, body_bytes)
        if asked.parameters:
            raise ProblemError(400, "There are no parameters here: a model is loaded as its bundle has it.")
        return await change("load", name)

    @router.post("/models/{name}/unload", openapi_extra=_takes(ChangeRequest, {}), **changes)
    async def unload_model(name: ModelName, request: Request) -> dict[str, Any]:
        """Serve a model no more until it is loaded again; what it has taken on, it answers."""
        await _message(request, ChangeRequest, body_bytes)
        return await change("unload", name)

    return router


def _router(prefix: str = "") -> APIRouter:
    return APIRouter(prefix=INFERENCE_PROTOCOL + prefix, tags=["open inference protocol"])


async def _content(request: Request, limit: int) -> bytes:
    """The body, inflated."""
    headers = dict(request.scope["headers"])
    body = await read_body(headers, request.receive, limit)
    return content_coding.decoded(body, headers.get(b"content-encoding", b""), limit)


async def _message(request: Request, schema: type[Message], limit: int) -> Message:
    """The body of a request that need not have one."""
    return inference_messages.parse(schema, await _content(request, limit) or b"{}")


def _response(content: bytes, head_bytes: int | None, asked: dict[bytes, bytes]) -> Response:
    content, headers = content_coding.encoded(content, asked.get(b"accept-encoding", b""))
    if head_bytes is None:
        return Response(content, headers=headers, media_type=JSON)
    return Response(content, headers=headers | {HEAD_BYTES: str(head_bytes)}, media_type=BINARY)


def _told(repository: Repository, error: Exception) -> str:
    return clipped(repository.explain(error), 400)


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
            "examples": _examples(models, inference_protocol.example_request),
        },
        BINARY: {"schema": {"type": "string", "format": "binary"}},
    }
    header = {"name": HEAD_BYTES, "in": "header", **_head_bytes(minimum=0)}
    return {"requestBody": {"required": True, "content": content}, "parameters": [header, TIMEOUT_DESCRIBED]}


def _inferred(models: Collection[Model]) -> dict[int | str, dict[str, Any]]:
    """The answer to it."""
    content = {
        JSON: {"examples": _examples(models, inference_protocol.example_response)},
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
