"""mosec, by its guide: Rust front end, a Python worker for each core, batches of what comes within a millisecond."""

from __future__ import annotations

import json
import sys
from typing import Any

from mosec import Server, Worker

from benchmarks.servers import model
from benchmarks.servers.model import Answers

MOST = 32


class Answering(Worker):
    """Answers a batch of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = Answers(model.route())

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.answers([each[self.answers.field] for each in data])

    def serialize(self, data: Any) -> bytes:
        """Its own way indents the answers."""
        return json.dumps(data, separators=(",", ":")).encode()


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(model.port()), "--log-level", "warning"]
    server = Server()
    server.append_worker(Answering, num=model.cores(), max_batch_size=MOST, max_wait_time=1, route=f"/{model.route()}")
    server.run()
