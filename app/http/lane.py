"""The lane: the one way from a request's bytes to what a model answers, in front of FastAPI.

`/add`, `/models/{name}/predict` and `/v2/models/{name}/infer` all take it. Each step happens once: admit the request,
read its body up to a limit, parse, queue, render. FastAPI's own layers take 17 µs a request, as long as all the rest;
they serve every other route.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http import catalogue
from app.http.bodies import Bodies, Headers, headers_of
from app.http.headers import ANSWER
from app.http.middleware import HEADER, STATUS, WHOLE, route_found
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.serving.models import MOST_ALTERNATIVES
from app.serving.predictor import Predictor
from app.serving.repository import Repository
from app.text import clipped

MEDIA_TYPE = b"application/json"
TIMEOUT = b"x-timeout-ms"
MOST_DIGITS = 12
MOST_PARAMETERS = 100
"""How many parameters a query may hold, so that a long one holds nobody up."""
N_BEST = {str(number) for number in range(1, MOST_ALTERNATIVES + 1)}
CONFIDENCE = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")

RawHeaders = Sequence[tuple[bytes, bytes]]
JSON_ANSWER: RawHeaders = ((b"content-type", MEDIA_TYPE), *ANSWER)
HEAD = b"".join(b"%b: %b\r\n" % header for header in JSON_ANSWER) + b"content-length: %d\r\n" + HEADER + b": %b\r\n"
"""The lines of a JSON answer's head, less the length of its body and the request's id."""


@dataclass(frozen=True)
class Limits:
    """What a request is granted: how many bytes its body may hold, and how many seconds it may take."""

    body_bytes: int
    seconds: float


class Query(NamedTuple):
    """What a query asks for.

    version         the model's version
    n_best          how many alternatives are wanted; 0 for none
    min_confidence  below which an answer is withheld
    """

    version: str | None = None
    n_best: int = 0
    min_confidence: float = 0.0


NO_QUERY = Query()


class Call:
    """A request on its way: its headers and query, when it began, and until when it is worth an answer.

    Times are in seconds of `time.monotonic`. Raises 400 for an `X-Timeout-Ms` that is no time.
    """

    __slots__ = ("began", "headers", "query", "until")

    def __init__(self, headers: Headers, most_seconds: float, query: Query = NO_QUERY):
        self.headers = headers
        self.query = query
        self.began = monotonic()
        self.until = self.began + seconds_granted(headers, most_seconds)


class Answer(NamedTuple):
    """The body of a success, and its headers but for its length."""

    content: bytes
    headers: RawHeaders = JSON_ANSWER


Handle = Callable[[Call, Predictor, bytes], Awaitable[Answer]]


@dataclass(frozen=True)
class Operation:
    """A route of the lane, which takes POST.

    path        as the service declares it; {name} and {number} stand for a model and its version
    name        what clients that are made from the OpenAPI document call it
    handle      answers a request, given who predicts and the body
    model       the model that is asked, if the path names none
    has_query   whether a query may ask for anything
    is_json     whether the body must be declared to be JSON
    """

    path: str
    name: str
    limits: Limits
    handle: Handle
    model: str = ""
    has_query: bool = False
    is_json: bool = False


class Lane:
    """Answers requests for its operations, and hands all others on.

    `is_watched` says whether what stands in front sees answers, or changes them.
    """

    def __init__(
        self,
        operations: Iterable[Operation],
        repository: Repository,
        bodies: Bodies,
        otherwise: ASGIApp,
        *,
        is_watched: bool = True,
    ):
        operations = list(operations)
        self._is_watched = is_watched
        self._fixed = {each.path: each for each in operations if "{" not in each.path}
        self._patterns = [
            (re.compile(re.sub(r"{\w+}", "([^/]+)", each.path)), each) for each in operations if "{" in each.path
        ]
        self._repository = repository
        self._bodies = bodies
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (found := self._find(scope["path"])) is None:
            await self._otherwise(scope, receive, send)
            return
        operation, places = found
        scope["route"] = operation
        refusal = None
        try:
            answer = await self._answer(operation, places, scope, receive)
        except Exception as error:
            # No name but this holds the error: its frames hold the body, and would make a cycle with this one.
            refusal = catalogue.answer(scope, error)
            if refusal is None:
                raise
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if not self._is_watched and _send_whole(scope, answer):
            return
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})

    def route_of(self, scope: Scope) -> str:
        """The path of a request's route, as the service declares it, whether the request came so far or not."""
        if "route" not in scope and (found := self._find(scope["path"])):
            return found[0].path
        return route_found(scope)

    def _find(self, path: str) -> tuple[Operation, Sequence[str]] | None:
        if (operation := self._fixed.get(path)) is not None:
            return operation, ()
        for pattern, operation in self._patterns:
            if found := pattern.fullmatch(path):
                return operation, found.groups()
        return None

    async def _answer(self, operation: Operation, places: Sequence[str], scope: Scope, receive: Receive) -> Answer:
        if scope["method"] != "POST":
            raise catalogue.wrong_method(scope["path"], scope["method"], ["POST"])
        name = places[0] if places else operation.model
        query = NO_QUERY
        if operation.has_query:
            if scope["query_string"]:
                query = read_query(scope["query_string"])
            version = query.version
        else:
            version = places[1] if len(places) > 1 else None
        predictor = self._repository[name].pick(version)
        predictor.admit()
        headers = headers_of(scope)
        if operation.is_json:
            _require_json(headers)
        call = Call(headers, operation.limits.seconds, query)
        # The bytes have no name here: they go once they are parsed, and not when the answer is there.
        return await operation.handle(
            call, predictor, await self._bodies.read(headers, receive, operation.limits.body_bytes)
        )


