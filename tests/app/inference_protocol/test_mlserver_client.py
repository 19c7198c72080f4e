"""MLServer's own client, types and codecs against the service, in the environment in which MLServer is measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import service

from benchmarks import environments

pytestmark = pytest.mark.reliability

REQUESTS = [
    {"id": "a", "inputs": [{"name": "expression", "shape": [2, 1], "datatype": "BYTES", "data": ["10+6", "1+2"]}]},
    {"id": "b", "inputs": [{"name": "expression", "shape": [1], "datatype": "BYTES", "data": ["99+99"]}]},
]
SUMS = {"a": [16, 3], "b": [198]}

WITH_CODECS = """
import json, sys, urllib.request
import numpy as np
from mlserver import types
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse, RepositoryIndexResponse

def ask(path, body=None):
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/v2{path}", body) as response:
        return json.load(response)

def infer(model, tensor):
    request = InferenceRequest(id="42", inputs=[tensor])
    answer = InferenceResponse.model_validate(ask(f"/models/{model}/infer", request.model_dump_json().encode()))
    assert answer.id == "42"
    return {output.name: output for output in answer.outputs}

added = infer("addition", StringCodec.encode_input("expression", ["10+6", "1+2"]))
lists = np.array([[20, 36, 40, 10, 34, 28]])
reversed_ = infer("reversal", NumpyCodec.encode_input("sequence", lists))
metadata = MetadataModelResponse.model_validate(ask("/models/addition"))
index = RepositoryIndexResponse.model_validate(ask("/repository/index", b"{}"))
print(json.dumps([
    StringCodec.decode_output(added["decoded"]),
    NumpyCodec.decode_output(added["sum"]).tolist(),
    NumpyCodec.decode_output(reversed_["reversed"]).tolist(),
    metadata.versions,
    [entry.name for entry in index],
]))
"""


@pytest.fixture(scope="module")
def served() -> Iterator[service.Service]:
    with service.running(drain_s=0) as running:
        yield running


def run(*command: object) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("options", [[], ["--binary-data"], ["--batch-size", 2]], ids=["json", "binary", "batches"])
def test_client_infers(served: service.Service, tmp_path: Path, options: list[Any]) -> None:
    asked, answered = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    asked.write_text("".join(json.dumps(request) + "\n" for request in REQUESTS))
    mlserver = environments.directory("mlserver") / "bin" / "mlserver"
    files = ("--input-data-path", asked, "--output-data-path", answered)
    run(mlserver, "infer", "--url", f"127.0.0.1:{served.port}", "--model-name", "addition", *files, *options)
    answers = [json.loads(line) for line in answered.read_text().splitlines()]
    outputs = {answer["id"]: {each["name"]: each["data"] for each in answer["outputs"]} for answer in answers}
    sums = {request: given["sum"] for request, given in outputs.items()}
    assert sums == SUMS


def test_types_and_codecs_understand_the_answers(served: service.Service) -> None:
    printed = run(environments.python("mlserver"), "-c", WITH_CODECS, served.port)
    assert json.loads(printed) == [
        ["16", "3"],
        [16, 3],
        [[40, 36, 20]],
        ["1", "2"],
        sorted(path.parent.name for path in (service.ROOT / "models").glob("*/[0-9]*")),
    ]
