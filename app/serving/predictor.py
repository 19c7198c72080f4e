"""A loaded model behind a batcher: what the routes ask for predictions. Knows nothing of HTTP.

A deadline, `until`, is in seconds of `time.monotonic`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf
from time import monotonic

from app.serving.batching import Batcher
from app.serving.counters import ModelMeasures
from app.serving.models import Answer, Model, Prediction
from seq2seq.problem import Oracle, RuleBroken
from seq2seq.vocabulary import Symbols

logger = logging.getLogger("app")


class Predictor:
    """Answers requests of one model, at most `max_batch_size` in a run, while no more than `max_queue` wait."""

    def __init__(
        self, model: Model, max_batch_size: int, max_queue: float = inf, measures: ModelMeasures | None = None
    ):
        self.model = model
        self.reference = model.reference
        self.measures = measures or ModelMeasures()
        self._truth = model.problem.truth if isinstance(model.problem, Oracle) else None
        self.measures.is_judged = self._truth is not None
        self._batcher = Batcher(self._run, max_batch_size, max_queue, self.measures)
        self.admit = self._batcher.admit

    def _run(self, sources: Sequence[Symbols]) -> list[Prediction]:
        """The model's predictions. Where the truth can be computed, they are counted by it, and given as they are."""
        predictions = self.model.predict(sources)
        if self._truth is None:
            return predictions
        truths = map(self._truth, sources)
        wrong = [place for place, truth in enumerate(truths) if predictions[place].values[0] != truth]
        self.measures.exact += len(predictions) - len(wrong)
        self.measures.wrong += len(wrong)
        name, version = self.reference.name, self.reference.version
        for place in wrong:
            logger.error("%s version %s answered %r with %r", name, version, sources[place], predictions[place].written)
        return predictions

    def depth(self) -> int:
        """How many items wait."""
        return len(self._batcher)

    async def predict(self, source: Symbols, until: float = inf) -> Prediction:
        """The prediction for what `problem.parse` gave. Raises `QueueFull`, `BatchFailed` or `DeadlinePassed`."""
        return await self._batcher.submit(source, until)

    def is_stuck(self, seconds: float) -> bool:
        """Whether a request has waited for longer than `seconds` for its turn."""
        return monotonic() - self._batcher.oldest() > seconds

    async def predict_all(self, sources: Sequence[Symbols], until: float = inf) -> list[Prediction]:
        """A prediction for each of what `problem.parse` gave, in order. Raises what `predict` does."""
        if len(sources) == 1:
            return [await self._batcher.submit(sources[0], until)]  # 10 us less than a batch of one
        return await self._batcher.submit_all(sources, until)

    async def predict_each(self, values: Sequence[object], until: float = inf) -> list[Answer | RuleBroken]:
        """An answer, or the rule that was broken, for each value, in order. Raises what `predict` does."""
        parsed = [self._parse(value) for value in values]
        predictions = iter(await self.predict_all([each for each in parsed if not isinstance(each, RuleBroken)], until))
        return [source if isinstance(source, RuleBroken) else (source, next(predictions)) for source in parsed]

    def _parse(self, value: object) -> Symbols | RuleBroken:
        try:
            return self.model.problem.parse(value)
        except RuleBroken as broken:
            return broken
