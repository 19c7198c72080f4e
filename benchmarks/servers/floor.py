"""The floor: the service itself, its predictor replaced by a constant, so that only the model call is missing.

Same command line, app, routes, schemas, validation and middleware; what differs is this class.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import inf

from app.__main__ import main
from app.serving.counters import ModelMeasures
from app.serving.models import Answer, Model, Prediction
from app.serving.predictor import Predictor
from seq2seq.problem import RuleBroken
from seq2seq.vocabulary import Symbols


class Constant(Predictor):
    """Gives the first golden example's answer to everything, at once."""

    def __init__(
        self, model: Model, max_batch_size: int, max_queue: float = inf, measures: ModelMeasures | None = None
    ):
        super().__init__(model, max_batch_size, max_queue, measures)
        self._constant = model.examples[0][1]

    async def predict(self, source: Symbols, until: float = inf) -> Prediction:  # noqa: ARG002
        return self._constant

    async def predict_each(self, values: Sequence[object], until: float = inf) -> list[Answer | RuleBroken]:  # noqa: ARG002
        sources = [self._parse(value) for value in values]
        return [source if isinstance(source, RuleBroken) else (source, self._constant) for source in sources]


if __name__ == "__main__":
    sys.exit(main(predictor=Constant))
