"""`POST /v2/models/{name}/infer`: a model answers each item of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from app.http import content_coding, problem_types
from app.http.headers import ANSWER
from app.http.lane import Answer, Call, Limits, Operation
from app.http.openapi import TIMEOUT_DESCRIBED, Document, ref
from app.http.problem_details import INFERENCE_PROTOCOL, JSON
from app.inference_protocol import messages, tensors
from app.inference_protocol.errors import TAG, protocol_documented
from app.inference_protocol.messages import HEAD_BYTES
from app.serving.models import Model
from app.serving.predictor import ForEachPredictor, Predictor

BINARY = "application/octet-stream"
HEAD_BYTES_RAW = HEAD_BYTES.lower().encode("ascii")
BINARY_BODY = f"JSON, and after it the binary data of tensors; the header {HEAD_BYTES} says how many bytes are JSON"
ONE_MODEL = "Have a model answer each item of a tensor; one that is refused fails the request."
ONE_VERSION = "Have one version of a model answer each item of a tensor; one that is refused fails the request."

_interface = ForEachPredictor(lambda model: tensors.interface(model.problem))


def operations(limits: Limits) -> Iterator[Operation]:
    """The routes that have a model, or one version of it, answer."""
    for path, name in (("", "infer"), ("/versions/{number}", "infer_by_version")):
        yield Operation(f"{INFERENCE_PROTOCOL}/models/{{name}}{path}/infer", name, limits, infer)


async def infer(call: Call, predictor: Predictor, body: bytes) -> Answer:
    """The model's answer to each item of a tensor. An item that is refused fails the request."""
    asked, binary = messages.parse_request(body, call.headers.get(HEAD_BYTES_RAW))
    until = min(call.until, call.began + asked.seconds)
    interface = _interface(predictor)
    wanted = interface.wanted(asked)
    sources = interface.sources(asked, binary)
    request_id, n_best = asked.id, asked.n_best
    del body, asked, binary  # which may be large, and the answer may take long
    if n_best:
        predictions = await predictor.search_all(sources, n_best, until)
    else:
        predictions = await predictor.predict_all(sources, until)
    content, head_bytes = tensors.answer(predictor.reference, request_id, wanted, predictions)
    content, coded = content_coding.encoded(content, call.headers.get(b"accept-encoding", b""))
    if head_bytes is None and not coded:
        return Answer(content)
    media_type = JSON if head_bytes is None else BINARY
    headers = [(b"content-type", media_type.encode("ascii")), *ANSWER]
    headers += [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in coded.items()]
    if head_bytes is not None:
        headers.append((HEAD_BYTES_RAW, b"%d" % head_bytes))
    return Answer(content, headers)


# The OpenAPI document ------------------------------------------------------------------------------------------


def document(models: Collection[Model]) -> Document:
    """What the OpenAPI document says of these routes, with an example for each model."""
    request_body = {
        "required": True,
        "content": {
            JSON: {"schema": ref("InferenceRequest"), "examples": _examples(models, tensors.example_request)},
            BINARY: {"schema": {"type": "string", "format": "binary", "description": BINARY_BODY}},
        },
    }
    success = {
        "description": "The tensors that were asked for",
        "content": {
            JSON: {"schema": ref("InferenceResponse"), "examples": _examples(models, tensors.example_response)},
            BINARY: {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            HEAD_BYTES: {
                "description": "How many bytes of the body are JSON, if binary data follows",
                "schema": {"type": "integer"},
            }
        },
    }
    described = {
        "tags": [TAG],
        "parameters": [TIMEOUT_DESCRIBED],
        "requestBody": request_body,
        "responses": {"200": success, **protocol_documented(*problem_types.OF_MODELS)},
    }
    found = Document()
    found.add_post("/v2/models/{name}/infer", "infer", ONE_MODEL, described)
    found.add_post("/v2/models/{name}/versions/{number}/infer", "infer_by_version", ONE_VERSION, described)
    for message in messages.NAMED:
        found.add_schema(message)
    return found


def _examples(models: Collection[Model], make: Callable[[Model], Any]) -> dict[str, Any]:
    return {model.manifest.name: {"value": make(model)} for model in models if model.examples}
