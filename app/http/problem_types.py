"""The types of problems: what each means, what to do about it, and an example. `problem_pages` shows them to people.

Two problems have different types if clients do different things about them, so a status can have more than one type.
Knows nothing of requests.
"""

from __future__ import annotations

from enum import Enum

from app.http.schemas import Fault

PATH = "/problems"
"""Where the types are explained."""


class ProblemType(Enum):
    """Why a request is not answered.

    status    the HTTP status
    meaning   what went wrong, in general
    to_do     what the client does about it
    path      of a request that meets it, as an example; empty where it is not read so far
    detail    what the answer to that request says of it
    """

    BAD_REQUEST = (
        400,
        "A header, a query parameter or the compressed body is wrong, or the bytes are not valid HTTP/1.1.",
        "Correct the request. `detail` says what would be right.",
        "/models/capitals/predict",
        "The query parameter version is given twice; send it once.",
    )
    NOT_SUPPORTED = (
        400,
        "The model cannot do what the request asks: it gives no alternatives, or it cannot be explained.",
        "Ask without `n_best`, or by `/predict`. `GET /models/{name}` has `n_best` 0 if there are no alternatives.",
        "/models/capitals/predict",
        "The model capitals gives one answer only; leave n_best out.",
    )
    HOST_NOT_ALLOWED = (
        400,
        "The request names a host that this service does not answer for, or comes from a web page of another origin.",
        "Use an allowed name. `APP_ALLOWED_HOSTS` lists hosts, `APP_CORS_ORIGINS` the origins of web pages.",
        "/models",
        "The header Host is missing, or names a host that this service does not answer for.",
    )
    UNAUTHORIZED = (
        401,
        "The API key is missing or unknown.",
        "Send `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
        "/models",
        "The API key is unknown; it may have been replaced.",
    )
    FORBIDDEN = (
        403,
        "Clients cannot load or unload models here, or a web page of another origin asks for it.",
        "Change the models directory, or set `APP_MODEL_CONTROL`. Ask without a browser.",
        "/v2/repository/models/capitals/load",
        "Loading and unloading is off; APP_MODEL_CONTROL=true turns it on.",
    )
    UNKNOWN_ROUTE = (
        404,
        "The service has no such route.",
        "Check the path. `GET /docs` lists the routes, unless `APP_DOCS=false`.",
        "/modles",
        "There is no route /modles; see /docs.",
    )
    UNKNOWN_MODEL = (
        404,
        "The service does not serve this model or version, or its report has no such file.",
        "Choose one that `GET /models` lists.",
        "/models/capitols",
        "There is no model capitols; there are capitals.",
    )
    WRONG_METHOD = (
        405,
        "The route does not take this method.",
        "Use one that the header `Allow` lists.",
        "/models",
        "/models answers GET, HEAD, not POST.",
    )
    REQUEST_TIMEOUT = (
        408,
        "The request did not arrive in time.",
        "Send it again, and faster.",
        "/models/capitals/predict",
        "The request did not arrive in time.",
    )
    BODY_TOO_LARGE = (
        413,
        "The body is too large, before or after decompression.",
        "Send less. A batch can be sent in parts.",
        "/models/capitals/predict",
        "The body is larger than 65536 bytes, the limit of this route.",
    )
    UNSUPPORTED_MEDIA_TYPE = (
        415,
        "The body is not declared as JSON, or its `Content-Encoding` is neither `gzip` nor `deflate`.",
        "Set the header.",
        "/models/capitals/predict",
        "The header Content-Type is missing; send application/json.",
    )
    INVALID_BODY = (
        422,
        "The body is not valid.",
        "Read `errors`: each says what is wrong, where, and what would be right.",
        "/models/capitals/predict",
        "Character 3 is 'd', which the model does not know.",
        Fault(pointer="/source", detail="character 3 is 'd', which the model does not know", rule="symbol", position=2),
    )
    QUEUE_FULL = (
        429,
        "The model's queue is full.",
        "Try again after `Retry-After` seconds.",
        "/models/capitals/predict",
        "The queue is full. Try again in 1 second.",
    )
    HEADERS_TOO_LARGE = (
        431,
        "The request line and headers are too large.",
        "Send fewer or shorter headers.",
        "",
        (
            "The request has more than 100 headers, or its head, or its chunk extensions and trailers, are larger than"
            " 65536 bytes."
        ),
    )
    INTERNAL_ERROR = (
        500,
        "The service failed; the request may be fine.",
        "Report `request_id`: it names the failure in the service's log.",
        "/models/capitals/predict",
        "The service failed to answer; the request id names it in the log.",
    )
    NOT_READY = (
        503,
        "The service is starting or stopping, lacks a model that it needs, or is stuck.",
        "Ask another instance, or ask again shortly. `GET /health/ready` says when the service wants requests.",
        "/health/ready",
        "The service is stopping; try another instance, or again shortly.",
    )
    MODEL_UNAVAILABLE = (
        503,
        "The model is known but not loaded, or a file of its report is damaged.",
        "Wait until it is loaded. The log and `POST /v2/repository/index` say why it is not.",
        "/models/capitals/predict",
        "No version of capitals is loaded.",
    )
    OVERLOADED = (
        503,
        "The service is short of memory for bodies, or of files that it can open.",
        "Try again after `Retry-After` seconds.",
        "/models/capitals/predict",
        "The service holds 33554432 bytes of unfinished request bodies, which is its limit. Try again in 1 second.",
    )
    DEADLINE_PASSED = (
        504,
        "The deadline passed before the request's turn came, or before that of the last item of a batch.",
        "Allow more time, or try again later. `X-Timeout-Ms` shortens the deadline.",
        "/models/capitals/predict",
        "The deadline passed before the request's turn came. Allow more time, or try again later.",
    )

    def __init__(self, status: int, meaning: str, to_do: str, path: str, detail: str, *faults: Fault):
        self.status = status
        self.meaning = meaning
        self.to_do = to_do
        self.path = path
        self.detail = detail
        self.faults = faults
        self.slug = self.name.lower().replace("_", "-")
        self.title = self.name.capitalize().replace("_", " ")


OF_MODELS = (
    ProblemType.BAD_REQUEST,
    ProblemType.NOT_SUPPORTED,
    ProblemType.UNKNOWN_MODEL,
    ProblemType.BODY_TOO_LARGE,
    ProblemType.UNSUPPORTED_MEDIA_TYPE,
    ProblemType.QUEUE_FULL,
    ProblemType.INTERNAL_ERROR,
    ProblemType.MODEL_UNAVAILABLE,
    ProblemType.OVERLOADED,
    ProblemType.DEADLINE_PASSED,
)
"""What every request that asks a model can meet."""
