"""A loaded model behind a batcher: what the routes ask for predictions. Knows nothing of HTTP.

A request's deadline reaches the batcher by a context variable, so that nothing between has to hand it on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from math import inf
from time import monotonic

from app.serving.batching import Batcher
from app.serving.counters import ModelMeasures
from app.serving.models import Answer, Model, Prediction
from seq2seq.problem import RuleBroken
from seq2seq.vocabulary import Symbols

deadline: ContextVar[float] = ContextVar("deadline", default=inf)
"""When the request that runs is no longer worth answering, in seconds of `time.monotonic`."""


logger = logging.getLogger("app")


class Predictor:
    """Answers requests of one model, at most `max_batch_size` in a run, while no more than `max_queue` wait."""

    def __init__(
        self, model: Model, max_batch_size: int, max_queue: float = inf, measures: ModelMeasures | None = None
    ):
        self.model = model
        self.reference = model.reference
        self.measures = measures or ModelMeasures()
        self._truth = model.problem.truth
        self._batcher = Batcher(self._run, max_batch_size, max_queue, self.measures)
        self.admit = self._batcher.admit

    def _run(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """The model's predictions. They are held against the truth to be counted, and given as they are."""
        predictions = self.model.predict(sources)
        truths = map(self._truth, sources)
        wrong = [place for place, truth in enumerate(truths) if predictions[place].value != truth]
        self.measures.exact += len(predictions) - len(wrong)
        if wrong:
            self._note_wrong([(sources[place], predictions[place]) for place in wrong])
        return predictions

    def _note_wrong(self, answers: Sequence[Answer]) -> None:
        self.measures.wrong += len(answers)
        for source, prediction in answers:
            name, version = self.reference.name, self.reference.version
            logger.error("%s version %s answered %r with %r", name, version, source, prediction.written)

    def depth(self) -> int:
        """How many items wait."""
        return len(self._batcher)

    async def predict(self, source: Symbols) -> Prediction:
        """The prediction for what `problem.parse` gave. Raises `QueueFull`, `BatchFailed` or `DeadlinePassed`."""
        return await self._batcher.submit(source, deadline.get())

    def is_stuck(self, seconds: float) -> bool:
        """Whether a request has waited for longer than `seconds` for its turn."""
        return monotonic() - self._batcher.oldest() > seconds

    async def predict_all(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """A prediction for each of what `problem.parse` gave, in order. Raises what `predict` does."""
        return await self._batcher.submit_all(sources, deadline.get())

    async def predict_each(self, values: Sequence[object]) -> list[Answer | RuleBroken]:
        """An answer, or the rule that was broken, for each value, in order. Raises what `predict` does."""
        parsed = [self._parse(value) for value in values]
        predictions = iter(await self.predict_all([each for each in parsed if not isinstance(each, RuleBroken)]))
        return [source if isinstance(source, RuleBroken) else (source, next(predictions)) for source in parsed]

    def _parse(self, value: object) -> Symbols | RuleBroken:
        try:
            return self.model.problem.parse(value)
        except RuleBroken as broken:
            return broken
