"""The lane: every prediction takes it, whatever it is called; its errors, its headers, and models that come later."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import fakes
import httpx
import pytest
from client import Client, client_of_fakes
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.http import catalogue
from app.http.bodies import Bodies
from app.http.headers import ANSWER
from app.http.lane import Answer, Lane, Limits, Operation, seconds_granted
from app.http.middleware import RequestMiddleware
from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.http.schemas import Fault
from app.http.validation import Invalid
from app.inference_protocol.messages import RequestRefused
from app.inference_protocol.tensors import AnswerUnfit
from app.main import create_app
from app.serving.batching import BatchFailed, DeadlinePassed, QueueFull
from app.serving.counters import Traffic
from app.serving.predictor import NoExplanation, NoSearch
from app.serving.repository import UnknownModel
from app.serving.served_model import NotLoaded, UnknownVersion
from app.settings import Settings
from seq2seq.bundle import BundleError
from seq2seq.problems.addition import Addition

SUM, SUMS = {"expression": "10+6"}, {"expressions": ["10+6"]}
TENSOR = {"inputs": [{"name": "expression", "datatype": "BYTES", "shape": [1], "data": ["10+6"]}]}
ASKED: dict[str, Any] = {
    "/add": SUM,
    "/add/batch": SUMS,
    "/models/addition/predict": SUM,
    "/models/addition/predict/batch": SUMS,
    "/models/addition/explain": SUM,
    "/models/addition/embed": SUM,
    "/models/addition/embed/batch": SUMS,
    "/v2/models/addition/infer": TENSOR,
    "/v2/models/addition/versions/1/infer": TENSOR,
}


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of_fakes()


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def lane(error: Exception) -> Client:
    """A lane whose one operation ends with an error, before an application that answers everything else."""

    async def fail(*_: object) -> Answer:
        raise error

    operation = Operation("/models/{name}/ask", "ask", Limits(10, 1.0), fail)
    found = Lane([operation], fakes.repository(*fakes.models().values()), Bodies(10), elsewhere)
    return Client(RequestMiddleware(found, Traffic()))


def fastapi(error: Exception) -> Client:
    """The same as a route of FastAPI, behind the lane."""

    async def fail() -> None:
        raise error

    app = create_app(Settings(), fakes.models())
    app.add_api_route("/models/addition/ask", fail, methods=["POST"])
    return Client(app)


# Errors

ERRORS: list[tuple[Exception, int, str]] = [
    (ProblemError(ProblemType.FORBIDDEN, "Not you."), 403, "Not you."),
    (ClientDisconnect(), 400, "The connection was closed before the whole request arrived."),
    (UnknownModel("There is no model x; there are y."), 404, "There is no model x; there are y."),
    (UnknownVersion("There is no version 2 of y."), 404, "There is no version 2 of y."),
    (NoSearch("The model y gives one answer only."), 400, "The model y gives one answer only."),
    (NoExplanation("Version 1 of y cannot be explained."), 400, "Version 1 of y cannot be explained."),
    (Invalid([Fault(pointer="/a", detail="a is odd", rule="even")]), 422, "A is odd."),
    (QueueFull("9 wait"), 429, "The queue is full. Try again in 1 second."),
    (NotLoaded("No version of y is loaded."), 503, "No version of y is loaded."),
    (DeadlinePassed("after 3 s"), 504, "The deadline passed before the request's turn came."),
    (RequestRefused("there is no data"), 400, "there is no data"),
    (AnswerUnfit("the model wrote no number"), 500, "the model wrote no number"),
]


def test_every_entry_of_the_catalogue_is_gone_through() -> None:
    assert {type(error) for error, _, _ in ERRORS} >= set(catalogue.CATALOGUE)


@pytest.mark.parametrize(("error", "status", "detail"), ERRORS, ids=lambda each: type(each).__name__)
def test_error_of_the_catalogue_has_its_status_and_words(error: Exception, status: int, detail: str) -> None:
    asked = {"X-Request-ID": "same"}
    answer, other = (make(error).post("/models/addition/ask", headers=asked) for make in (lane, fastapi))
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.json()["detail"].startswith(detail)
    assert answer.headers.get("retry-after") == ("1" if status == 429 else None)
    assert (other.status_code, other.json()) == (status, answer.json())
    assert set(answer.headers.multi_items()) <= set(other.headers.multi_items())  # which has those of a page as well


class Nobodys(Exception):
    """An error that has no entry."""


@pytest.mark.parametrize(
    "error",
    [
        Nobodys("secret"),
        KeyError("secret"),  # which an unknown model is a kind of
        LookupError("secret"),
        ValueError("secret"),
        TimeoutError("secret"),
        OSError("secret"),
        BatchFailed("secret"),
        BundleError(Path("secret"), "secret"),
        ExceptionGroup("secret", [QueueFull("secret")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_without_an_entry_is_a_failure_of_the_service(error: Exception) -> None:
    error.__cause__ = UnknownModel("secret")  # nor has it the entry of what caused it
    for make in (lane, fastapi):
        answer = make(error).post("/models/addition/ask")
        assert answer.status_code == answer.json()["status"] == 500
        assert answer.json()["detail"].startswith("The service failed to answer")
        assert "secret" not in answer.text


def test_what_starlette_raises_is_a_failure_of_the_lane() -> None:
    assert lane(HTTPException(404, "secret")).post("/models/addition/ask").status_code == 500


@pytest.mark.parametrize(
    "path", ["/", "/models/ask", "/models//ask", "/models/a/b/ask", "/models/addition/ask/", "/models/addition/asks"]
)
def test_every_other_path_is_not_the_lanes(path: str) -> None:
    assert lane(Nobodys()).post(path).status_code == 204


@pytest.mark.parametrize("path", [*ASKED, "/models/division/predict"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_method_is_looked_at_first(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert method == "HEAD" or f"{path} answers POST, not {method}." in answer.text


# Headers


def told(answer: httpx.Response) -> list[tuple[str, str]]:
    """Its headers, less those that differ from answer to answer."""
    return sorted(pair for pair in answer.headers.multi_items() if pair[0] not in ("content-length", "x-request-id"))


@pytest.mark.parametrize(("prefix", "root_path"), [("", ""), ("", "/svc"), ("/svc", "/svc")])
@pytest.mark.parametrize("path", ASKED)
def test_answers_have_the_same_headers_whichever_way_they_are_asked_for(path: str, prefix: str, root_path: str) -> None:
    client = client_of_fakes(root_path=root_path)
    expected = sorted((name.decode("ascii"), value.decode("ascii")) for name, value in ANSWER)
    answer = client.post(prefix + path, json=ASKED[path])
    assert answer.status_code == 200
    assert told(answer) == sorted([*expected, ("content-type", "application/json")])
    for wrong in (
        client.post(prefix + path, content=b"{", headers={"content-type": "application/json"}),
        client.post(prefix + path.replace("addition", "division") + "?version=9", json=ASKED[path]),
        client.post(prefix + path, json=ASKED[path], headers={"x-timeout-ms": "soon"}),
        client.post(prefix + path, content=bytes(2**20 + 1), headers={"content-type": "application/json"}),
    ):
        media_type = "application/json" if path.startswith("/v2") else "application/problem+json"
        assert wrong.status_code in (400, 404, 413, 422)
        assert told(wrong) == sorted([*expected, ("content-type", media_type)])


# Models that come later

MIRROR = {"sequence": fakes.SEQUENCE}
LATER: dict[str, Any] = {
    "/models/mirror/predict": MIRROR,
    "/models/mirror/predict/batch": {"sequences": [fakes.SEQUENCE]},
    "/v2/models/mirror/infer": {
        "inputs": [{"name": "sequence", "datatype": "INT64", "shape": [1, 6], "data": fakes.SEQUENCE}]
    },
    "/reverse": MIRROR,
}


WIDER = Addition(2, 4, 99, "column")


def test_model_that_appears_later_is_served_and_described_without_a_restart(tmp_path: Path) -> None:
    repository = fakes.repository(fakes.models()["addition"], models_dir=tmp_path)
    client = Client(create_app(Settings(), repository=repository))

    def described() -> tuple[bool, int, list[str]]:
        """Whether `/reverse` is, how many models predict is for, and for which infer has examples."""
        document = client.get("/openapi.json").json()
        bodies = {
            path: document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            for path in ("/models/{name}/predict", "/v2/models/{name}/infer")
        }
        predict, infer = (sorted(body["examples"]) for body in bodies.values())
        assert predict == infer
        schemas = {name.removesuffix("_request") for name in document["components"]["schemas"]}
        assert set(predict) <= schemas
        return "/reverse" in document["paths"], len(bodies["/models/{name}/predict"]["schema"].get("anyOf", [1])), infer

    assert described() == (False, 1, ["addition"])
    assert {client.post(path, json=body).status_code for path, body in LATER.items()} == {404}
    for name in ("mirror", "reversal"):
        fakes.write_bundle(tmp_path, fakes.manifest(fakes.REVERSAL, name))
    asyncio.run(repository.refresh())
    answers = {path: client.post(path, json=body) for path, body in LATER.items()}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(LATER, 200)
    assert answers["/models/mirror/predict"].json()["reversed"] == [40, 36, 20]
    assert answers["/models/mirror/predict"].json()["model"] == {"name": "mirror", "version": "1"}
    assert answers["/models/mirror/predict/batch"].json()["results"][0]["reversed"] == [40, 36, 20]
    assert answers["/v2/models/mirror/infer"].json()["outputs"][0]["data"] == [40, 36, 20]
    assert described() == (True, 3, ["addition", "mirror", "reversal"])
    asyncio.run(repository.unload("mirror"))
    assert client.post("/models/mirror/predict", json=MIRROR).status_code == 503
    assert described() == (True, 2, ["addition", "reversal"])


def test_wider_version_that_appears_later_answers_and_is_described_without_a_restart(tmp_path: Path) -> None:
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    repository = fakes.repository(fakes.models()["addition"], models_dir=tmp_path)
    client = Client(create_app(Settings(), repository=repository))
    four = {"expression": "1+2+3+4"}

    def limits() -> list[str]:
        """What the document, the models' list and the inference protocol say of an expression."""
        schema = client.get("/openapi.json").json()["components"]["schemas"]["addition_request"]
        (listed,) = client.get("/models").json()["models"]
        return [schema["properties"]["expression"]["pattern"], listed["limits"]["pattern"]]

    assert client.post("/add", json=four).status_code == 422
    before = limits()
    fakes.write_bundle(tmp_path, fakes.manifest(WIDER, "addition", version="2"))
    asyncio.run(repository.refresh())
    answer = client.post("/add", json=four).json()
    assert (answer["sum"], answer["model"]["version"]) == (10, "2")
    assert client.post("/add?version=1", json=four).status_code == 422
    assert client.post("/add?version=1", json={"expression": "1+2+3"}).json()["sum"] == 6
    assert before == [fakes.ADDITION.input.schema["pattern"]] * 2
    assert limits() == [WIDER.input.schema["pattern"]] * 2


