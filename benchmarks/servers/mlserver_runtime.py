"""MLServer, by its guide: a custom runtime, adaptive batching, the Open Inference Protocol.

Inference runs in the server's own process. For so small a network, a pool of workers costs more than the network. The
pool also does not start with a current uvloop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import install_uvloop_event_loop

from benchmarks.server import free_port
from benchmarks.servers import model
from benchmarks.servers.model import Answers
from benchmarks.workload import MODELS


class Adding(MLModel):
    async def load(self) -> bool:
        self.answers = Answers("add")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        answers = self.answers(StringCodec.decode_input(payload.inputs[0]))
        outputs = [
            NumpyCodec.encode_output("sum", np.array([[answer["sum"]] for answer in answers])),
            StringCodec.encode_output("decoded", [answer["decoded"] for answer in answers]),
            NumpyCodec.encode_output("confidence", np.array([[answer["confidence"]] for answer in answers])),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Reversing(MLModel):
    async def load(self) -> bool:
        self.answers = Answers("reverse")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        answers = self.answers(NumpyCodec.decode_input(payload.inputs[0]).tolist())
        outputs = [
            NumpyCodec.encode_output("reversed", np.array([answer["reversed"] for answer in answers])),
            NumpyCodec.encode_output("confidence", np.array([[answer["confidence"]] for answer in answers])),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def serve() -> None:
    """Serve the model that this process is for."""
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "http_port": model.port(),
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "gzip_enabled": False,
        "debug": False,
    }
    runtime = Adding if model.route() == "add" else Reversing
    served = ModelSettings(
        name=MODELS[model.route()],
        implementation=f"benchmarks.servers.mlserver_runtime.{runtime.__name__}",
        max_batch_size=64,
        max_batch_time=0.001,
    )
    await MLServer(Settings(**settings)).start([served])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(serve())
