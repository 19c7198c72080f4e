"""A bundle reads back as it was sealed, and nothing in it can be missing, altered or untrue."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest

from seq2seq import bundle
from seq2seq.bundle import GRAPHS, Bundle, BundleError, Family, Golden
from seq2seq.decoding import Network
from seq2seq.problem import Problem
from seq2seq.problems.reversal import Reversal
from seq2seq.vocabulary import IdArray

PROBLEM = fakes.ADDITION
MANIFEST = replace(fakes.addition_manifest(), training={**fakes.addition_manifest().training, "samples": 10})


def truthful(times: float = 1.0, but: Callable[[IdArray], IdArray] = lambda targets: targets) -> Network:
    """A network that writes the truth, or what comes of it, with its probabilities multiplied."""
    network = fakes.truthful(PROBLEM, lambda sources: but(PROBLEM.answer(sources)))
    return replace(network, decode=lambda states: network.decode(states) * np.float32(times))


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    directory = fakes.write_bundle(tmp_path, MANIFEST)
    (directory / "report").mkdir()
    (directory / "report" / "card.md").write_text("a card", encoding="utf-8")
    bundle.seal(directory, MANIFEST)
    return directory


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the manifest says, and seal it anew."""
    data = json.loads((directory / bundle.MANIFEST).read_text())
    change(data)
    bundle.write_manifest(directory, data)


def edit_text(directory: Path, old: str, new: str) -> None:
    """The same with its text."""
    path = directory / bundle.MANIFEST
    said = path.read_text().rpartition(bundle.SEAL)[0]
    assert old in said
    path.write_bytes(bundle.with_seal(said.replace(old, new, 1).encode("utf-8")))


def refusal(directory: Path) -> str:
    with pytest.raises(BundleError) as caught:
        bundle.read(directory)
    return str(caught.value)


def test_what_is_sealed_reads_back(sealed: Path) -> None:
    loaded = bundle.read(sealed)
    assert loaded.path == sealed
    assert set(loaded.manifest.files) == {*GRAPHS, "report/card.md"}
    assert loaded.manifest == replace(MANIFEST, files=loaded.manifest.files)


def test_the_manifest_says_all_that_a_reader_needs(sealed: Path) -> None:
    data = json.loads((sealed / "manifest.json").read_text())
    assert data["format"] == 3
    assert data["problem"] == PROBLEM.spec()
    assert data["vocabularies"]["source"] == {"symbols": [*"0123456789+ "], "padding": " "}
    assert data["lengths"] == {"source": 8, "target": 3}
    assert data["network"]["decoder_units"] == [8]
    assert data["files"]["encoder.onnx"]["size"] == 12


@pytest.mark.parametrize("name", [*GRAPHS, "report/card.md"])
def test_an_altered_file_is_named(sealed: Path, name: str) -> None:
    content = bytearray((sealed / name).read_bytes())
    content[0] ^= 1
    (sealed / name).write_bytes(content)
    assert refusal(sealed) == f"{sealed / name}: {bundle.ALTERED}"


@pytest.mark.parametrize("name", GRAPHS)
def test_a_missing_or_truncated_file_is_named(sealed: Path, name: str) -> None:
    (sealed / name).write_bytes((sealed / name).read_bytes()[:-1])
    size = len(name)
    assert refusal(sealed) == f"{sealed / name}: has {size - 1} bytes; manifest.json says {size}"
    (sealed / name).unlink()
    assert refusal(sealed) == f"{sealed / name}: is missing; manifest.json lists it"


@pytest.mark.parametrize("name", ["encoder.onnx", "manifest.json"])
def test_only_a_plain_file_is_a_file_of_a_bundle(sealed: Path, tmp_path: Path, name: str) -> None:
    path = sealed / name
    path.rename(tmp_path / "elsewhere")
    expected = f"{path}: is a link, a folder or a pipe; a bundle holds plain files"
    path.symlink_to(tmp_path / "elsewhere")
    assert refusal(sealed) == expected
    path.unlink()
    path.mkdir()
    assert refusal(sealed) == expected
    path.rmdir()
    os.mkfifo(path)  # which nobody will ever write into
    assert refusal(sealed) == expected


def test_a_folder_that_is_a_link_is_refused(sealed: Path, tmp_path: Path) -> None:
    (sealed / "report").rename(tmp_path / "elsewhere")
    (sealed / "report").symlink_to(tmp_path / "elsewhere")
    assert refusal(sealed).startswith(f"{sealed / 'report'}: is a link")


def test_a_file_that_may_not_be_read_is_refused(sealed: Path) -> None:
    (sealed / "manifest.json").chmod(0)
    root = os.geteuid() == 0  # who may read everything
    try:
        if root:
            os.seteuid(65_534)
        assert refusal(sealed) == f"{sealed / 'manifest.json'}: cannot be read: Permission denied"
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_is_not_listed_is_nobodys_business(sealed: Path) -> None:
    (sealed / "notes.txt").write_text("checked on Monday")
    assert "notes.txt" not in bundle.read(sealed).manifest.files


