"""A Ray cluster of two nodes on this machine, by itself for tests/reliability/test_reliability_study.py.

Runs in Ray's own environment, as a process that says where the cluster is, as a line of JSON. A line of its standard
input kills the second node with all that runs there. Ends when its input does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster

CPUS_A_NODE = 1
OBJECT_STORE_BYTES = 80 * 1024 * 1024


@contextmanager
def two_nodes() -> Iterator[tuple[Cluster, Any]]:
    """A cluster, and its second node. Both are gone at the end."""
    node: dict[str, Any] = {"num_cpus": CPUS_A_NODE, "object_store_memory": OBJECT_STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        yield cluster, cluster.add_node(**node)
    finally:
        ray.shutdown()
        cluster.shutdown()


def tell(what: Any) -> None:
    """To whoever started this. Ray writes to the standard output as it likes, so a word tells our lines from its."""
    print("cluster:", json.dumps(what), flush=True)  # noqa: T201


def main() -> None:
    with two_nodes() as (cluster, second):
        tell({"address": cluster.address})
        for _ in sys.stdin:
            cluster.remove_node(second, allow_graceful=False)
            tell({})


if __name__ == "__main__":
    main()
