"""The versions of one model that are served: one answers by default, a canary takes its share, each has its number.

Knows neither where models come from nor HTTP.
"""

from __future__ import annotations

import logging
from random import Random

from app.serving.counters import ModelMeasures
from app.serving.folders import is_version
from app.serving.predictor import Predictor
from app.settings import Canary

logger = logging.getLogger("app")


class UnknownVersion(Exception):
    """This version is not served. The message says which are."""


class NotLoaded(Exception):
    """No version of a model is served."""


class ServedModel:
    """The served versions of one model; none until one is loaded. A newer one accepts all that older ones do."""

    def __init__(self, name: str, canary: Canary | None = None):
        self.name = name
        self.predictors: dict[int, Predictor] = {}
        self.measures: dict[int, ModelMeasures] = {}  # of every version that was ever served
        self.default: int | None = None
        self._answers: Predictor | None = None
        self._canary = canary
        self._tries: Predictor | None = None
        self._random = Random()  # noqa: S311  which requests try a new version is no secret

    def hold(self, predictors: dict[int, Predictor], default: int | None) -> None:
        """Serve these from now on; `default` answers requests that name no version.

        A canary that would refuse what the default accepts gets no requests.
        """
        self.predictors = predictors
        self.default = default
        self._answers = None if default is None else predictors[default]
        self._tries = None if self._canary is None else predictors.get(self._canary.version)
        if self._tries and self._answers and not self._tries.model.problem.covers(self._answers.model.problem):
            version = self._tries.reference.version
            logger.warning("version %s of %s gets no requests as a canary: it accepts fewer", version, self.name)
            self._tries = None

    def pick(self, version: str | None = None) -> Predictor:
        """The version that is asked for, or the one that answers by default. Raises `UnknownVersion` or `NotLoaded`."""
        if self._answers is None:
            raise NotLoaded(f"No version of {self.name} is loaded.")
        if version is not None:
            number = int(version) if is_version(version) else 0
            if number not in self.predictors:
                known = ", ".join(map(str, sorted(self.predictors)))
                raise UnknownVersion(f"There is no version {version:.20} of {self.name}; served: {known}.")
            return self.predictors[number]
        if self._tries is not None and self._canary is not None and self._random.random() < self._canary.share:
            return self._tries
        return self._answers
