"""`POST /models/{name}/explain`: how a model comes to its answer. `/embed`: what its encoder makes of a source.

"" stands for what is no symbol: for the end of a source or an answer, and where a model's sequences have no end, for
padding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PlainValidator, create_model
from pydantic_core import to_json

from app.api.predict import CONFIDENCE, VERSION_DESCRIBED, Messages, asking, json_object, request_and_answer
from app.http import validation
from app.http.lane import Answer, Call, Limits, Operation, Query
from app.http.openapi import TIMEOUT_DESCRIBED, Document, ref
from app.http.problem_details import MOST_FAULTS
from app.http.schemas import RequestBody
from app.serving.models import CONFIDENCE_DECIMALS, GROUP, Explanation, Model
from app.serving.predictor import ForEachPredictor, Predictor
from seq2seq.bundle import BundleError
from seq2seq.decoding import CANDIDATES, VARYING
from seq2seq.problem import END_ID, Oracle, RuleBroken, kind_of, plural
from seq2seq.vocabulary import FloatArray, Symbol, Symbols, Vocabulary

EXPLAIN, EMBED = "/models/{name}/explain", "/models/{name}/embed"
STATE_DECIMALS = 4
MOST_IN_EXAMPLE = 6_000
"""How many bytes an example in the OpenAPI document may have. Longer ones would fill it."""
MOST_IN_ENUM = 200
"""A larger vocabulary is not written into the schema of a prefix."""
NOTHING = "A symbol; empty text for the end, or for padding where sequences have no end"
LARGEST_SHOWN = 10**18
NUMBERS = {"type": "array", "items": {"type": "number"}}


class ExplainMessages(Messages):
    """The requests and answers of these routes, for one model."""

    def __init__(self, model: Model):
        super().__init__(model)
        problem = model.problem
        self._has_end = model.manifest.network.family in VARYING
        self._read, self._written = map(self._shown, (problem.source_vocabulary, problem.target_vocabulary))
        self._ids = {symbol: place for place, symbol in enumerate(self._written)}
        self._kind = type(problem.target_vocabulary.symbols[0])
        prefix: Any = (Annotated[Any, PlainValidator(self._prefix)], Field(default=()))
        self._explained: Any = create_model("ExplainRequest", __base__=RequestBody, value=self._one, prefix=prefix)

    def _shown(self, vocabulary: Vocabulary) -> list[Symbol]:
        """Each symbol of a vocabulary as it is shown."""
        nothing = (vocabulary.padding_id, END_ID) if self._has_end else (vocabulary.padding_id,)
        return ["" if place in nothing else symbol for place, symbol in enumerate(vocabulary.symbols)]

    def _prefix(self, value: object) -> list[int]:
        """The first symbols of an answer → their ids. Raises `RuleBroken`."""
        if not isinstance(value, list):
            raise RuleBroken("list", f"a prefix is a list of symbols, not {kind_of(value)}")
        if len(value) > (most := self.model.problem.target_length):
            raise RuleBroken("length", f"the prefix has {plural(len(value), 'symbol')}; the most is {most}")
        for place, symbol in enumerate(value):
            if self._has_end and symbol == "" and place < len(value) - 1:
                raise RuleBroken(
                    "end", f"symbol {place + 1} of the prefix is the end; nothing follows it", place=(place,)
                )
            if (type(symbol) is not self._kind and symbol != "") or symbol not in self._ids:
                is_short = isinstance(symbol, str) or (type(symbol) is int and abs(symbol) < LARGEST_SHOWN)
                shown = f"{symbol!r:.60}" if is_short else kind_of(symbol)
                fault = f"symbol {place + 1} of the prefix is {shown}, which the model does not write"
                raise RuleBroken("symbol", fault, place=(place,))
        return [self._ids[symbol] for symbol in value]

    def parse_explain(self, body: bytes) -> tuple[Symbols, Sequence[int]]:
        """The source that a request holds, and the ids with which the answer begins. Raises `Invalid`."""
        found = validation.parse(self._explained, body, MOST_FAULTS)
        validation.check_fields(body)
        return found.value, found.prefix

    def explanation(self, source: Symbols, found: Explanation, forced: int, query: Query) -> dict[str, Any]:
        """The answer, and how the model came to it; `forced` of its symbols were given."""
        trace = found.trace
        steps = [
            {
                **self._likely(step.symbol, step.probability),
                "is_forced": place < forced,
                "candidates": [self._likely(*each) for each in step.candidates if each[1] > 0],
                "attention": None if step.attention is None else _rounded(step.attention),
            }
            for place, step in enumerate(trace.steps)
        ]
        return {
            **self.result(source, found.prediction, query),
            "model": self.reference,
            "source_symbols": [self._read[place] for place in found.source],
            "steps": steps,
            **({"truth": problem.truth(source)} if isinstance(problem := self.model.problem, Oracle) else {}),
            "encoder_states": _rounded(trace.encoder_states),
            "decoder_states": [_rounded(step.state) for step in trace.steps],
        }

    def _likely(self, symbol: int, probability: float) -> dict[str, Any]:
        return {"symbol": self._written[symbol], "probability": min(round(probability, CONFIDENCE_DECIMALS), 1.0)}

    def embedding(self, source: Symbols, vector: FloatArray) -> dict[str, Any]:
        """A source, and what the encoder made of it."""
        return {self._input.name: self._input.value(source), "embedding": _rounded(vector)}

    # The OpenAPI document

    def _one_of_all(self) -> dict[str, Any]:
        """A symbol that the model writes; texts and integers apart, because generated clients need it so."""
        kinds = {"string": str, "integer": int}
        known = {name: [each for each in self._ids if isinstance(each, kind)] for name, kind in kinds.items()}
        return {"anyOf": [{"type": name, "enum": each} for name, each in known.items() if each], "description": NOTHING}

    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON Schemas of what these routes take and give, less what they share with predict."""
        known = super().schemas()
        given, answer = known["request"]["properties"], known["response"]["properties"]
        required = {name: answer[name] for name in known["response"]["required"]}
        more = {name: schema for name, schema in answer.items() if name not in required}
        if isinstance(self.model.problem, Oracle):
            more["truth"] = answer[self._names[0]] | {"description": "What is right, where a rule says so"}
        read, written = (
            {"type": ["integer", "string"] if isinstance(symbols[-1], int) else "string", "description": NOTHING}
            for symbols in (self._read, self._written)
        )
        likely = {"symbol": written, "probability": CONFIDENCE}
        step = {
            **likely,
            "is_forced": {"type": "boolean", "description": "Whether the prefix gave it"},
            "candidates": {"type": "array", "items": json_object(likely), "maxItems": CANDIDATES},
            "attention": {
                "type": ["array", "null"],
                "items": CONFIDENCE,
                "description": "The weight of each source symbol, where the model attends to them",
            },
        }
        states = {"type": "array", "items": NUMBERS}
        prefix = {
            "type": "array",
            "items": self._one_of_all() if len(self._ids) <= MOST_IN_ENUM else written,
            "maxItems": self.model.problem.target_length,
            "description": "The first symbols of the answer, which goes on from there",
        }
        embedded = given | {"embedding": NUMBERS | {"description": "The states that the encoder hands on"}}
        model = {"model": answer["model"]}
        error = json_object({"error": ref("Fault")})
        return {
            "explain_request": json_object(given, {"prefix": prefix}),
            "explain_response": json_object(
                {
                    **required,
                    "source_symbols": {"type": "array", "items": read},
                    "steps": {"type": "array", "items": json_object(step)},
                    "encoder_states": states | {"description": "A row for each source symbol"},
                    "decoder_states": states | {"description": "A row for each step"},
                },
                more,
            ),
            "embed_response": json_object(embedded | model),
            "embed_batch_response": json_object(
                {"results": {"type": "array", "items": {"anyOf": [json_object(embedded), error]}}, **model}
            ),
        }

    def examples(self) -> dict[str, Any]:
        """Requests and their answers. Answers are computed here, and long ones left out."""
        known = self.model.examples[:2]
        if not known:
            return {}
        sources = [source for source, _ in known]
        requests = [self._input.value(source) for source in sources]
        request, batch = {self._input.name: requests[0]}, {self._input.plural: requests}
        found: dict[str, Any] = {"request": request, "explain_request": request, "batch_request": batch}
        with suppress(BundleError):  # a file of the bundle may be gone
            explained, tracer = self.model.explain(sources[0]), self.model.tracer
            if explained:
                found["explain_response"] = self.explanation(sources[0], explained, 0, Query())
            if tracer:
                each = [*map(self.embedding, sources, tracer.embed(self.model.problem.encode(sources)))]
                found["embed_response"] = each[0] | {"model": self.reference}
                found["embed_batch_response"] = {"results": each, "model": self.reference}
        return {name: example for name, example in found.items() if len(to_json(example)) < MOST_IN_EXAMPLE}


