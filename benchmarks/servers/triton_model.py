"""What Triton's Python backend runs; `triton_server.py` copies it into the model repository."""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path[:0] = os.environ["BENCH_PACKAGES"].split(os.pathsep)  # the stub reads no PYTHONPATH

import numpy as np  # noqa: E402
import triton_python_backend_utils as backend  # noqa: E402

from benchmarks.servers import model  # noqa: E402
from benchmarks.servers.model import Answers  # noqa: E402
from benchmarks.workload import FIELDS  # noqa: E402


class TritonPythonModel:
    """Answers a batch of requests, each of which may hold several rows."""

    def initialize(self, _: Any) -> None:
        self.route = model.route()
        self.field, self.answer = FIELDS[self.route]
        self.answers = Answers(self.route)

    def execute(self, requests: list[Any]) -> list[Any]:
        rows = [backend.get_input_tensor_by_name(request, self.field).as_numpy() for request in requests]
        values = [value for each in rows for value in self._values(each)]
        answers = iter(self.answers(values))
        responses = []
        for each in rows:
            own = [next(answers) for _ in range(len(each))]
            tensors = [
                backend.Tensor(self.answer, np.array([answer[self.answer] for answer in own]).reshape(len(own), -1)),
                backend.Tensor("confidence", np.array([[answer["confidence"]] for answer in own], np.float32)),
            ]
            responses.append(backend.InferenceResponse(tensors))
        return responses

    def _values(self, rows: Any) -> list[Any]:
        return [row[0].decode() for row in rows] if self.route == "add" else rows.tolist()
