"""A kind of task that nothing but this test knows, from a recipe to the answers of a service that has it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import service
import tritonclient.http as triton

import seq2seq.problems
from seq2seq import bundle
from seq2seq.problem import Problem
from seq2seq.problems import from_spec
from training.__main__ import main
from training.recipes import RECIPES, Recipe

pytestmark = pytest.mark.training

FOLDER = Path(__file__).parent / "third_kind"
SPEC = {"kind": "sorting", "length": 4, "largest": 3}
NAME = "sorting-four-digits"
TRUTH = {"digits": "3121", "ascending": "1123", "items": [1, 1, 2, 3], "last": 3}


@pytest.fixture(scope="module")
def known() -> Iterator[None]:
    """The kind is found in this process, and in those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seq2seq.problems, "__path__", [*seq2seq.problems.__path__, str(FOLDER)])
        patch.setenv("PYTHONPATH", f"{service.ROOT}:{FOLDER}")
        yield
    Problem.kinds.pop("sorting", None)
    sys.modules.pop("seq2seq.problems.sorting", None)


@pytest.fixture(scope="module")
def models_dir(known: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A network that sorts, fitted, proven and sealed as a bundle by the command."""
    folder = tmp_path_factory.mktemp("models")
    recipe = Recipe(
        name=NAME,
        about="four digits in ascending order",
        problem=from_spec(SPEC),  # type: ignore[arg-type]  # this kind's truth can be computed
        family="repeat_vector",
        encoder_units=(32,),
        decoder_units=(32,),
        samples=40_000,
        batch_size=27,
        learning_rate=1e-2,
        epochs=4,
        passes=True,
        xla=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES.builders, NAME, lambda _: recipe)
        assert main(["fit", NAME, "--out", str(folder / NAME / "1")]) == 0
    return folder


@pytest.fixture(scope="module")
def running(models_dir: Path) -> Iterator[service.Service]:
    with service.running(models_dir=models_dir) as running:
        yield running


def test_it_is_proven_and_described(models_dir: Path) -> None:
    manifest = bundle.read(models_dir / NAME / "1").manifest
    assert manifest.proof.is_exact
    assert manifest.proof.by_enumeration == 81
    assert manifest.problem.spec() == SPEC


def test_it_is_ready_and_predicts(running: service.Service) -> None:
    assert running.ask("GET", "/health/ready")[0] == 200
    status, answer = running.ask("POST", f"/models/{NAME}/predict", {"digits": "3121"})
    assert status == 200
    assert {name: answer[name] for name in TRUTH} == TRUTH
    assert answer["model"] == {"name": NAME, "version": "1"}
    status, problem = running.ask("POST", f"/models/{NAME}/predict", {"digits": "3191"})
    assert (status, problem["errors"][0]["rule"], problem["errors"][0]["position"]) == (422, "digit", 2)


def test_it_answers_batches(running: service.Service) -> None:
    path = f"/models/{NAME}/predict/batch"
    status, answer = running.ask("POST", path, {"rows": ["3121", 7, "1111"]})
    assert status == 200
    first, refused, last = answer["results"]
    assert {name: first[name] for name in TRUTH} == TRUTH
    assert refused["error"]["pointer"] == "/rows/1"
    assert last["ascending"] == "1111"


def test_it_is_asked_by_tritonclient(running: service.Service) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        metadata = client.get_model_metadata(NAME)
        assert metadata["inputs"] == [{"name": "digits", "datatype": "BYTES", "shape": [-1]}]
        assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["outputs"]] == [
            ("ascending", "BYTES", [-1]),
            ("items", "INT64", [-1, 4]),
            ("last", "INT64", [-1]),
            ("confidence", "FP64", [-1]),
        ]
        given = triton.InferInput("digits", [2], "BYTES")
        given.set_data_from_numpy(np.array([b"3121", b"2131"], dtype=np.object_))
        result = client.infer(NAME, [given])
        assert result.as_numpy("ascending").tolist() == [b"1123", b"1123"]
        assert result.as_numpy("items").tolist() == [[1, 1, 2, 3]] * 2
        assert result.as_numpy("last").tolist() == [3, 3]


def test_the_document_has_it(running: service.Service) -> None:
    _, document = running.ask("GET", "/openapi.json")
    schemas = document["components"]["schemas"]
    assert schemas[f"{NAME}_request"]["properties"]["digits"]["pattern"] == "^[1-3]{4}$"
    assert set(schemas[f"{NAME}_response"]["properties"]) == {*TRUTH, "confidence", "model", "reason"}
    content = document["paths"]["/models/{name}/predict"]["post"]["requestBody"]["content"]["application/json"]
    request = content["examples"][NAME]["value"]
    assert running.ask("POST", f"/models/{NAME}/predict", request)[0] == 200
    assert "/add" not in document["paths"]


def test_it_is_measured(running: service.Service) -> None:
    for _ in range(3):
        running.ask("POST", f"/models/{NAME}/predict", {"digits": "3121"})
    text = running.text("/metrics")
    counted = re.search(rf'service_answers_total{{is="exact",model="{NAME}",version="1"}} (.+)', text)
    assert counted
    assert float(counted[1]) >= 3
    assert 'route="/models/{name}/predict"' in text


def test_short_names_of_models_that_are_not_there_say_so(running: service.Service) -> None:
    status, problem = running.ask("POST", "/add", {"expression": "1+1"})
    assert (status, problem["detail"]) == (404, f"There is no model addition; there are {NAME}.")