def _send_whole(scope: Scope, answer: Answer) -> bool:
    """Send head and body at once, if the connection can."""
    send_whole = scope.get("extensions", {}).get(WHOLE)
    if send_whole is None or answer.headers is not JSON_ANSWER:
        return False
    state = scope["state"]
    is_sent: bool = send_whole(HEAD % (len(answer.content), state["request_id"].encode("ascii")), answer.content)
    if is_sent:
        state[STATUS] = 200
    return is_sent


def read_query(query: bytes) -> Query:
    """What a query asks for; what else it holds is others' business. Raises 400."""
    try:
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise ProblemError(
            ProblemType.BAD_REQUEST, f"The query holds more than {MOST_PARAMETERS} parameters; send fewer."
        ) from None
    for name in Query._fields:
        if len(given.get(name, ())) > 1:
            raise ProblemError(ProblemType.BAD_REQUEST, f"The query parameter {name} is given twice; send it once.")
    version, n_best, least = (given.get(name, [None])[0] for name in Query._fields)
    if n_best is not None and n_best not in N_BEST:
        raise _wrong("n_best", n_best, f"a whole number from 1 to {MOST_ALTERNATIVES}")
    if least is not None and not (CONFIDENCE.fullmatch(least) and float(least) <= 1):
        raise _wrong("min_confidence", least, "a number from 0 to 1")
    return Query(version, int(n_best or 0), float(least or 0))


def _wrong(name: str, given: str, right: str) -> ProblemError:
    return ProblemError(ProblemType.BAD_REQUEST, f"The query parameter {name} is {clipped(given, 60)}; send {right}.")


def _require_json(headers: Headers) -> None:
    """Raise 415 unless the body is declared to be JSON."""
    declared = headers.get(b"content-type", b"")
    if declared != MEDIA_TYPE and not _is_json(declared.decode("latin-1")):
        fault = f"is {clipped(declared.decode('latin-1'), 60)}" if declared else "is missing"
        raise ProblemError(
            ProblemType.UNSUPPORTED_MEDIA_TYPE, f"The header Content-Type {fault}; send {MEDIA_TYPE.decode('ascii')}."
        )


def _is_json(content_type: str) -> bool:
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or (subtype.endswith("+json") and subtype != "+json"))


def seconds_granted(headers: Headers, most: float) -> float:
    """How long a request may take: `most`, or less if the client says so. Raises 400 for what is no such time."""
    given = headers.get(TIMEOUT)
    if given is None:
        return most
    if not given.isdigit() or len(given) > MOST_DIGITS or not int(given):
        fault = clipped(given.decode("latin-1"), 60)
        raise ProblemError(
            ProblemType.BAD_REQUEST,
            f"The header X-Timeout-Ms is {fault}; send a whole number of milliseconds, at least 1.",
        )
    return min(most, int(given) / 1_000)
