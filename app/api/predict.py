"""`POST /models/{name}/predict` and its batch, for every model that is served, and the short names of some of them.

A model's interface says all: what its requests and answers hold, and how the OpenAPI document describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import Field, PlainValidator, create_model
from pydantic_core import to_json

from app.http import problem_types, validation
from app.http.lane import NO_QUERY, Answer, Call, Limits, Operation, Query
from app.http.openapi import TIMEOUT_DESCRIBED, Document, ref
from app.http.problem_details import JSON, MOST_FAULTS, documented
from app.http.problem_types import ProblemType
from app.http.schemas import MOST_ITEMS, Fault, RequestBody
from app.serving.models import MOST_ALTERNATIVES, Model, ModelReference, Prediction
from app.serving.predictor import ForEachPredictor, Predictor
from seq2seq.problem import RuleBroken
from seq2seq.vocabulary import Symbols

Found = TypeVar("Found")


class ShortName(NamedTuple):
    """Another path for a model's predict routes, and what the OpenAPI document calls it."""

    path: str
    model: str
    summary: str


SHORT_NAMES = (
    ShortName("/add", "addition", "Have the model add the terms of an expression"),
    ShortName("/reverse", "reversal", "Have the model reverse the first items of a list"),
)
"""The one place in the service that names a task. Nothing depends on these models being there."""

PREDICT = "/models/{name}/predict"
VERSION_DESCRIBED = {
    "name": "version",
    "in": "query",
    "description": "The model's version; without it, the one that answers by default",
    "schema": {"type": "string", "pattern": "^[1-9][0-9]*$", "examples": ["1"]},
}
N_BEST_DESCRIBED = {
    "name": "n_best",
    "in": "query",
    "description": "How many of the likeliest answers to add as `alternatives`, best first. Only models that can search"
    " for them take it",
    "schema": {"type": "integer", "minimum": 1, "maximum": MOST_ALTERNATIVES, "examples": [5]},
}
MIN_CONFIDENCE_DESCRIBED = {
    "name": "min_confidence",
    "in": "query",
    "description": "Answers of less confidence are null, and `reason` says so",
    "schema": {"type": "number", "minimum": 0, "maximum": 1, "examples": [0.9]},
}
WITHHELD = "Why the answer is null, where its confidence is below min_confidence"
CONFIDENCE = {"type": "number", "minimum": 0, "maximum": 1}


