"""How a model came to its answer, and what its encoder makes of a source, through `create_app`."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any

import capitals
import fakes
import jsonschema
import pytest
from client import Client, async_client

from app.api.explain import Explain, ExplainMessages
from app.http.lane import Call, Limits
from app.main import create_app
from app.serving.models import GROUP, Model
from app.serving.predictor import ForEachPredictor, Predictor
from app.settings import Settings
from seq2seq.decoding import Decoded
from seq2seq.vocabulary import FloatArray, IdArray, Symbols

EXPLAIN, EMBED = "/models/capitals/explain", "/models/capitals/embed"


class Bare:
    """A network that shows nothing but its answers."""

    def greedy(self, sources: IdArray) -> Decoded:
        return fakes.truthful(fakes.ADDITION).greedy(sources)


@pytest.fixture(scope="module")
def client() -> Client:
    bare = Model(replace(fakes.addition_manifest(), name="bare"), Bare())
    return Client(create_app(Settings(), {**fakes.models(), "capitals": capitals.model(), "bare": bare}))


def candidates(first: str, *others: str) -> list[dict[str, Any]]:
    return [{"symbol": first, "probability": 0.9}, *({"symbol": each, "probability": 0.05} for each in others)]


def test_explanation_is_the_answer_and_what_led_to_it(client: Client) -> None:
    answer = client.post(EXPLAIN, json={"source": " ab "}).json()
    end = {"symbol": "", "probability": 1.0}
    assert answer == {
        "source": "ab",
        "target": "A B",
        "confidence": 0.81,
        "model": {"name": "capitals", "version": "1"},
        "source_symbols": ["a", "b", ""],
        "steps": [
            {**each[0], "is_forced": False, "candidates": each, "attention": weights}
            for each, weights in (
                (candidates("A", "B", "C"), [1.0, 0.0, 0.0]),
                (candidates("B", "A", "C"), [0.0, 1.0, 0.0]),
                ([end], [0.0, 0.0, 1.0]),
            )
        ],
        "encoder_states": [[2.0] * 4, [3.0] * 4, [1.0] * 4],
        "decoder_states": [[1.0] * 2, [2.0] * 2, [3.0] * 2],
    }


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("addition", {"expression": "10+6"}),
        ("reversal", {"sequence": fakes.SEQUENCE}),
        ("capitals", {"source": "abc"}),
        ("capitals", {"source": "ab", "prefix": []}),
    ],
)
@pytest.mark.parametrize("query", ["", "?min_confidence=1", "?version=1"])
def test_all_that_predict_answers_is_in_the_explanation(client: Client, model: str, body: Any, query: str) -> None:
    asked = {name: value for name, value in body.items() if name != "prefix"}
    predicted = client.post(f"/models/{model}/predict{query}", json=asked).json()
    explained = client.post(f"/models/{model}/explain{query}", json=body).json()
    assert predicted.items() <= explained.items()
    assert prod(step["probability"] for step in explained["steps"]) == pytest.approx(explained["confidence"], abs=1e-5)
    written = [step["symbol"] for step in explained["steps"]]
    assert written == [step["candidates"][0]["symbol"] for step in explained["steps"]]


def test_symbols_that_are_integers_are_shown_as_such(client: Client) -> None:
    answer = client.post("/models/reversal/explain", json={"sequence": fakes.SEQUENCE, "prefix": [7]}).json()
    assert answer["source_symbols"] == fakes.SEQUENCE
    assert [(step["symbol"], step["is_forced"]) for step in answer["steps"]] == [(7, True), (36, False), (20, False)]
    assert answer["reversed"] == [7, 36, 20]


def test_padding_is_shown_and_can_be_forced_where_a_model_writes_it(client: Client) -> None:
    answer = client.post("/models/addition/explain", json={"expression": "1+6"}).json()
    written = [step["symbol"] for step in answer["steps"]]
    assert sorted(written) == ["", "", "7"]
    again = client.post("/models/addition/explain", json={"expression": "1+6", "prefix": written}).json()
    assert again["sum"] == answer["sum"] == 7


def test_source_that_is_read_from_its_end_is_shown_so() -> None:
    manifest = fakes.reversal_manifest()
    backwards = replace(manifest, network=replace(manifest.network, reversed_source=True))
    client = Client(create_app(Settings(), {"reversal": Model(backwards, fakes.truthful(fakes.REVERSAL))}))
    answer = client.post("/models/reversal/explain", json={"sequence": fakes.SEQUENCE}).json()
    assert answer["source_symbols"] == fakes.SEQUENCE[::-1]


def test_prefix_is_forced_and_costs_no_confidence(client: Client) -> None:
    answer = client.post(f"{EXPLAIN}?n_best=3", json={"source": "ab", "prefix": ["C"]}).json()
    assert (answer["target"], answer["confidence"]) == ("C B", 0.9)
    assert answer["alternatives"] == [
        {"target": "C B", "confidence": 0.9},
        {"target": "C A", "confidence": 0.05},
        {"target": "C C", "confidence": 0.05},
    ]
    forced, chosen, _ = answer["steps"]
    assert (forced["symbol"], forced["probability"], forced["is_forced"]) == ("C", 0.05, True)
    assert forced["candidates"] == candidates("A", "B", "C")
    assert (chosen["symbol"], chosen["probability"], chosen["is_forced"]) == ("B", 0.9, False)


def test_the_end_can_be_forced(client: Client) -> None:
    answer = client.post(EXPLAIN, json={"source": "ab", "prefix": ["B", ""]}).json()
    assert (answer["target"], answer["confidence"], len(answer["steps"])) == ("B", 1.0, 2)
    assert answer["steps"][1] == {
        "symbol": "",
        "probability": 0.0,
        "is_forced": True,
        "candidates": candidates("B", "A", "C"),
        "attention": [0.0, 1.0, 0.0],
    }


@pytest.mark.parametrize(
    ("model", "prefix", "pointer", "rule", "detail"),
    [
        ("capitals", "A", "/prefix", "list", "a prefix is a list of symbols, not text"),
        ("capitals", None, "/prefix", "list", "a prefix is a list of symbols, not null"),
        ("capitals", ["A"] * 6, "/prefix", "length", "the prefix has 6 symbols; the most is 5"),
        (
            "capitals",
            ["A", "D"],
            "/prefix/1",
            "symbol",
            "symbol 2 of the prefix is 'D', which the model does not write",
        ),
        ("capitals", ["a"], "/prefix/0", "symbol", "symbol 1 of the prefix is 'a', which the model does not write"),
        ("capitals", ["", "A"], "/prefix/0", "end", "symbol 1 of the prefix is the end; nothing follows it"),
        ("capitals", [1], "/prefix/0", "symbol", "symbol 1 of the prefix is 1, which"),
        ("capitals", [[]], "/prefix/0", "symbol", "symbol 1 of the prefix is a list, which"),
        ("reversal", ["7"], "/prefix/0", "symbol", "symbol 1 of the prefix is '7', which"),
        ("reversal", [0], "/prefix/0", "symbol", "symbol 1 of the prefix is 0, which"),
        ("reversal", [51], "/prefix/0", "symbol", "symbol 1 of the prefix is 51, which"),
        ("reversal", [True], "/prefix/0", "symbol", "symbol 1 of the prefix is a boolean, which"),
        ("reversal", [7.0], "/prefix/0", "symbol", "symbol 1 of the prefix is a number, which"),
        ("reversal", [10**30], "/prefix/0", "symbol", "symbol 1 of the prefix is a number, which"),
        ("reversal", [{}], "/prefix/0", "symbol", "symbol 1 of the prefix is an object, which"),
    ],
)
def test_prefix_that_cannot_be_is_refused_with_its_place(
    client: Client, model: str, prefix: Any, pointer: str, rule: str, detail: str
) -> None:
    source = {"source": "ab"} if model == "capitals" else {"sequence": fakes.SEQUENCE}
    answer = client.post(f"/models/{model}/explain", json={**source, "prefix": prefix})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["rule"]) == (pointer, rule)
    assert error["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b'{"prefix": ["A"]}', "missing_field"),
        (b'{"source": "ab", "suffix": []}', "unknown_field"),
        (b'{"source": "ab", "source": "a"}', "repeated_field"),
        (b'{"source": "ab", "prefix": [], "prefix": []}', "repeated_field"),
        (b'{"source": "abd"}', "symbol"),
        (b"[]", "object"),
        (b"{", "json"),
    ],
)
def test_body_that_is_wrong_is_refused(client: Client, body: bytes, rule: str) -> None:
    answer = client.post_json(EXPLAIN, body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["rule"] == rule


@pytest.mark.parametrize("route", ["explain", "embed", "embed/batch"])
def test_model_that_shows_nothing_says_so(client: Client, route: str) -> None:
    body = {"expressions": ["1+1"]} if route.endswith("batch") else {"expression": "1+1"}
    answer = client.post(f"/models/bare/{route}", json=body)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/not-supported")
    assert answer.json()["detail"].startswith("Version 1 of bare cannot be explained: ")


def test_model_that_gives_one_answer_refuses_to_search(client: Client) -> None:
    answer = client.post("/models/addition/explain?n_best=2", json={"expression": "1+1"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "The model addition gives one answer only; leave n_best out."


# Embeddings


def test_embedding_is_what_the_encoder_hands_on(client: Client) -> None:
    model = {"name": "capitals", "version": "1"}
    answer = client.post(EMBED, json={"source": " ab"}).json()
    assert answer == {"source": "ab", "embedding": [0.0] * 4, "model": model}
    answer = client.post("/models/reversal/embed", json={"sequence": fakes.SEQUENCE}).json()
    assert answer["embedding"] == fakes.SEQUENCE  # the fake's state is what it read


def test_batch_of_embeddings_has_its_errors_in_their_places(client: Client) -> None:
    answer = client.post(f"{EMBED}/batch", json={"sources": ["ab", "d", "a"]}).json()
    first, refused, last = answer["results"]
    assert first == {"source": "ab", "embedding": [0.0] * 4}
    assert (refused["error"]["pointer"], refused["error"]["rule"]) == ("/sources/1", "symbol")
    assert last["source"] == "a"
    assert answer["model"] == {"name": "capitals", "version": "1"}
    nothing = client.post(f"{EMBED}/batch", json={"sources": ["d"]}).json()
    assert [*nothing["results"][0]] == ["error"]


def test_large_batch_is_embedded_in_order(client: Client) -> None:
    sequences = [[1 + place % 50, 2, 3, 4, 5, 6] for place in range(100)]
    answer = client.post("/models/reversal/embed/batch", json={"sequences": sequences}).json()
    assert [each["embedding"] for each in answer["results"]] == sequences


async def test_others_get_their_turn_while_a_large_batch_is_rendered() -> None:
    turns, rendered = 0, list[int]()

    class Noted(ExplainMessages):
        def embedding(self, source: Symbols, vector: FloatArray) -> dict[str, Any]:
            rendered.append(turns)
            return super().embedding(source, vector)

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    explain = Explain(Limits(1_000_000, 60), Limits(1_000_000, 60))
    explain.messages = ForEachPredictor(Noted)
    ticking = asyncio.ensure_future(tick())
    body = json.dumps({"sources": ["a", "?"] * 100}).encode()
    answer = await explain.embed_many(Call({}, 60), Predictor(capitals.model(), 64), body)
    ticking.cancel()
    assert [*json.loads(answer.content)] == ["results", "model"]
    assert len(rendered) == 100
    assert max(Counter(rendered).values()) <= GROUP


# Limits


@pytest.mark.parametrize(("path", "body"), [(EXPLAIN, {"source": "a"}), (f"{EMBED}/batch", {"sources": ["a"]})])
def test_deadline_and_queue_are_those_of_predict(path: str, body: Any) -> None:
    late = Client(create_app(Settings(deadline_s=1e-9), {"capitals": capitals.model()}))
    assert late.post(path, json=body).status_code == 504

    async def ask_at_once() -> list[int]:
        app = create_app(Settings(max_queue=2), {"capitals": capitals.model()})
        async with async_client(app) as client:
            answers = await asyncio.gather(*(client.post(path, json=body) for _ in range(3)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(ask_at_once()) == [200, 200, 429]


@pytest.mark.parametrize("is_large", [False, True])
async def test_no_prediction_waits_for_an_explanation(is_large: bool) -> None:
    begun, gate, threads = threading.Event(), threading.Event(), set[int]()

    class Slow:
        tracer = capitals.NETWORK.tracer

        def greedy(self, sources: IdArray) -> Decoded:
            if len(sources[0]) == 4:  # the one that is explained
                threads.add(threading.get_ident())
                begun.set()
                assert gate.wait(60)
            return capitals.NETWORK.greedy(sources)

    predictor = Predictor(replace(capitals.model(is_large=is_large), network=Slow()), 8)
    explaining = asyncio.ensure_future(predictor.explain(("a", "b", "c")))
    await asyncio.to_thread(begun.wait, 60)
    assert (await predictor.predict(("a",))).values == ("A",)
    assert not explaining.done()
    gate.set()
    assert (await explaining).prediction.values == ("A B C",)
    assert threading.get_ident() not in threads
    assert predictor.depth() == 0


def test_explanations_are_counted_as_answers_are() -> None:
    client = Client(create_app(Settings(), fakes.models()), within_lifespan=True)
    client.post("/models/addition/explain", json={"expression": "1+1"})
    client.post("/models/addition/explain", json={"expression": "1+1", "prefix": ["9"]})  # which says nothing of it
    client.post("/models/addition/embed/batch", json={"expressions": ["1+1", "1+2"]})
    text = client.get("/metrics").text
    assert 'service_batch_size_sum{model="addition",version="1"} 4.0' in text
    assert 'service_answers_total{is="exact",model="addition",version="1"} 1.0' in text
    assert 'route="/models/{name}/explain"' in text


# What is said of it


@pytest.mark.parametrize("query", ["", "?n_best=3&min_confidence=0.9"])
@pytest.mark.parametrize("prefix", [[], ["B"], ["A", "A", ""]])
def test_explanation_is_as_it_is_described(client: Client, query: str, prefix: list[str]) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    body = {"source": "ab", "prefix": prefix}
    jsonschema.validate(body, schemas["capitals_explain_request"])
    answer = client.post(EXPLAIN + query, json=body)
    assert answer.status_code == 200
    jsonschema.validate(answer.json(), schemas["capitals_explain_response"] | {"components": document["components"]})


@pytest.mark.parametrize(
    ("path", "names"), [("explain", {"version", "n_best", "min_confidence"}), ("embed", {"version"})]
)
def test_document_describes_what_a_query_may_ask(client: Client, path: str, names: set[str]) -> None:
    operation = client.get("/openapi.json").json()["paths"][f"/models/{{name}}/{path}"]["post"]
    assert {each["name"] for each in operation["parameters"] if each.get("in") == "query"} == names


def test_long_examples_are_left_out(client: Client) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/models/{name}/explain"]["post"]
    assert "capitals" in operation["requestBody"]["content"]["application/json"]["examples"]
    assert "bare" not in operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert len(json.dumps(operation)) < 20_000
