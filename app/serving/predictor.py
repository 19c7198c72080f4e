"""A loaded model behind a queue: what the routes ask for predictions. Knows nothing of HTTP.

A small network runs on the event loop. A large one, and every search, runs on a thread that the model has for itself,
and only that: to read and to write, a batch takes the loop less than a millisecond. ONNX Runtime lets other threads run
meanwhile. Explanations have another thread, so that no prediction waits for one. Threads end when the model is let go
of.

A deadline, `until`, is in seconds of `time.monotonic`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from app.serving.batching import AwaitingBatcher, Batcher, Bound
from app.serving.counters import ModelMeasures
from app.serving.models import GROUP, MOST_ALTERNATIVES, Answer, Explanation, Model, Prediction
from seq2seq.problem import Oracle, RuleBroken
from seq2seq.vocabulary import FloatArray, Symbols

logger = logging.getLogger("app")

Computed = TypeVar("Computed")
Made = TypeVar("Made")
EachAnswer = Coroutine[Any, Any, list[Answer | RuleBroken]]
Asked = tuple[Symbols, Sequence[int], bool]
"""What is to be explained: a source, the ids with which the answer begins, and whether to search for alternatives."""


class NoSearch(Exception):
    """A model that gives one answer only. The message names it."""


class NoExplanation(Exception):
    """A model whose bundle does not show how it comes to an answer. The message names it."""


class Predictor:
    """Answers requests of one model, at most `max_batch_size` in a run, while no more than `max_queue` wait."""

    def __init__(
        self, model: Model, max_batch_size: int, max_queue: float = inf, measures: ModelMeasures | None = None
    ):
        self.model = model
        self.reference = model.reference
        self.measures = measures or ModelMeasures()
        self.measures.is_judged = isinstance(model.problem, Oracle)
        bound = Bound(max_queue)
        work = _Work(model, self.measures)
        self._batcher: Batcher[Symbols, Prediction] | AwaitingBatcher[Symbols, Prediction]
        if model.is_large:
            logger.info("%s version %s is large: it runs on a thread of its own", *astuple(self.reference))
            self._batcher = AwaitingBatcher(work.predict_beside, max_batch_size, bound, self.measures)
        else:
            self._batcher = Batcher(work.predict, max_batch_size, bound, self.measures)
        self._searcher: AwaitingBatcher[Symbols, Prediction] | None = None
        if model.search is not None:
            size = max(1, max_batch_size // MOST_ALTERNATIVES)
            self._searcher = AwaitingBatcher(work.search, size, bound, self.measures)
        self._explainer = AwaitingBatcher(work.explain, 1, bound, self.measures)
        self._embedder = AwaitingBatcher(work.embed, GROUP, bound, self.measures)
        self.admit = self._batcher.admit

    def depth(self) -> int:
        """How many items wait."""
        return len(self._batcher)

    async def predict(self, source: Symbols, until: float = inf) -> Prediction:
        """The prediction for what `problem.parse` gave. Raises `QueueFull`, `BatchFailed` or `DeadlinePassed`."""
        return await self._batcher.submit(source, until)

    def is_stuck(self, seconds: float) -> bool:
        """Whether a request has waited for longer than `seconds` for its turn."""
        queues = (self._batcher, self._searcher, self._explainer, self._embedder)
        return monotonic() - min(queue.oldest() for queue in queues if queue is not None) > seconds

    async def predict_all(self, sources: Sequence[Symbols], until: float = inf) -> list[Prediction]:
        """A prediction for each of what `problem.parse` gave, in order. Raises what `predict` does."""
        if len(sources) == 1:
            return [await self._batcher.submit(sources[0], until)]  # 10 us less than a batch of one
        return await self._batcher.submit_all(sources, until)

    def predict_each(self, values: Sequence[object], until: float = inf) -> EachAnswer:
        """An answer, or the rule that was broken, for each value, in order. Raises what `predict` does."""
        return self._each(values, lambda sources: self.predict_all(sources, until))

    async def search_all(self, sources: Sequence[Symbols], most: int, until: float = inf) -> list[Prediction]:
        """The same, each with up to `most` alternatives. Raises `NoSearch` as well."""
        if self._searcher is None:
            raise self._no_search()
        found = await self._searcher.submit_all(sources, until)
        return [each._replace(alternatives=each.alternatives[:most]) for each in found]

    def search_each(self, values: Sequence[object], most: int, until: float = inf) -> EachAnswer:
        """The same as `predict_each`, with alternatives. Raises `NoSearch` as well."""
        return self._each(values, lambda sources: self.search_all(sources, most, until))

    def _no_search(self) -> NoSearch:
        return NoSearch(f"The model {self.reference.name} gives one answer only; leave n_best out.")

    async def explain(
        self, source: Symbols, prefix: Sequence[int] = (), most: int = 0, until: float = inf
    ) -> Explanation:
        """How the model comes to its answer, which begins with the ids of `prefix`, and up to `most` alternatives.

        Raises what `predict` does, `NoExplanation`, and `NoSearch` if alternatives are asked for.
        """
        if most and self._searcher is None:
            raise self._no_search()
        found = await self._explainer.submit((source, prefix, most > 0), until)
        if found is None:
            raise self._no_explanation()
        prediction = found.prediction
        return found._replace(prediction=prediction._replace(alternatives=prediction.alternatives[:most]))

    async def embed_all(self, sources: Sequence[Symbols], until: float = inf) -> list[FloatArray]:
        """What the encoder makes of each source (N,), in order. Raises what `predict` does, and `NoExplanation`."""
        found = await self._embedder.submit_all(sources, until)
        vectors = [each for each in found if each is not None]
        if len(vectors) < len(found):
            raise self._no_explanation()
        return vectors

    def embed_each(
        self, values: Sequence[object], until: float = inf
    ) -> Coroutine[Any, Any, list[tuple[Symbols, FloatArray] | RuleBroken]]:
        """The same, or the rule that was broken, for each value."""
        return self._each(values, lambda sources: self.embed_all(sources, until))

    def _no_explanation(self) -> NoExplanation:
        name, version = astuple(self.reference)
        return NoExplanation(
            f"Version {version} of {name} cannot be explained: its graphs do not give all that this needs. Renew the"
            " bundle with `python -m training renew`."
        )

    async def _each(
        self, values: Sequence[object], ask: Callable[[list[Symbols]], Awaitable[list[Computed]]]
    ) -> list[tuple[Symbols, Computed] | RuleBroken]:
        parse = self.model.problem.parse
        try:
            sources = [parse(value) for value in values]
        except RuleBroken:
            pass  # one at least; all are looked at anew
        else:
            del values  # which may be large, and answers may take long
            return [*zip(sources, await ask(sources), strict=True)]
        parsed = [self._parse(value) for value in values]
        del values
        found = iter(await ask([each for each in parsed if not isinstance(each, RuleBroken)]))
        return [source if isinstance(source, RuleBroken) else (source, next(found)) for source in parsed]

    def _parse(self, value: object) -> Symbols | RuleBroken:
        try:
            return self.model.problem.parse(value)
        except RuleBroken as broken:
            return broken


class _Work:
    """Runs a model's network on batches. Refers to no predictor, so that the thread ends with the last reference."""

    def __init__(self, model: Model, measures: ModelMeasures):
        self._model = model
        self._measures = measures
        self._truth = model.problem.truth if isinstance(model.problem, Oracle) else None
        reference = model.reference
        name = f"{reference.name}-{reference.version}"
        self._thread = ThreadPoolExecutor(1, name)  # starts when it is needed
        self._explaining = ThreadPoolExecutor(1, f"{name}-explaining")

    def predict(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """The model's predictions."""
        return self._judged(sources, self._model.predict(sources))

    async def predict_beside(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """The same on the thread, in groups of sources that are about as long."""
        model = self._model
        places = sorted(range(len(sources)), key=lambda place: len(sources[place]))
        groups = [places[start : start + GROUP] for start in range(0, len(places), GROUP)]
        encoded = [model.problem.encode([sources[place] for place in group]) for group in groups]
        decoded = await self._on_thread(lambda: [model.network.greedy(ids) for ids in encoded])
        found: dict[int, Prediction] = {}
        for group, each in zip(groups, decoded, strict=True):
            found.update(zip(group, model.predictions(each), strict=True))
        return self._judged(sources, [found[place] for place in range(len(sources))])

    async def search(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """The same with alternatives, on the thread."""
        model, search = self._model, self._model.search
        if search is None:
            raise NoSearch(model.reference.name)
        ids = model.problem.encode(sources)
        decoded, found = await self._on_thread(lambda: (model.network.greedy(ids), search(ids, MOST_ALTERNATIVES)))
        several = zip(model.predictions(decoded), model.alternatives(*found), strict=True)
        return self._judged(sources, [each._replace(alternatives=others) for each, others in several])

    async def explain(self, asked: Sequence[Asked]) -> list[Explanation | None]:
        """How the model comes to each answer; None if its bundle does not show that."""
        explain = self._model.explain

        def compute() -> list[Explanation | None]:
            return [explain(source, prefix, is_searched=is_searched) for source, prefix, is_searched in asked]

        found = await self._on_thread(compute, self._explaining)
        for (source, prefix, _), each in zip(asked, found, strict=True):
            if each is not None and not prefix:
                self._judged([source], [each.prediction])
        return found

    async def embed(self, sources: Sequence[Symbols]) -> list[FloatArray | None]:
        """What the encoder makes of each source; None if the model has no encoder apart."""
        model = self._model

        def compute() -> list[FloatArray | None]:
            tracer = model.tracer
            return [*tracer.embed(model.problem.encode(sources))] if tracer else [None] * len(sources)

        return await self._on_thread(compute, self._explaining)

    async def _on_thread(self, compute: Callable[[], Computed], thread: ThreadPoolExecutor | None = None) -> Computed:
        return await asyncio.get_running_loop().run_in_executor(thread or self._thread, compute)

    def _judged(self, sources: Sequence[Symbols], predictions: list[Prediction]) -> list[Prediction]:
        """The predictions as they are. Where the truth can be computed, they are counted by it."""
        if self._truth is None:
            return predictions
        truths = map(self._truth, sources)
        wrong = [place for place, truth in enumerate(truths) if predictions[place].values[0] != truth]
        self._measures.exact += len(predictions) - len(wrong)
        self._measures.wrong += len(wrong)
        name, version = self._model.reference.name, self._model.reference.version
        for place in wrong:
            logger.error("%s version %s answered %r with %r", name, version, sources[place], predictions[place].written)
        return predictions


class ForEachPredictor(Generic[Made]):
    """What is made of a model, once for each predictor: a model is too large to be looked up by."""

    def __init__(self, make: Callable[[Model], Made]):
        self._make = make
        self._made: WeakKeyDictionary[Predictor, Made] = WeakKeyDictionary()

    def __call__(self, predictor: Predictor) -> Made:
        made = self._made.get(predictor)
        if made is None:
            made = self._made[predictor] = self._make(predictor.model)
        return made
