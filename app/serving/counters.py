"""Counts and times as plain numbers, since every request pays for keeping them. Knows nothing of who reads them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """How many values were observed up to each of some bounds, and what they add up to."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]):
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last one is of values above every bound
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_falling(self, values: Sequence[float]) -> None:
        """Observe many values in falling order, at little more than the cost of one."""
        if not values:
            return
        most = bisect_left(self.bounds, values[0])
        if most == bisect_left(self.bounds, values[-1]):
            self.counts[most] += len(values)
        else:
            for value in values:
                self.counts[bisect_left(self.bounds, value)] += 1
        self.total += sum(values)


class QueueMeasures:
    """What becomes of the items of one queue.

    waited   seconds that each item waited for its turn
    ran      seconds that each batch took
    sizes    how many items each batch held
    answered how many items were answered
    dropped  items that were not run, by reason
    """

    def __init__(self) -> None:
        self.waited = Histogram(SECONDS)
        self.ran = Histogram(SECONDS)
        self.sizes = Histogram(SIZES)
        self.answered = 0
        self.dropped: Counter[str] = Counter()


class ModelMeasures(QueueMeasures):
    """The measures of a model's version, and how many of its answers were right. They outlive reloads."""

    def __init__(self) -> None:
        super().__init__()
        self.is_judged = False  # whether the truth can be computed
        self.exact = 0
        self.wrong = 0


class RouteMeasures:
    """The requests of one route: how many by status, and the seconds that they took."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds = Histogram(SECONDS)

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.seconds.observe(seconds)


Log = Callable[[MutableMapping[str, Any], str, int, float], None]
"""What is told of a request that was answered: its scope, route and status, and the seconds that it took."""


class Traffic:
    """The requests of every route, by its path as the service declares it. `log` is told of each of them."""

    def __init__(self, log: Log | None = None) -> None:
        self.routes: defaultdict[str, RouteMeasures] = defaultdict(RouteMeasures)
        self._log = log

    def note(self, scope: MutableMapping[str, Any], route: str, status: int, seconds: float) -> None:
        self.routes[route].note(status, seconds)
        if self._log is not None:
            self._log(scope, route, status, seconds)
