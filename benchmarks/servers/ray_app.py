"""Ray Serve, by its guide: dynamic request batching, a replica a core, no access log.

Its guide to high throughput sets RAY_SERVE_THROUGHPUT_OPTIMIZED and RAY_SERVE_ENABLE_HA_PROXY. They make it some ten
times faster.
"""

from __future__ import annotations

import signal
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.servers import model
from benchmarks.servers.model import Answers


@serve.deployment(
    num_replicas=model.cores(),
    max_ongoing_requests=1_000,
    ray_actor_options={"num_cpus": 0},
)
class Answering:
    def __init__(self) -> None:
        self.answers = Answers(model.route())

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0)
    async def answer(self, values: list[Any]) -> list[dict[str, Any]]:
        return self.answers(values)

    async def __call__(self, request: Request) -> Any:
        return await self.answer((await request.json())[self.answers.field])


if __name__ == "__main__":
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(
        http_options={"host": "127.0.0.1", "port": model.port()},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    serve.run(
        Answering.bind(),  # type: ignore[attr-defined]
        route_prefix=f"/{model.route()}",
    )
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
