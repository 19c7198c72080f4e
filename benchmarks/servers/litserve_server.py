"""LitServe, by its guide: dynamic batching, and the fast queue, which it advises above 100 requests a second.

One HTTP process a core, and one process for the model: HTTP costs more here.
"""

from collections.abc import Sequence
from typing import Any

import litserve as ls
from fastapi import Request

from benchmarks.servers import model
from benchmarks.servers.model import Answers


class Answering(ls.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.answers = Answers(model.route())

    def decode_request(self, request: Request) -> Any:
        return request["expression" if model.route() == "add" else "sequence"]

    def batch(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return inputs

    def predict(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        return self.answers(values)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Answering(api_path=f"/{model.route()}", max_batch_size=32, batch_timeout=0.01)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True, timeout=60)
    server.run(
        host="127.0.0.1",
        port=model.port(),
        num_api_servers=model.cores(),
        log_level="warning",
        generate_client_file=False,
    )
