from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import capitals
import fakes
import numpy as np
import pytest

from app.serving import models as registry
from app.serving import runtime
from app.serving.models import GROUP
from app.serving.runtime import Loader
from seq2seq.bundle import Bundle, BundleError, Golden
from seq2seq.decoding import Decoded, Network, RepeatVector, States
from seq2seq.vocabulary import FloatArray, IdArray


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    fakes.write_bundle(tmp_path, fakes.addition_manifest())
    fakes.write_bundle(tmp_path, fakes.reversal_manifest())
    return tmp_path


def refusal(directory: Path) -> str:
    """Why the one version of a model is refused."""
    with pytest.raises(BundleError) as caught:
        registry.load_model(directory / "1", fakes.load, batch_size=4)
    return str(caught.value)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.keras"])
def test_altered_file_is_refused(models_dir: Path, name: str) -> None:
    path = models_dir / "addition" / "1" / name
    path.write_bytes(path.read_bytes()[::-1])
    assert refusal(models_dir / "addition").startswith(f"{path}: was altered")


def test_bundle_in_anothers_folder_is_refused(models_dir: Path) -> None:
    (models_dir / "addition").rename(models_dir / "adding")
    assert "is that of addition 1, but stands in the folder adding/1" in refusal(models_dir / "adding")


def test_golden_example_that_comes_out_otherwise_is_refused(tmp_path: Path) -> None:
    wrong = replace(fakes.addition_manifest(), golden=(Golden("1+1", "3", 0.997),))
    fakes.write_bundle(tmp_path, wrong)
    assert "golden example '1+1' should give '3'" in refusal(tmp_path / "addition")


def test_network_that_was_not_exact_is_refused(tmp_path: Path) -> None:
    manifest = fakes.addition_manifest()
    wrong = replace(manifest.proof, wrong=3, least_margin=-1.0)
    fakes.write_bundle(tmp_path, replace(manifest, evaluation=wrong))
    assert "evaluation has 3 answers wrong" in refusal(tmp_path / "addition")


def wrong(_: Bundle) -> RepeatVector:
    return fakes.truthful(fakes.ADDITION, lambda sources: fakes.ADDITION.answer(sources).clip(1))


def wrong_alone(_: Bundle) -> RepeatVector:
    """A network that errs where a request has no neighbours."""
    step = {1: -1}  # its answer is turned around
    return fakes.truthful(
        fakes.ADDITION, lambda sources: fakes.ADDITION.answer(sources)[:, :: step.get(len(sources), 1)]
    )


def too_large(_: Bundle) -> RepeatVector:
    raise MemoryError("no room")


def broken(bundle: Bundle) -> RepeatVector:
    def decode(_: States) -> FloatArray:
        raise RuntimeError("no such operator")

    return replace(fakes.load(bundle), decode=decode)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (wrong, r"the loaded network errs on \d+ of 256 requests"),
        (too_large, "addition/1: its network does not run: no room"),
        (broken, "addition/1: its network does not run: no such operator"),
        (wrong_alone, "golden example '10\\+6' should give '16'"),
    ],
)
def test_network_that_errs_or_fails_is_refused(models_dir: Path, loader: Loader, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        registry.load_model(models_dir / "addition" / "1", loader, batch_size=4)


# Large networks


@pytest.mark.parametrize("slow_from", [1, GROUP, 64])
def test_network_is_large_if_a_batch_of_any_size_takes_long(slow_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def seconds(_: Network, ids: IdArray) -> float:
        tried.append(len(ids))
        return 0.006 if len(ids) >= slow_from else 0.004

    monkeypatch.setattr(registry, "_seconds", seconds)
    assert capitals.model().warm_up(64, 0.005).is_large
    assert max(tried) == slow_from, "no larger batch is tried"
    assert not capitals.model().warm_up(64, 0.007).is_large


def test_network_that_is_fast_once_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caches may have been cold in the other runs."""
    seconds = iter([0.1, 0.001, 0.001, 0.1, 0.1, 0.001])
    monkeypatch.setattr(registry, "_seconds", lambda *_: next(seconds))
    assert not capitals.model().warm_up(64, 0.005).is_large
    assert list(seconds) == []


def test_network_that_waits_for_the_processor_is_not_slow() -> None:
    class Waiting:
        def greedy(self, sources: IdArray) -> Decoded:
            time.sleep(0.1)
            return capitals.NETWORK.greedy(sources)

    assert registry._seconds(Waiting(), np.ones((1, 5), dtype=np.int32)) < 0.1


def test_network_is_tried_on_sources_as_long_as_any() -> None:
    shapes: list[tuple[int, ...]] = []

    class Recorder:
        def greedy(self, sources: IdArray) -> Decoded:
            shapes.append(sources.shape)
            return capitals.NETWORK.greedy(sources)

    replace(capitals.model(), network=Recorder(), search=None).warm_up(64)
    assert shapes == [(1, 5), (GROUP, 5), (64, 5)]


def test_search_is_tried_before_anybody_asks_for_it(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def searching(*_: object) -> NoReturn:
        raise RuntimeError("no room")

    monkeypatch.setattr(runtime, "search", lambda *_: searching)
    with pytest.raises(BundleError, match="its network does not run: no room"):
        registry.load_model(models_dir / "addition" / "1", fakes.load, batch_size=4)
