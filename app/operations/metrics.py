"""What Prometheus scrapes: the plain counters of all workers, added up, as prometheus_client's metric families.

A worker's samples are plain data, so that another worker can read what it has written down. Knows no HTTP.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app import VERSION
from app.operations import streams
from app.serving.counters import SECONDS, SIZES, Histogram, Traffic
from app.serving.repository import Repository

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Samples = dict[str, dict[Labels, list[float]]]
"""Numbers by metric and labels: one number or, of a histogram, its counts and the sum of what was observed."""

BUILD = {"version": VERSION, "python": platform.python_version(), "onnxruntime": metadata.version("onnxruntime")}
PROCESS = ProcessCollector(registry=None)
"""What the process uses. It reads /proc, which no disk or network slows down."""


Kind = type[CounterMetricFamily] | type[GaugeMetricFamily] | type[HistogramMetricFamily]


class Declared(NamedTuple):
    """A metric: its kind, what it means, its labels, and how numbers of several workers become one."""

    family: Kind
    about: str
    labels: Labels = ()
    bounds: Sequence[float] = ()
    combine: Callable[[Iterable[float]], float] = sum


MODEL = ("model", "version")
METRICS = {
    "service_requests": Declared(CounterMetricFamily, "Requests answered, by route and status.", ("route", "status")),
    "service_request_seconds": Declared(
        HistogramMetricFamily, "Seconds from request to answer.", ("route",), bounds=SECONDS
    ),
    "service_queue_seconds": Declared(
        HistogramMetricFamily, "Seconds that an item waited for its turn.", MODEL, bounds=SECONDS
    ),
    "service_model_seconds": Declared(
        HistogramMetricFamily, "Seconds that the model took for a batch.", MODEL, bounds=SECONDS
    ),
    "service_batch_size": Declared(HistogramMetricFamily, "Items that a batch held.", MODEL, bounds=SIZES),
    "service_queue_depth": Declared(GaugeMetricFamily, "Items that wait for their turn.", MODEL),
    "service_dropped": Declared(
        CounterMetricFamily, "Items not run: the queue was full, too late, client gone.", (*MODEL, "reason")
    ),
    "service_answers": Declared(
        CounterMetricFamily, "Answers held against the truth, where it can be computed: exact or wrong.", (*MODEL, "is")
    ),
    "service_model_info": Declared(
        GaugeMetricFamily,
        "1 for each version that is served; `default` is whether it answers by default.",
        (*MODEL, "family", "parameters", "default"),
        combine=max,
    ),
    "service_model_loads": Declared(CounterMetricFamily, "Bundles loaded and refused.", ("model", "outcome")),
    "service_ready_workers": Declared(GaugeMetricFamily, "Workers that are ready."),
    "service_log_lines_dropped": Declared(CounterMetricFamily, "Lines of the log that could not be written."),
    "service_measures_unshared": Declared(CounterMetricFamily, "Times that measures were too large to share."),
    "service_build_info": Declared(GaugeMetricFamily, "1 for each build that runs.", tuple(BUILD), combine=max),
}
METRICS |= {
    used.name: Declared(CounterMetricFamily if used.type == "counter" else GaugeMetricFamily, used.documentation)
    for used in PROCESS.collect()
}
if (start := "process_start_time_seconds") in METRICS:
    METRICS[start] = METRICS[start]._replace(combine=min)


def collect(traffic: Traffic, repository: Repository, *, is_ready: bool) -> Samples:
    """The samples of this process."""
    samples: Samples = defaultdict(dict)
    for route, requests in traffic.routes.items():
        for status, count in requests.statuses.items():
            samples["service_requests"][route, str(status)] = [count]
        samples["service_request_seconds"][(route,)] = _numbers(requests.seconds)
    for name, served in repository.items():
        for version, measures in served.measures.items():
            model = (name, str(version))
            samples["service_queue_seconds"][model] = _numbers(measures.waited)
            samples["service_model_seconds"][model] = _numbers(measures.ran)
            samples["service_batch_size"][model] = _numbers(measures.sizes)
            for reason, count in measures.dropped.items():
                samples["service_dropped"][*model, reason] = [count]
            if measures.is_judged:
                samples["service_answers"][*model, "exact"] = [measures.exact]
                samples["service_answers"][*model, "wrong"] = [measures.wrong]
        for version, predictor in served.predictors.items():
            network = predictor.model.manifest.network
            is_default = "true" if version == served.default else "false"
            info = (name, str(version), network.family, str(network.parameters), is_default)
            samples["service_queue_depth"][name, str(version)] = [predictor.depth()]
            samples["service_model_info"][info] = [1]
    for name in {*repository.loaded, *repository.refused}:
        samples["service_model_loads"][name, "loaded"] = [repository.loaded[name]]
        samples["service_model_loads"][name, "refused"] = [repository.refused[name]]
    samples["service_ready_workers"][()] = [int(is_ready)]
    samples["service_log_lines_dropped"][()] = [streams.dropped_lines()]
    samples["service_build_info"][tuple(BUILD.values())] = [1]
    for used in PROCESS.collect():
        samples[used.name][()] = [used.samples[0].value]
    return samples


def _numbers(histogram: Histogram) -> list[float]:
    return [*histogram.counts, histogram.total]


def total(parts: Iterable[Samples]) -> Samples:
    """The samples of several workers as one."""
    merged: Samples = {}
    for part in parts:
        for name, samples in part.items():
            known = merged.setdefault(name, {})
            for labels, numbers in samples.items():
                before = known.get(labels)
                combine = METRICS[name].combine
                known[labels] = [combine(pair) for pair in zip(before, numbers, strict=True)] if before else numbers
    return merged


def families(samples: Samples) -> Iterator[Metric]:
    """Samples as prometheus_client has them."""
    for name, (family, about, label_names, bounds, _) in METRICS.items():
        metric = family(name, about, labels=label_names)
        for labels, numbers in samples.get(name, {}).items():
            if isinstance(metric, HistogramMetricFamily):
                metric.add_metric(labels, _buckets(bounds, numbers[:-1]), numbers[-1])
            else:
                metric.add_metric(labels, numbers[0])
        yield metric


def _buckets(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """How many values were observed up to each bound."""
    return list(zip([*map(str, map(float, bounds)), "+Inf"], accumulate(counts), strict=True))


def text(families: Iterable[Metric]) -> bytes:
    """Families as Prometheus reads them."""
    return generate_latest(_Given(families))


class _Given(Collector):
    def __init__(self, families: Iterable[Metric]):
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
