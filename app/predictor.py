"""A loaded model behind a batcher: what the routes ask for predictions. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.batcher import Batcher
from app.registry import Answer, Model, Prediction
from seq2seq.problem import RuleBroken
from seq2seq.vocabulary import Symbols


class Predictor:
    """Answers requests of one model, at most `max_batch_size` in a run."""

    def __init__(self, model: Model, max_batch_size: int):
        self.model = model
        self._batcher = Batcher(model.predict, max_batch_size)

    async def predict(self, source: Symbols) -> Prediction:
        """The prediction for what `problem.parse` gave."""
        return await self._batcher.submit(source)

    async def predict_each(self, values: Sequence[object]) -> list[Answer | RuleBroken]:
        """An answer, or the rule that was broken, for each value, in order.

        Goes to the model a run at a time, so that a single request waits for one run at most.
        """
        results: list[Answer | RuleBroken] = []
        for start in range(0, len(values), self._batcher.max_size):
            results += await self._predict_chunk(values[start : start + self._batcher.max_size])
        return results

    async def _predict_chunk(self, values: Sequence[object]) -> list[Answer | RuleBroken]:
        parsed = [self._parse(value) for value in values]
        sources = [source for source in parsed if not isinstance(source, RuleBroken)]
        predictions = iter(await asyncio.gather(*map(self._batcher.submit, sources)))
        return [source if isinstance(source, RuleBroken) else (source, next(predictions)) for source in parsed]

    def _parse(self, value: object) -> Symbols | RuleBroken:
        try:
            return self.model.problem.parse(value)
        except RuleBroken as broken:
            return broken
