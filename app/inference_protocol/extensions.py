"""Triton's extensions to the Open Inference Protocol: a model's configuration, and its statistics.

Both say what this service knows, in Triton's JSON. Knows nothing of routes.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from app.http.schemas import MOST_ITEMS
from app.inference_protocol.messages import ProtocolMessage
from app.inference_protocol.tensors import Tensor, interface
from app.serving.counters import Histogram
from app.serving.predictor import Predictor

DATA_TYPES = {"BYTES": "TYPE_STRING", "INT64": "TYPE_INT64", "FP64": "TYPE_FP64"}
NANOSECONDS = 1_000_000_000


class TensorConfig(ProtocolMessage):
    name: str
    data_type: str
    dims: list[int] = Field(description="The shape of one item")


class SpecificVersions(ProtocolMessage):
    versions: list[int]


class VersionPolicy(ProtocolMessage):
    specific: SpecificVersions


class ModelConfig(ProtocolMessage):
    """What a model takes and gives, and how it is run."""

    name: str
    platform: str
    backend: str
    version_policy: VersionPolicy
    max_batch_size: int = Field(description="How many items a request may hold")
    input: list[TensorConfig]
    output: list[TensorConfig]
    dynamic_batching: dict[str, int] = Field(description="Requests are batched without waiting for others")


class Duration(ProtocolMessage):
    count: int
    ns: int


class InferenceStatistics(ProtocolMessage):
    """Counts and times of items. `success` adds up `queue` and `compute_infer`; `fail` has no times."""

    success: Duration
    fail: Duration = Field(description="Items that were refused, came too late, or were given up by their client")
    queue: Duration
    compute_input: Duration
    compute_infer: Duration = Field(description="The time of each batch counts once, whatever its size")
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class ModelStatistics(ProtocolMessage):
    name: str
    version: str
    inference_count: int = Field(description="Items that the model answered")
    execution_count: int = Field(description="Batches that it ran")
    inference_stats: InferenceStatistics
    batch_stats: list[Duration] = Field(description="Empty: times are not kept for each batch size")


class Statistics(ProtocolMessage):
    model_stats: list[ModelStatistics]


def configuration(predictor: Predictor, versions: Sequence[int], platform: str) -> ModelConfig:
    """The configuration of the model that a predictor runs. `versions` are all that are served."""
    tensors = interface(predictor.model.problem)
    return ModelConfig(
        name=predictor.reference.name,
        platform=platform,
        backend=platform.partition("_")[0],
        version_policy=VersionPolicy(specific=SpecificVersions(versions=list(versions))),
        max_batch_size=MOST_ITEMS,
        input=[_tensor(each) for each in tensors.inputs],
        output=[_tensor(output) for output in tensors.outputs],
        dynamic_batching={"max_queue_delay_microseconds": 0},
    )


def statistics(predictor: Predictor) -> ModelStatistics:
    """What a predictor has measured since the process began."""
    measures = predictor.measures
    answered = measures.answered
    failed = round(measures.sizes.total) - answered + sum(measures.dropped.values())
    queue, run = _duration(measures.waited), _duration(measures.ran)
    none = Duration(count=0, ns=0)
    return ModelStatistics(
        name=predictor.reference.name,
        version=predictor.reference.version,
        inference_count=answered,
        execution_count=run.count,
        inference_stats=InferenceStatistics(
            success=Duration(count=answered, ns=queue.ns + run.ns),
            fail=Duration(count=failed, ns=0),
            queue=queue,
            compute_input=none,
            compute_infer=Duration(count=answered, ns=run.ns),
            compute_output=none,
            cache_hit=none,
            cache_miss=none,
        ),
        batch_stats=[],
    )


def _tensor(tensor: Tensor) -> TensorConfig:
    return TensorConfig(name=tensor.name, data_type=DATA_TYPES[tensor.datatype], dims=list(tensor.shape[1:]))


def _duration(histogram: Histogram) -> Duration:
    return Duration(count=sum(histogram.counts), ns=round(histogram.total * NANOSECONDS))
