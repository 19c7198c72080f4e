import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq import bundle
from seq2seq.bundle import GRAPHS, Bundle, BundleError, Golden, Manifest, NetworkSpec
from seq2seq.decoding import Network, RepeatVector
from seq2seq.problems.addition import Addition

PROBLEM = Addition(2, 3, 99, "term")
MANIFEST = Manifest(
    name="addition",
    version="1",
    problem=PROBLEM,
    network=NetworkSpec("repeat_vector", (24,), (16, 8), 1_234),
    training={"recipe": {"seed": 1}, "samples": 10},
    evaluation={"checked": 1_010_000, "wrong": 0},
    agreement={"compared": 5, "agreed": 5},
    golden=(Golden("10+6", "16", 1.0),),
    files={},
)


def truthful(confidence: float = 1.0) -> Network:
    """A network made by hand that always writes the truth."""

    def decode(states: Any) -> Any:
        sources = states[0].astype(np.int32)
        return PROBLEM.target_vocabulary.one_hot(PROBLEM.answer(sources)) * confidence ** (1 / 3)

    return RepeatVector(encode=lambda sources: [sources.astype(np.float32)], decode=decode)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    directory = tmp_path / "addition" / "1"
    with bundle.staged(directory) as staging:
        for name in GRAPHS:
            (staging / name).write_bytes(name.encode() * 3)
        (staging / "report").mkdir()
        (staging / "report" / "card.md").write_text("a card", encoding="utf-8")
        bundle.seal(staging, MANIFEST)
    return directory


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = directory / bundle.MANIFEST
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_what_is_sealed_reads_back(sealed: Path) -> None:
    loaded = bundle.read(sealed)
    assert loaded.path == sealed
    assert set(loaded.manifest.files) == {*GRAPHS, "report/card.md"}
    assert loaded.manifest == Manifest(**{**vars(MANIFEST), "files": loaded.manifest.files})


def test_the_manifest_says_all_that_a_reader_needs(sealed: Path) -> None:
    data = json.loads((sealed / "manifest.json").read_text())
    assert data["format"] == 1
    assert data["problem"] == PROBLEM.spec()
    assert data["vocabularies"]["source"] == {"symbols": [*"0123456789+ "], "padding": " "}
    assert data["lengths"] == {"source": 8, "target": 3}
    assert data["network"]["decoder_units"] == [16, 8]
    assert data["files"]["encoder.onnx"]["size"] == 36


@pytest.mark.parametrize("name", [*GRAPHS, "report/card.md"])
def test_an_altered_file_is_named(sealed: Path, name: str) -> None:
    content = bytearray((sealed / name).read_bytes())
    content[0] ^= 1
    (sealed / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}: was altered"):
        bundle.read(sealed)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_missing_or_truncated_file_is_named(sealed: Path, name: str) -> None:
    (sealed / name).write_bytes((sealed / name).read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"{name}: has .* bytes; the manifest says"):
        bundle.read(sealed)
    (sealed / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: is missing"):
        bundle.read(sealed)


def test_a_link_is_no_file_of_a_bundle(sealed: Path, tmp_path: Path) -> None:
    (sealed / "encoder.onnx").rename(tmp_path / "elsewhere")
    (sealed / "encoder.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"encoder\.onnx: is missing"):
        bundle.read(sealed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(format=2), "format is 2; this release reads format 1"),
        (lambda data: data.pop("name"), "name must be str"),
        (lambda data: data.update(name="../addition"), "may hold letters"),
        (lambda data: data.update(version=1), "version must be str"),
        (lambda data: data["problem"].update(kind="division"), "unknown kind"),
        (lambda data: data["problem"].update(largest=999), "lengths are not those"),
        (lambda data: data["vocabularies"]["source"]["symbols"].reverse(), "vocabularies are not those"),
        (lambda data: data["lengths"].update(target=2), "lengths are not those"),
        (lambda data: data["network"].update(family="transformer"), "there are repeat_vector, autoregressive"),
        (lambda data: data["network"].update(encoder_units=[]), "encoder_units must be a list of positive"),
        (lambda data: data["network"].update(parameters=True), "parameters must be int"),
        (lambda data: data["files"].pop("decoder.onnx"), r"files lacks decoder\.onnx"),
        (lambda data: data["files"].update({"../x": {"sha256": "", "size": 0}}), "not a plain path"),
        (lambda data: data["files"].update({"/etc/passwd": {"sha256": "", "size": 0}}), "not a plain path"),
        (lambda data: data["files"].update({"a//b": {"sha256": "", "size": 0}}), "not a plain path"),
        (lambda data: data["files"]["encoder.onnx"].update(size="1"), "size must be int"),
        (lambda data: data["golden"].append({"request": "1"}), "a golden example has"),
        (lambda data: data["golden"][0].update(request="1-1"), "is no request"),
        (lambda data: data.update(training=None), "training must be dict"),
    ],
)
def test_an_edited_manifest_is_refused(sealed: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    edit(sealed, change)
    with pytest.raises(BundleError, match=f"manifest.json: .*({words})"):
        bundle.read(sealed)


@pytest.mark.parametrize("content", ["", "{", "[]", "nonsense", '{"format": 1', "[" * 100_000, "\N{EURO SIGN}"])
def test_a_manifest_that_is_no_json_is_refused(sealed: Path, content: str) -> None:
    (sealed / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json: (cannot be read as JSON|must be a JSON object)"):
        bundle.read(sealed)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: is missing; this is not a bundle"):
        bundle.read(tmp_path)


def test_nothing_is_sealed_without_all_graphs(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is missing; a bundle holds"):
        bundle.seal(tmp_path, MANIFEST)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_writing_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    def write_half() -> None:
        with bundle.staged(tmp_path / "addition" / "1") as staging:
            (staging / "encoder.onnx").write_bytes(b"half")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert list((tmp_path / "addition").iterdir()) == []


def test_an_interrupted_replacement_keeps_the_old_one(sealed: Path) -> None:
    with pytest.raises(KeyboardInterrupt), bundle.staged(sealed):
        raise KeyboardInterrupt
    bundle.read(sealed)


def test_a_replacement_is_whole(sealed: Path) -> None:
    with bundle.staged(sealed) as staging:
        (staging / "new").touch()
    assert [path.name for path in sealed.iterdir()] == ["new"]
    assert [path.name for path in sealed.parent.iterdir()] == ["1"]


def test_golden_examples_are_replayed(sealed: Path) -> None:
    loaded = bundle.read(sealed)
    bundle.check_golden(loaded, truthful())
    with pytest.raises(BundleError, match=r"golden example '10\+6' should give '16' at 1\.0000, but .* at 0\.9000"):
        bundle.check_golden(loaded, truthful(confidence=0.9))
    wrong = Bundle(sealed, Manifest(**{**vars(loaded.manifest), "golden": (Golden("10+6", "17", 1.0),)}))
    with pytest.raises(BundleError, match="should give '17'"):
        bundle.check_golden(wrong, truthful())