def test_content_is_what_was_sealed(sealed: Path) -> None:
    loaded = bundle.read(sealed)
    assert loaded.content("greedy.onnx") == b"greedy.onnx"
    (sealed / "greedy.onnx").write_bytes(b"replaced meanwhile")
    with pytest.raises(BundleError, match=r"greedy\.onnx: was altered"):
        loaded.content("greedy.onnx")
    assert Bundle(sealed, MANIFEST).content("greedy.onnx") == b"replaced meanwhile"
    (sealed / "greedy.onnx").unlink()
    with pytest.raises(BundleError, match=r"greedy\.onnx: is missing"):
        loaded.content("greedy.onnx")


def test_a_manifest_is_sealed_to_the_byte(sealed: Path) -> None:
    path = sealed / "manifest.json"
    content = path.read_bytes()
    for altered in (
        content.replace(b'"samples": 10', b'"samples": 11'),
        content.replace(b'": ', b'":  ', 1),
        content + b" ",
        content.rpartition(b",")[0] + b"\n}\n",
        json.dumps(json.loads(content)).encode(),
    ):
        path.write_bytes(altered)
        assert refusal(sealed) == f"{path}: was altered; the seal in its last line does not fit the rest"
    path.write_bytes(content)
    bundle.read(sealed)


def test_a_refusal_is_one_printable_line() -> None:
    message = str(BundleError(Path("x"), "cannot\n  be\x1b[31m run\0" + "!" * 10_000))
    assert message.startswith("x: cannot be [31m run !!!")
    assert len(message) < 1_000


BAD_NAMES = ("", ".", "..", "../addition", "a/b", "a\\b", "a\0", "a\n", " a", "\u0661", "a" * 101)
BAD_PATHS = (
    *("", ".", "..", "../x", "/etc/passwd", "a//b", "./a", "a/", "a/../b", "report/../../x", "a/b/c/d/e"),
    *("a\\b", "a\0b", "a\n", "C:\\a", "\u0661", "a" * 101, "manifest.json"),
)
ENTRY = {"sha256": "0" * 64, "size": 0}


def nested(levels: int) -> list[Any]:
    data: list[Any] = []
    for _ in range(levels - 1):
        data = [data]
    return data


