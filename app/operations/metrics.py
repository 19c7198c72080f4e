"""What Prometheus scrapes: the service's measures as metric families, added up over all workers.

A family's samples are plain data, so that one worker can read what another has written down. Knows nothing of HTTP.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from typing import Any, Literal

from app import VERSION
from app.operations import streams
from app.serving.counters import Histogram, Traffic
from app.serving.repository import Repository

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]
Rule = Literal["sum", "max", "min"]
RULES: dict[Rule, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max, "min": min}


@dataclass
class Family:
    """One metric: what it is called, what it means, and a value for each combination of labels.

    A value is a number or, for a histogram, its bounds, its counts between them, and the sum of what was observed.
    Of several workers' numbers, the rule makes one.
    """

    kind: Kind
    name: str
    about: str
    labels: Labels
    samples: dict[Labels, Any] = field(default_factory=dict)
    rule: Rule = "sum"

    def add(self, labels: Labels, value: float | Histogram) -> None:
        """Add a sample to those with the same labels."""
        self._add(labels, _as_data(value))

    def merge(self, other: Family) -> None:
        """Add what another worker has counted; of a gauge, what it shows."""
        for labels, value in other.samples.items():
            self._add(labels, value)

    def _add(self, labels: Labels, value: Any) -> None:
        known = self.samples.get(labels)
        if known is None:
            self.samples[labels] = value
        elif self.kind == "histogram":
            bounds, counts, total = known
            sums = [mine + theirs for mine, theirs in zip(counts, value[1], strict=True)]
            self.samples[labels] = [bounds, sums, total + value[2]]
        else:
            self.samples[labels] = RULES[self.rule]((known, value))

    def as_data(self) -> dict[str, Any]:
        """The family as JSON has it."""
        return {**vars(self), "samples": [[list(labels), value] for labels, value in self.samples.items()]}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Family:
        samples = {tuple(labels): value for labels, value in data["samples"]}
        return cls(**{**data, "labels": tuple(data["labels"]), "samples": samples})


def _as_data(value: float | Histogram) -> Any:
    if isinstance(value, Histogram):
        return [list(value.bounds), list(value.counts), value.total]
    return value


def collect(traffic: Traffic, repository: Repository, *, is_ready: bool) -> list[Family]:
    """The measures of this process."""
    return [*_of_traffic(traffic), *_of_models(repository), _ready(is_ready), *_of_process()]


def _of_traffic(traffic: Traffic) -> Iterator[Family]:
    requests = Family("counter", "service_requests", "Requests answered, by route and status.", ("route", "status"))
    seconds = Family("histogram", "service_request_seconds", "Seconds from request to answer.", ("route",))
    for route, measures in traffic.routes.items():
        for status, count in measures.statuses.items():
            requests.add((route, str(status)), count)
        seconds.add((route,), measures.seconds)
    yield from (requests, seconds)


def _of_models(repository: Repository) -> Iterator[Family]:
    which = ("model", "version")
    waited = Family("histogram", "service_queue_seconds", "Seconds that an item waited for its turn.", which)
    ran = Family("histogram", "service_model_seconds", "Seconds that the model took for a batch.", which)
    sizes = Family("histogram", "service_batch_size", "Items that a batch held.", which)
    depth = Family("gauge", "service_queue_depth", "Items that wait for their turn.", which)
    dropped = Family(
        "counter", "service_dropped", "Items not run: the queue was full, too late, client gone.", (*which, "reason")
    )
    answers = Family(
        "counter", "service_answers", "Answers held against the truth, which is known: exact or wrong.", (*which, "is")
    )
    info = Family(
        "gauge",
        "service_model_info",
        "1 for each version that is served; `default` is whether it answers by default.",
        (*which, "family", "parameters", "default"),
        rule="max",
    )
    loads = Family("counter", "service_model_loads", "Bundles loaded and refused.", ("model", "outcome"))
    for name, served in repository.items():
        for version, measures in served.measures.items():
            labels = (name, str(version))
            waited.add(labels, measures.waited)
            ran.add(labels, measures.ran)
            sizes.add(labels, measures.sizes)
            for reason, count in measures.dropped.items():
                dropped.add((*labels, reason), count)
            answers.add((*labels, "exact"), measures.exact)
            answers.add((*labels, "wrong"), measures.wrong)
        for version, predictor in served.predictors.items():
            network = predictor.model.manifest.network
            is_default = "true" if version == served.default else "false"
            depth.add((name, str(version)), predictor.depth())
            info.add((name, str(version), network.family, str(network.parameters), is_default), 1)
    for name in {*repository.loaded, *repository.refused}:
        loads.add((name, "loaded"), repository.loaded[name])
        loads.add((name, "refused"), repository.refused[name])
    yield from (waited, ran, sizes, depth, dropped, answers, info, loads)


def _ready(is_ready: bool) -> Family:
    return Family("gauge", "service_ready_workers", "Workers that are ready.", (), {(): int(is_ready)})


def _of_process() -> Iterator[Family]:
    """What the process is and uses. It reads /proc, which no disk or network slows down."""
    dropped = Family("counter", "service_log_lines_dropped", "Lines of the log that could not be written.", ())
    dropped.add((), streams.dropped_lines())
    build = Family("gauge", "service_build_info", "1 for each build that runs.", tuple(_build()), rule="max")
    build.add(tuple(_build().values()), 1)
    yield from (dropped, build)
    for metric in _process_collector().collect():
        rule: Rule = "min" if metric.name == "process_start_time_seconds" else "sum"
        yield Family(metric.type, metric.name, metric.documentation, (), {(): metric.samples[0].value}, rule)


@cache
def _build() -> dict[str, str]:
    return {"version": VERSION, "python": platform.python_version(), "onnxruntime": metadata.version("onnxruntime")}


@cache
def _process_collector() -> Any:
    from prometheus_client import ProcessCollector  # when first asked, and not at every start

    return ProcessCollector(registry=None)


def total(own: Iterable[Family], others: Iterable[Family]) -> list[Family]:
    """The families of all workers as one."""
    merged: dict[str, Family] = {}
    for family in (*own, *others):
        if family.name in merged:
            merged[family.name].merge(family)
        else:
            merged[family.name] = replace(family, samples=dict(family.samples))
    return list(merged.values())


def text(families: Iterable[Family]) -> bytes:
    """Families as Prometheus reads them."""
    from prometheus_client import CollectorRegistry, generate_latest  # when first scraped, and not at every start

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(families))
    return generate_latest(registry)


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Collector:
    """Hands families over as prometheus_client has them."""

    def __init__(self, families: Iterable[Family]):
        self._families = families

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for family in self._families:
            if family.kind == "histogram":
                histogram = HistogramMetricFamily(family.name, family.about, labels=family.labels)
                for labels, (bounds, counts, total) in family.samples.items():
                    histogram.add_metric(labels, buckets=_cumulative(bounds, counts), sum_value=total)
                yield histogram
                continue
            made = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}[family.kind]
            metric = made(family.name, family.about, labels=family.labels)
            for labels, value in family.samples.items():
                metric.add_metric(labels, value)
            yield metric


def _cumulative(bounds: list[float], counts: list[int]) -> list[tuple[str, float]]:
    below = 0
    buckets = []
    for bound, count in zip([*map(str, map(float, bounds)), "+Inf"], counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return buckets
