"""A Ray cluster of two nodes on this machine with the service on it, for tests/reliability/test_reliability_ray.py.

Runs in Ray's own environment, as a process that does what the lines of its standard input say and answers each by a
line of JSON: `replicas` tells which there are, `kill` kills the first and waits until another has taken its place.
Ends when its input does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray import serve
from ray_nodes import tell, two_nodes
from service import free_port

from deploy.ray_serve import Arguments, build

ARGUMENTS = Arguments(min_replicas=2, max_replicas=4, cpus=0.5, target_ongoing_requests=4)
NAMESPACE = "serve"
PREFIX = "SERVE_REPLICA::"
POLL_S = 0.05


@dataclass(frozen=True)
class Replica:
    """A process that serves."""

    name: str
    pid: int
    node: str


def main() -> None:
    with two_nodes() as (cluster, _):
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        port = free_port()
        # One proxy, since two on one machine would want the same port.
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(ARGUMENTS))
        tell({"port": port})
        for line in sys.stdin:
            tell(kill() if line.strip() == "kill" else [asdict(replica) for replica in replicas()])
        serve.shutdown()


def replicas() -> list[Replica]:
    """Those that run; one that starts is waited for."""
    found = []
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["name"].startswith(PREFIX):
            try:
                handle = ray.get_actor(actor["name"], NAMESPACE)
                pid, node = ray.get(handle.__ray_call__.remote(whereabouts), timeout=60)
            except (ValueError, ray.exceptions.RayActorError):  # it has gone meanwhile
                continue
            found.append(Replica(actor["name"], pid, node))
    return sorted(found, key=lambda replica: replica.name)


def whereabouts(_: Any) -> tuple[int, str]:
    """Asked of a replica itself: its process and its node."""
    return os.getpid(), ray.get_runtime_context().get_node_id()


def kill() -> dict[str, Any]:
    """Kill a replica's process, and say how many seconds it took until as many as before serve again."""
    before = replicas()
    os.kill(before[0].pid, signal.SIGKILL)
    killed = time.monotonic()
    while not (len(replicas()) >= len(before) and before[0] not in replicas() and running() >= len(before)):
        time.sleep(POLL_S)
    return {"killed": asdict(before[0]), "replaced_s": time.monotonic() - killed}


def running() -> int:
    """How many replicas Ray itself says are running, which are those that it sends requests to."""
    (application,) = serve.status().applications.values()
    (deployment,) = application.deployments.values()
    return int(deployment.replica_states.get("RUNNING", 0))


if __name__ == "__main__":
    main()
