"""A model that was fitted to a file of pairs, as users run it: its network on the loop, and on a thread of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import service
import tritonclient.http as triton

from training.__main__ import main

pytestmark = pytest.mark.training

NAME = "letters"
PREDICT = f"/models/{NAME}/predict"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network was fitted for some seconds: it need not be right here."""
    folder = tmp_path_factory.mktemp("models")
    rng = random.Random(0)
    words = sorted({"".join(rng.choices("abc", k=rng.randint(1, 6))) for _ in range(200)})
    pairs = folder / "pairs.tsv"
    pairs.write_text("".join(f"{word}\t{' '.join(word.upper())}\n" for word in words))
    size = ["--encoder-units", "16", "--decoder-units", "32", "--embedding-units", "8"]
    quick = ["--epochs", "12", "--learning-rate", "0.02", "--batch-size", "8", "--averaging", "0.9"]
    options = [*size, *quick, "--dropout", "0", "--noise", "0"]
    assert main(["fit-pairs", str(pairs), "--name", NAME, "--out", str(folder / NAME / "1"), *options]) == 0
    pairs.unlink()
    return folder


@pytest.fixture(scope="module", params=["60", "0"], ids=["loop", "thread"])
def running(models_dir: Path, request: pytest.FixtureRequest) -> Iterator[service.Service]:
    with service.running(models_dir=models_dir, max_loop_s=request.param) as running:
        yield running


def test_it_answers_alone_and_in_batches_alike(running: service.Service) -> None:
    sources = ["a", "abc", "cba", "bbbbbb"] * 20
    with ThreadPoolExecutor(8) as clients:
        alone = list(clients.map(lambda source: running.ask("POST", PREDICT, {"source": source}), sources))
    assert {status for status, _ in alone} == {200}
    status, batch = running.ask("POST", f"{PREDICT}/batch", {"sources": sources})
    assert status == 200
    for (_, one), item, source in zip(alone, batch["results"], sources, strict=True):
        assert (one["source"], one["target"]) == (item["source"], item["target"]) == (source, item["target"])
        assert one["confidence"] == pytest.approx(item["confidence"], abs=1e-5)


def test_it_refuses_what_it_does_not_know(running: service.Service) -> None:
    status, problem = running.ask("POST", PREDICT, {"source": "abx"})
    assert (status, problem["errors"][0]["rule"], problem["errors"][0]["position"]) == (422, "symbol", 2)


def test_it_searches_as_it_answers(running: service.Service) -> None:
    _, answer = running.ask("POST", PREDICT, {"source": "ab"})
    status, searched = running.ask("POST", f"{PREDICT}?n_best=10", {"source": "ab"})
    assert status == 200
    alternatives = searched.pop("alternatives")
    assert searched["target"] == answer["target"]
    assert searched["confidence"] == pytest.approx(answer["confidence"], abs=1e-5)
    confidences = [each["confidence"] for each in alternatives]
    assert confidences == sorted(confidences, reverse=True)
    assert len({each["target"] for each in alternatives}) == len(alternatives) > 1
    assert alternatives[0]["confidence"] >= answer["confidence"] - 1e-5
    _, fewer = running.ask("POST", f"{PREDICT}?n_best=2&min_confidence=1", {"source": "ab"})
    assert (fewer["target"], fewer["alternatives"]) == (None, alternatives[:2])


def test_it_is_asked_by_tritonclient(running: service.Service) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        given = triton.InferInput("source", [2], "BYTES")
        given.set_data_from_numpy(np.array([b"abc", b"c"], dtype=np.object_))
        answers = client.infer(NAME, [given])
        result = client.infer(NAME, [given], parameters={"n_best": 3})
        assert result.as_numpy("target").tolist() == answers.as_numpy("target").tolist()
        assert result.as_numpy("target_alternatives").shape == (2, 3)
        found = result.as_numpy("confidence_alternatives")
        assert found.shape == (2, 3)
        assert (np.diff(found) <= 0).all()
        with pytest.raises(triton.InferenceServerException, match="n_best must be a whole number from 1 to 10"):
            client.infer(NAME, [given], parameters={"n_best": 11})


def test_it_answers_what_it_has_when_it_is_told_to_stop(models_dir: Path) -> None:
    with service.running(models_dir=models_dir, max_loop_s=0, drain_s=0) as running, ThreadPoolExecutor(1) as clients:
        many = clients.submit(running.ask, "POST", f"{PREDICT}/batch?n_best=10", {"sources": ["abcabc"] * 1_000})
        while f'service_queue_depth{{model="{NAME}",version="1"}} 0.0' in running.text("/metrics"):
            assert not many.done(), "it was too quick for this test"
        assert running.stop() == 0
        status, answer = many.result(60)
        assert status == 200
        assert len(answer["results"]) == 1_000