def put(data: Any, place: str, value: Any) -> None:
    """Put a value into what a manifest says, at a place such as `files encoder.onnx size`."""
    *holders, last = place.split(" ")
    for holder in holders:
        data = data[int(holder) if isinstance(data, list) else holder]
    data[last] = value


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("format", 1, "format is 1; this release reads format 3"),
        ("format", 2.0, "format is 2.0; this release"),
        ("more", 1, "the manifest has 'more', which format 3 does not know"),
        *(("name", name, "name is .*; it must hold 1 to 100 letters") for name in BAD_NAMES),
        *(("version", name, "version is .*; it must hold 1 to 100 letters") for name in BAD_NAMES),
        ("version", 1, "version is 1; it must be a valid string"),
        ("problem kind", "division", "unknown kind"),
        ("problem largest", 999, "lengths are not those"),
        ("problem max_terms", 10**12, "there may be 100 terms at most"),
        ("problem largest", 10**4_000, "largest is too large"),
        ("problem kind", "reversal", "not a spec of the kind reversal"),
        ("problem min_terms", 1, "problem is .*, but the recipe in training has"),
        ("vocabularies source symbols", [*" +9876543210"], "vocabularies are not those"),
        ("vocabularies source symbols", [*"0123456789+ *"], "vocabularies are not those"),
        ("lengths target", 2, "lengths are not those"),
        ("lengths target", 3.0, "lengths are not those"),
        (
            "network family",
            "transformer",
            "'transformer'; it must be 'repeat_vector', 'autoregressive', 'hard_attention', 'attention' or 'plain'",
        ),
        ("network encoder_units", [], r"network\.encoder_units is \[\]; it must not be empty"),
        ("network parameters", True, "network.parameters is True; it must be a valid integer"),
        ("network parameters", 7, "parameters are 7, which layers of those units"),
        ("network decoder_units", [8, 16], "which layers of those units do not have"),
        ("network layers", 1, "network has 'layers'"),
        ("training", None, "training is None; it must be an object"),
        ("training recipe", None, "training.recipe must be an object"),
        ("training recipe encoder_units", [25], r"encoder_units is \[8\], but the recipe"),
        ("training x", nested(16), "nests deeper than 16 levels"),
        ("training x", nested(900), "nests deeper than 16 levels"),
        *((f"files {name}", ENTRY, "a name in files is .*; it must be a plain path") for name in BAD_PATHS),
        ("files encoder.onnx sha256", "A" * 64, "64 hexadecimal digits"),
        ("files encoder.onnx size", -1, "files.encoder.onnx.size is -1; it must be greater than or equal to 0"),
        ("files encoder.onnx size", 2**31, "size is 2147483648; it must be less than or equal to 2147483647"),
        ("files encoder.onnx size", "1", "size is '1'; it must be a valid integer"),
        ("files encoder.onnx mode", 0, "encoder.onnx has 'mode'"),
        ("files encoder.onnx", None, "files.encoder.onnx is None; it must be an object"),
        ("golden", [], r"golden is \[\]; it must not be empty"),
        ("golden", [{"request": "1", "confidence": 1.0}], "golden.0.decoded is missing"),
        ("golden 0 request", "1-1", "is not a valid request"),
        ("golden 0 request", ["10+6"], "is not a valid request"),
        ("golden 0 decoded", 16, "gives 16, which no network can write"),
        ("golden 0 confidence", 1, "golden.0.confidence is 1; it must be a number with a fraction"),
        ("golden 0 confidence", -1.0, "confidence is -1.0; it must be greater than or equal to 0"),
        ("golden 0 confidence", 2.0, "confidence is 2.0; it must be less than or equal to 1"),
        ("evaluation by_enumeration", -1, "evaluation.by_enumeration is -1; it must be greater"),
        ("evaluation largest_difference", -1e-5, "evaluation.largest_difference is -1e-05; it must be greater"),
        ("evaluation sentence", "All requests are right.", "evaluation contradicts itself"),
        ("evaluation runtime", "another", "evaluation contradicts itself"),
        ("evaluation weakest", "0-0", "evaluation's weakest request '0-0' is not a valid request"),
        ("evaluation batch_sizes", [], r"batch_sizes is \[\]; it must not be empty"),
        ("evaluation batch_sizes", [True], "evaluation.batch_sizes.0 is True; it must be a valid integer"),
        ("evaluation wrong", False, "evaluation.wrong is False; it must be a valid integer"),
        ("evaluation least_margin", 2, "least_margin is 2; it must be a number with a fraction"),
        ("evaluation more", 1, "evaluation has 'more'"),
        ("agreement keras agreed", 6, "agreement contradicts itself: keras"),
        ("agreement keras largest_difference", -0.5, "agreement.keras.largest_difference is -0.5; it must be greater"),
        ("agreement keras largest_difference", 0, "keras.largest_difference is 0; it must be a number with a fraction"),
    ],
)
def test_an_edited_manifest_is_refused(sealed: Path, place: str, value: Any, words: str) -> None:
    edit(sealed, lambda data: put(data, place, value))
    with pytest.raises(BundleError, match=f"manifest.json: .*({words})"):
        bundle.read(sealed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.pop("name"), "name is missing"),
        (lambda data: data["training"].pop("recipe"), "training.recipe must be an object"),
        (lambda data: data["files"].pop("decoder.onnx"), r"files lacks decoder\.onnx"),
        (lambda data: data["agreement"].pop("keras"), "agreement.keras is missing"),
        (
            lambda data: data["network"].update(family="autoregressive", decoder_units=[9]),
            "decoder_units must equal encoder_units",
        ),
    ],
)
def test_a_manifest_that_lacks_something_is_refused(
    sealed: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(sealed, change)
    with pytest.raises(BundleError, match=f"manifest.json: .*({words})"):
        bundle.read(sealed)


@pytest.mark.parametrize(
    "change",
    [
        {"wrong": 1_010_001, "least_margin": -1.0},
        {"wrong": 1},
        {"wrong": 1, "held_out_wrong": 2, "least_margin": -1.0},
        {"held_out": 1_010_001},
        {"held_out": 1_010_000, "wrong": 1, "least_margin": -1.0},
        {"domain": 1_009_999},
        {"by_bounds": 1},
        {"tried": 5},
        {"least_margin": 4.5},
        {"graph": "0" * 64},
    ],
)
def test_a_proof_that_contradicts_itself_is_refused(sealed: Path, change: dict[str, Any]) -> None:
    """Though its sentence says the same as its figures."""
    edit(sealed, lambda data: data.update(evaluation=replace(MANIFEST.proof, **change).as_data()))
    assert refusal(sealed).startswith(f"{sealed / 'manifest.json'}: evaluation contradicts itself")


@pytest.mark.parametrize("content", ["", "{", "[]", "nonsense", '{"format": 1', "[" * 100_000, "\N{EURO SIGN}"])
def test_a_manifest_that_is_no_json_is_refused(sealed: Path, content: str) -> None:
    (sealed / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json: (cannot be read as JSON|must be a JSON object)"):
        bundle.read(sealed)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"samples": 10', '"samples": NaN', "NaN is not a number in JSON"),
        ('"samples": 10', '"samples": -Infinity', "-Infinity is not a number"),
        ('"samples": 10', '"samples": 1e999', "1e999 is not a number"),
        ('"samples": 10', '"samples": 1' + "0" * 5_000, "Exceeds the limit"),
        ('"samples": 10', '"samples": 10, "samples": 11', "'samples' stands twice in one object"),
        ('"samples": 10', '"samples": "\\ud800"', "surrogates not allowed"),
        ('"samples": 10', '"samples": "\N{EURO SIGN}"', "can't decode byte"),
        ('"samples": 10', '"samples": ' + "[" * 100_000, "recursion"),
    ],
)
def test_json_is_read_strictly(sealed: Path, old: str, new: str, words: str) -> None:
    edit_text(sealed, old, new)
    message = refusal(sealed)
    assert message.startswith(f"{sealed / 'manifest.json'}: cannot be read as JSON: ")
    assert words in message