def test_service_starts_with_no_model_at_all() -> None:
    client = Client(create_app(Settings(), repository=fakes.repository()))
    assert {client.post(path, json=body).status_code for path, body in ASKED.items()} == {404}
    assert client.get("/models").json() == {"models": []}
    assert client.get("/openapi.json").status_code == 200


# Deadlines


@pytest.mark.parametrize(("given", "seconds"), [(None, 10.0), (b"1", 0.001), (b"250", 0.25), (b"99999999", 10.0)])
def test_time_can_only_be_shortened(given: bytes | None, seconds: float) -> None:
    assert seconds_granted({} if given is None else {b"x-timeout-ms": given}, 10.0) == seconds


@pytest.mark.parametrize("given", [b"", b"-1", b"0", b"00", b"1.5", b"soon", b"9" * 13, "\u0663".encode()])
def test_time_is_a_number(given: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        seconds_granted({b"x-timeout-ms": given}, 10.0)
    assert caught.value.status == 400
    assert "X-Timeout-Ms" in caught.value.detail


@pytest.mark.parametrize(
    ("path", "body", "media_type", "status"),
    [
        ("/add", b"{}", "application/json", 422),
        ("/add", b'{"expression": "1+"}', "application/json", 422),
        ("/add", b"{}", "text/plain", 415),
        ("/add", b" " * 2**17, "application/json", 413),
        ("/models/none/predict", b"{}", "application/json", 404),
        ("/v2/models/addition/infer", b"{}", "application/json", 400),
    ],
)
def test_refusal_frees_its_request_at_once(path: str, body: bytes, media_type: str, status: int) -> None:
    """An error that is kept by one of its own frames would keep the body until the collector comes."""
    client = client_of_fakes()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        assert client.post(path, content=body, headers={"content-type": media_type}).status_code == status
        gc.collect()
        kept = [each for each in gc.garbage if isinstance(each, tuple(catalogue.CATALOGUE))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert kept == []
