"""The versions of one model that are served: one answers by default, a canary takes its share, each has its number.

Knows neither where models come from nor HTTP.
"""

from __future__ import annotations

from random import Random

from app.serving.counters import ModelMeasures
from app.serving.folders import is_version
from app.serving.predictor import Predictor
from app.settings import Canary


class UnknownVersion(Exception):
    """This version is not served. The message says which are."""


class NotLoaded(Exception):
    """No version of a model is served."""


class ServedModel:
    """The versions of one model that are served, all of the same problem; none until one is loaded."""

    def __init__(self, name: str, canary: Canary | None = None):
        self.name = name
        self.predictors: dict[int, Predictor] = {}
        self.measures: dict[int, ModelMeasures] = {}  # of every version that was ever served
        self.default: int | None = None
        self._answers: Predictor | None = None
        self._canary = canary
        self._random = Random()  # noqa: S311  which requests try a new version is no secret

    def hold(self, predictors: dict[int, Predictor], default: int | None) -> None:
        """Serve these from now on; `default` answers requests that name no version."""
        self.predictors = predictors
        self.default = default
        self._answers = None if default is None else predictors[default]

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
        if self._canary is not None and self._random.random() < self._canary.share:
            return self.predictors.get(self._canary.version, self._answers)
        return self._answers