def test_a_manifest_is_of_bounded_size(sealed: Path) -> None:
    path = sealed / "manifest.json"
    edit_text(sealed, '"samples": 10', '"samples": "' + "x" * bundle.MOST_MANIFEST_BYTES + '"')
    assert refusal(sealed) == f"{path}: is too large; a manifest has at most 4,000,000 bytes"


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: is missing; this is not a bundle"):
        bundle.read(tmp_path)


def test_nothing_is_sealed_without_all_graphs(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is missing; a bundle holds"):
        bundle.seal(tmp_path, MANIFEST)


@pytest.mark.parametrize(("times", "written"), [(0.9, r"0\.7268"), (float("nan"), "nan")])
def test_golden_examples_are_replayed(times: float, written: str) -> None:
    loaded = Bundle(Path("x"), MANIFEST)
    bundle.check_golden(loaded, truthful())
    with pytest.raises(BundleError, match=rf"golden example '10\+6' should give '16' at 0\.9970, but .* at {written}"):
        bundle.check_golden(loaded, truthful(times))
    wrong = Bundle(Path("x"), replace(MANIFEST, golden=(Golden("10+6", "17", 0.997),)))
    with pytest.raises(BundleError, match="should give '17'"):
        bundle.check_golden(wrong, truthful())


@pytest.mark.parametrize(
    ("evaluation", "agreed", "words"),
    [
        ({"wrong": 1}, 5, "evaluation has 1 answers wrong; a network must be exact to be served"),
        ({"by_enumeration": 9}, 5, "evaluation decides 9 of 1,010,000 requests; a network must be proven"),
        (
            {"least_margin": 9e-5, "largest_difference": 1e-5},
            5,
            "evaluation has a least margin of 9e-05 logits, too near to the 1e-05",
        ),
        ({}, 4, "agreement says that keras, separate_graphs gave other answers"),
    ],
)
def test_what_was_not_proven_exact_is_told(evaluation: dict[str, Any], agreed: int, words: str) -> None:
    bundle.check_evidence(Bundle(Path("x"), MANIFEST))
    agreement = {name: {**each, "agreed": agreed} for name, each in MANIFEST.agreement.items()}
    manifest = replace(MANIFEST, evaluation=replace(MANIFEST.proof, **evaluation), agreement=agreement)
    with pytest.raises(BundleError, match=rf"manifest\.json: {words}"):
        bundle.check_evidence(Bundle(Path("x"), manifest))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (truthful(but=lambda ids: np.where(ids == 7, 8, ids)), r"errs on \d+ of 256 requests; the first"),
        *((truthful(times), "errs on 256 of 256") for times in (float("nan"), 0.0, 1.1)),
        (truthful(but=lambda ids: ids[:, :2]), r"gives arrays of \(256, 2\) for answers of \(256, 3\)"),
    ],
)
def test_answers_are_compared_with_the_truth(network: Network, words: str) -> None:
    loaded = Bundle(Path("x"), MANIFEST)
    bundle.check_answers(loaded, truthful(0.6))
    with pytest.raises(BundleError, match=words):
        bundle.check_answers(loaded, network)


@pytest.mark.parametrize(
    ("problem", "family", "encoder", "decoder", "count"),
    [
        (PROBLEM, "repeat_vector", [24], [24], 8_556),
        (PROBLEM, "repeat_vector", [24], [16, 8], 7_084),
        (Reversal(6, 6, 50, 3), "autoregressive", [16], [16], 9_571),
        (Reversal(6, 6, 50, 3), "autoregressive", [128], [128], 190_899),
    ],
)
def test_parameters_are_counted(
    problem: Problem, family: Family, encoder: list[int], decoder: list[int], count: int
) -> None:
    assert bundle.count_parameters(problem, family, encoder, decoder) == count