class Messages:
    """The requests and answers of a model, as its problem's interface has them."""

    def __init__(self, model: Model):
        self.model = model
        problem = model.problem
        self._input, self._options, self._outputs = problem.input, problem.options, problem.outputs
        self._names = [output.name for output in problem.outputs]
        self._fields = [self._input.name, *self._names, "confidence"]
        self.reference = {"name": model.manifest.name, "version": model.manifest.version}
        examples = [self._input.value(source) for source, _ in model.examples]
        accepted: Any = Any if self._options else Annotated[Any, PlainValidator(problem.parse)]
        self._option_names = [each.name for each in self._options]
        self._asked: dict[str, Any] = {
            "value": (accepted, Field(alias=self._input.name, examples=examples)),
            **{f"option_{name}": (Any, Field(default=None, alias=name)) for name in self._option_names},
        }
        self.request: Any = create_model("Request", __base__=RequestBody, **self._asked)
        items = Field(alias=self._input.plural, min_length=1, max_length=MOST_ITEMS, examples=[examples])
        self.batch_request: Any = create_model("BatchRequest", __base__=RequestBody, values=(list[Any], items))

    def parse(self, body: bytes) -> Symbols:
        """The source that a request holds. Raises `Invalid`."""
        return self._source(validation.parse_whole(self.request, body, MOST_FAULTS))

    def _source(self, request: Any) -> Symbols:
        """The source of a request that was read. Options are read here, together with the value. Raises `Invalid`."""
        value: Symbols = request.value
        if not self._options:
            return value
        fields = {self._input.name: value}
        if len(request.model_fields_set) > 1:
            given = {name: f"option_{name}" for name in self._option_names}
            fields |= {name: getattr(request, at) for name, at in given.items() if at in request.model_fields_set}
        try:
            return self.model.problem.parse(fields)
        except RuleBroken as broken:
            raise validation.Invalid([Fault.of(broken, "")]) from None

    def parse_batch(self, body: bytes) -> list[Any]:
        """The values that a batch holds; each may be anything. Raises `Invalid`."""
        values: list[Any] = validation.parse_whole(self.batch_request, body, MOST_FAULTS).values
        return values

    def result(self, source: Symbols, prediction: Prediction, query: Query = NO_QUERY) -> dict[str, Any]:
        """What was asked and what the model made of it, as the query wants it."""
        if self._options:
            found = self.model.problem.request(source)
            found.update(zip(self._fields[1:], (*prediction.values, prediction.confidence), strict=True))
        else:
            values = self._input.value(source), *prediction.values, prediction.confidence
            found = dict(zip(self._fields, values, strict=True))
        if query is NO_QUERY:
            return found
        if prediction.confidence < query.min_confidence:
            found.update(dict.fromkeys(self._names))
            found["reason"] = f"confidence {prediction.confidence} is below min_confidence {query.min_confidence}"
        if query.n_best:
            found["alternatives"] = [self._alternative(each) for each in prediction.alternatives]
        return found

    def _alternative(self, prediction: Prediction) -> dict[str, Any]:
        return {**dict(zip(self._names, prediction.values, strict=True)), "confidence": prediction.confidence}

    def results(
        self, answers: Sequence[tuple[Symbols, Prediction] | RuleBroken], query: Query = NO_QUERY
    ) -> list[dict[str, Any]]:
        """The same of many; one that was refused carries its own error."""
        return [*self.each(answers, lambda source, prediction: self.result(source, prediction, query))]

    def each(
        self, answers: Sequence[tuple[Symbols, Found] | RuleBroken], render: Callable[[Symbols, Found], dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """What was found for each of many sources; one that was refused carries its own error."""
        for place, answer in enumerate(answers):
            if isinstance(answer, RuleBroken):
                yield {"error": Fault.of(answer, f"/{self._input.plural}/{place}")}
            else:
                yield render(*answer)

    # The OpenAPI document

    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON Schemas of requests and answers, by what they are of."""
        given, outputs = self._input, {output.name: output for output in self._outputs}
        asked = {given.name: given.schema | {"description": given.description}}
        options = {each.name: each.schema | {"description": each.description} for each in self._options}
        request = json_object(asked, options)
        values = {name: output.schema | {"description": output.description} for name, output in outputs.items()}
        confidence = {"confidence": CONFIDENCE | {"description": "Product of the probabilities of the symbols chosen"}}
        result = {
            **asked,
            **{name: _nullable(schema) for name, schema in values.items()},
            **confidence,
        }
        more: dict[str, Any] = {**options, "reason": {"type": "string", "description": WITHHELD}}
        if self.model.search is not None:
            alternative = json_object({**values, **confidence})
            more["alternatives"] = {
                "type": "array",
                "items": alternative,
                "maxItems": MOST_ALTERNATIVES,
                "description": "The likeliest answers, best first, where n_best asks for them",
            }
        anything = {"description": "Anything else gets an error of its own in the answer"}
        item = {"anyOf": [given.schema, *([request] if options else []), anything]}
        items = {"type": "array", "items": item, "minItems": 1, "maxItems": MOST_ITEMS}
        error = json_object({"error": {"$ref": "#/components/schemas/Fault"}})
        model = {"model": {"$ref": "#/components/schemas/ModelReference"}}
        return {
            "request": request,
            "response": json_object(result | model, more),
            "batch_request": json_object({given.plural: items}),
            "batch_response": json_object(
                {"results": {"type": "array", "items": {"anyOf": [json_object(result, more), error]}}, **model}
            ),
        }

    def item(self, request: dict[str, Any]) -> Any:
        """A request as an item of a batch: its only field's value, or, with options, the request itself."""
        return request[self._input.name] if len(request) == 1 else request

    def examples(self) -> dict[str, Any]:
        """A request and its answer, single and as a batch, by what they are of; nothing if none is known."""
        known = self.model.examples
        if not known:
            return {}
        requests = [self.model.problem.request(source) for source, _ in known]
        model = {"model": self.reference}
        return {
            "request": requests[0],
            "response": self.result(*known[0]) | model,
            "batch_request": {self._input.plural: [*map(self.item, requests)]},
            "batch_response": {"results": self.results(known)} | model,
        }


def json_object(properties: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the same value, or of null."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, *({"null"} - {*kinds})]}


class Predict:
    """Answers requests of whatever models are served, in our own form."""

    def __init__(self, single: Limits, batch: Limits):
        self._single = single
        self._batch = batch
        self.messages = ForEachPredictor(Messages)

    def operations(self) -> Iterator[Operation]:
        """The routes, short names first."""
        names = [(each.path, each.path.strip("/"), each.model) for each in SHORT_NAMES]
        for path, name, model in [*names, (PREDICT, "predict", "")]:
            yield Operation(path, name, self._single, self.one, model, has_query=True, is_json=True)
            batch = f"{path}/batch", f"{name}_batch"
            yield Operation(*batch, self._batch, self.many, model, has_query=True, is_json=True)

    async def one(self, call: Call, predictor: Predictor, body: bytes) -> Answer:
        """The model's answer to one request."""
        messages = self.messages(predictor)
        source = messages.parse(body)
        del body  # it is large, and the answer may take a while
        if call.query.n_best:
            (prediction,) = await predictor.search_all([source], call.query.n_best, call.until)
        else:
            prediction = await predictor.predict(source, call.until)
        result = messages.result(source, prediction, call.query)
        result["model"] = messages.reference
        return Answer(to_json(result))

    async def many(self, call: Call, predictor: Predictor, body: bytes) -> Answer:
        """The model's answers to a batch, in order; an item that is refused carries its own error."""
        messages = self.messages(predictor)
        values = messages.parse_batch(body)
        if call.query.n_best:
            answers = predictor.search_each(values, call.query.n_best, call.until)
        else:
            answers = predictor.predict_each(values, call.until)
        del body, values  # which may be large, and answers may take long
        return Answer(to_json({"results": messages.results(await answers, call.query), "model": messages.reference}))

    # The OpenAPI document

    def document(self, predictors: Collection[Predictor]) -> Document:
        """What the OpenAPI document says of these routes, given who answers by default."""
        found = Document()
        found.add_schema(ModelReference)
        found.places["name"] = [each.reference.name for each in predictors]
        found.places["number"] = sorted({each.reference.version for each in predictors})
        all_messages = {each.reference.name: self.messages(each) for each in predictors}
        found.add_schemas({name: messages.schemas() for name, messages in all_messages.items()})
        for short in SHORT_NAMES:
            if short.model in all_messages:
                name, only = short.path.strip("/"), {short.model: all_messages[short.model]}
                many = f"{short.summary}, many times."
                found.add_post(short.path, name, f"{short.summary}.", _described(only, ""))
                found.add_post(f"{short.path}/batch", f"{name}_batch", many, _described(only, "batch_"))
        found.add_post(PREDICT, "predict", "Have a model answer a request.", _described(all_messages, ""))
        found.add_post(
            f"{PREDICT}/batch",
            "predict_batch",
            "Have a model answer each of many requests; one that is refused carries its own error.",
            _described(all_messages, "batch_"),
        )
        return found


def _described(models: Mapping[str, Messages], kind: str) -> dict[str, Any]:
    """Requests and answers of one of these models."""
    examples = {name: each.examples() for name, each in models.items()}
    return {
        "tags": ["predictions"],
        "parameters": asking([each.model for each in models.values()]),
        **request_and_answer(examples, f"{kind}request", f"{kind}response", "What the model wrote"),
    }


def asking(models: Iterable[Model]) -> list[dict[str, Any]]:
    """What a query may ask of one of these models."""
    searching = [N_BEST_DESCRIBED] if any(each.search for each in models) else []
    return [VERSION_DESCRIBED, *searching, MIN_CONFIDENCE_DESCRIBED, TIMEOUT_DESCRIBED]


def request_and_answer(
    models: Mapping[str, Mapping[str, Any]], request: str, response: str, description: str
) -> dict[str, Any]:
    """What a route takes and gives, by the names of its schemas. `models` says of each model which examples it has."""
    return {
        "requestBody": {"required": True, "content": {JSON: _content(models, request)}},
        "responses": {
            200: {"description": description, "content": {JSON: _content(models, response)}},
            **documented(*problem_types.OF_MODELS, ProblemType.INVALID_BODY),
        },
    }


def _content(models: Mapping[str, Mapping[str, Any]], what: str) -> dict[str, Any]:
    refs = [ref(f"{name}_{what}") for name in models]
    examples = {name: {"value": each[what]} for name, each in models.items() if what in each}
    return {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs} if refs else {}, "examples": examples}