def _rounded(states: FloatArray) -> list[Any]:
    rounded: list[Any] = np.round(states.astype(np.float64), STATE_DECIMALS).tolist()
    return rounded


class Explain:
    """Answers these routes for whatever models are served."""

    def __init__(self, single: Limits, batch: Limits):
        self._single = single
        self._batch = batch
        self.messages = ForEachPredictor(ExplainMessages)

    def operations(self) -> Iterator[Operation]:
        for path, name, limits, handle in (
            (EXPLAIN, "explain", self._single, self.explain),
            (EMBED, "embed", self._single, self.embed),
            (f"{EMBED}/batch", "embed_batch", self._batch, self.embed_many),
        ):
            yield Operation(path, name, limits, handle, has_query=True, is_json=True)

    async def explain(self, call: Call, predictor: Predictor, body: bytes) -> Answer:
        """How the model comes to its answer to one request."""
        messages = self.messages(predictor)
        source, prefix = messages.parse_explain(body)
        found = await predictor.explain(source, prefix, call.query.n_best, call.until)
        return Answer(to_json(messages.explanation(source, found, len(prefix), call.query)))

    async def embed(self, call: Call, predictor: Predictor, body: bytes) -> Answer:
        """What the encoder makes of one source."""
        messages = self.messages(predictor)
        source = messages.parse(body)
        (vector,) = await predictor.embed_all([source], call.until)
        return Answer(to_json(messages.embedding(source, vector) | {"model": messages.reference}))

    async def embed_many(self, call: Call, predictor: Predictor, body: bytes) -> Answer:
        """The same of many, in order; an item that is refused carries its own error."""
        messages = self.messages(predictor)
        found = await predictor.embed_each(messages.parse_batch(body), call.until)
        results = []
        for place, result in enumerate(messages.each(found, messages.embedding)):
            if place % GROUP == 0:
                await asyncio.sleep(0)  # 1,000 at once held the loop for 60 ms
            results.append(to_json(result))
        return Answer(b'{"results":[%b],"model":%b}' % (b",".join(results), to_json(messages.reference)))

    # The OpenAPI document

    def document(self, predictors: Collection[Predictor]) -> Document:
        """What the OpenAPI document says of these routes. They share the schemas of predict."""
        found = Document()
        models = {each.reference.name: self.messages(each) for each in predictors}
        found.add_schemas({name: each.schemas() for name, each in models.items()})
        examples = {name: each.examples() for name, each in models.items()}
        parameters = asking([each.model for each in models.values()])
        for path, name, asked, answered, description in (
            (EXPLAIN, "explain", "explain_request", "explain_response", "Show how a model comes to its answer."),
            (
                EMBED,
                "embed",
                "request",
                "embed_response",
                "Show what a model's encoder makes of a source, as a vector.",
            ),
            (
                f"{EMBED}/batch",
                "embed_batch",
                "batch_request",
                "embed_batch_response",
                "Show what a model's encoder makes of each of many sources; one that is refused carries its own error.",
            ),
        ):
            described = {
                "tags": ["explanations"],
                "parameters": parameters if name == "explain" else [VERSION_DESCRIBED, TIMEOUT_DESCRIBED],
                **request_and_answer(examples, asked, answered, "What the model computed"),
            }
            found.add_post(path, name, description, described)
        return found
