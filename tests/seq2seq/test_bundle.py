import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq import bundle
from seq2seq.bundle import AGREEMENTS, GRAPHS, Bundle, BundleError, Family, Golden, Manifest, NetworkSpec
from seq2seq.decoding import Network, RepeatVector
from seq2seq.evidence import Proof
from seq2seq.problem import Problem
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal

PROBLEM = Addition(2, 3, 99, "term")
MANIFEST = Manifest(
    name="addition",
    version="1",
    problem=PROBLEM,
    network=NetworkSpec("repeat_vector", (24,), (16, 8), 7_084),
    training={
        "recipe": {
            "problem": PROBLEM.spec(),
            "family": "repeat_vector",
            "encoder_units": [24],
            "decoder_units": [16, 8],
            "seed": 1,
        },
        "samples": 10,
    },
    evaluation=Proof(
        domain=1_010_000,
        by_enumeration=1_010_000,
        by_bounds=0,
        tried=0,
        wrong=0,
        held_out=500_000,
        held_out_wrong=0,
        least_margin=2.0,
        weakest="0+0",
        weakest_margin=2.0,
        largest_difference=1e-5,
        batch_sizes=(1, 64),
        graph=hashlib.sha256(b"greedy.onnx" * 3).hexdigest(),
        runtime="by hand",
    ),
    agreement={name: {"compared": 5, "agreed": 5, "largest_difference": 0.0} for name in AGREEMENTS},
    golden=(Golden("10+6", "16", 1.0),),
    files={},
)


def truthful(confidence: float = 1.0, but: Callable[[Any], Any] = lambda targets: targets) -> Network:
    """A network made by hand that always writes the truth, or what comes of it."""

    def decode(states: Any) -> Any:
        sources = states[0].astype(np.int32)
        return PROBLEM.target_vocabulary.one_hot(but(PROBLEM.answer(sources))) * confidence ** (1 / 3)

    return RepeatVector(encode=lambda sources: [sources.astype(np.float32)], decode=decode)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    directory = tmp_path / "addition" / "1"
    (directory / "report").mkdir(parents=True)
    for name in GRAPHS:
        (directory / name).write_bytes(name.encode() * 3)
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
    assert loaded.manifest == Manifest(**{**vars(MANIFEST), "files": loaded.manifest.files})


def test_the_manifest_says_all_that_a_reader_needs(sealed: Path) -> None:
    data = json.loads((sealed / "manifest.json").read_text())
    assert data["format"] == 3
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
    with pytest.raises(BundleError, match=rf"{name}: has .* bytes; manifest\.json says"):
        bundle.read(sealed)
    (sealed / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: is missing"):
        bundle.read(sealed)


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
    assert loaded.content("greedy.onnx") == b"greedy.onnx" * 3
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
    *(
        "",
        ".",
        "..",
        "a//b",
        "./a",
        "a/",
        "a/../b",
        "a\\b",
        "a\0b",
        "a\n",
        "C:\\a",
        "\u0661",
        "a" * 101,
        "manifest.json",
    ),
    *("report/../../x", "a/b/c/d/e"),
)
BAD_EVALUATIONS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"wrong": 1_010_001, "least_margin": -1.0}, "evaluation contradicts itself"),
    ({"wrong": 1}, "evaluation contradicts itself"),
    ({"wrong": 1, "held_out_wrong": 2, "least_margin": -1.0}, "evaluation contradicts itself"),
    ({"held_out": 1_010_001}, "evaluation contradicts itself"),
    ({"held_out": 1_010_000, "wrong": 1, "least_margin": -1.0}, "evaluation contradicts itself"),
    ({"domain": 1_009_999}, "evaluation contradicts itself"),
    ({"by_bounds": 1}, "evaluation contradicts itself"),
    ({"by_enumeration": -1}, "evaluation.by_enumeration is -1; it must be greater"),
    ({"tried": 5}, "evaluation contradicts itself"),
    ({"least_margin": 2.5}, "evaluation contradicts itself"),
    ({"largest_difference": -1e-5}, "evaluation.largest_difference is -1e-05; it must be greater"),
    ({"graph": "0" * 64}, "evaluation contradicts itself"),
    ({"sentence": "All requests are right."}, "evaluation contradicts itself"),
    ({"runtime": "another"}, "evaluation contradicts itself"),
    ({"weakest": "0-0"}, "evaluation's weakest request '0-0' is not a valid request"),
    ({"batch_sizes": []}, r"batch_sizes is \[\]; it must not be empty"),
    ({"batch_sizes": [True]}, "evaluation.batch_sizes.0 is True; it must be a valid integer"),
    ({"wrong": False}, "evaluation.wrong is False; it must be a valid integer"),
    ({"least_margin": 2}, "least_margin is 2; it must be a number with a fraction"),
    ({"more": 1}, "evaluation has 'more'"),
)
ENTRY = {"sha256": "0" * 64, "size": 0}


def nested(levels: int) -> list[Any]:
    data: list[Any] = []
    for _ in range(levels - 1):
        data = [data]
    return data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(format=1), "format is 1; this release reads format 3"),
        (lambda data: data.update(format=2.0), "format is 2.0; this release"),
        (lambda data: data.update(more=1), "the manifest has 'more', which format 3 does not know"),
        (lambda data: data.pop("name"), "name is missing"),
        *(
            (lambda data, name=name: data.update(name=name), "name is .*; it must hold 1 to 100 letters")
            for name in BAD_NAMES
        ),
        *(
            (lambda data, name=name: data.update(version=name), "version is .*; it must hold 1 to 100 letters")
            for name in BAD_NAMES
        ),
        (lambda data: data.update(version=1), "version is 1; it must be a valid string"),
        (lambda data: data["problem"].update(kind="division"), "unknown kind"),
        (lambda data: data["problem"].update(largest=999), "lengths are not those"),
        (lambda data: data["problem"].update(max_terms=10**12), "there may be 100 terms at most"),
        (lambda data: data["problem"].update(largest=10**4_000), "largest is too large"),
        (lambda data: data["problem"].update(kind="reversal"), "not a spec of the kind reversal"),
        (lambda data: data["problem"].update(min_terms=1), "problem is .*, but the recipe in training has"),
        (lambda data: data["vocabularies"]["source"]["symbols"].reverse(), "vocabularies are not those"),
        (lambda data: data["vocabularies"]["source"]["symbols"].append("*"), "vocabularies are not those"),
        (lambda data: data["lengths"].update(target=2), "lengths are not those"),
        (lambda data: data["lengths"].update(target=3.0), "lengths are not those"),
        (
            lambda data: data["network"].update(family="transformer"),
            "'transformer'; it must be 'repeat_vector' or 'autoregressive'",
        ),
        (
            lambda data: data["network"].update(encoder_units=[]),
            r"network\.encoder_units is \[\]; it must not be empty",
        ),
        (
            lambda data: data["network"].update(parameters=True),
            "network.parameters is True; it must be a valid integer",
        ),
        (lambda data: data["network"].update(parameters=7_085), "parameters are 7085, which layers of those units"),
        (lambda data: data["network"].update(decoder_units=[8, 16]), "parameters are 7084"),
        (lambda data: data["network"].update(family="autoregressive"), "decoder_units must equal encoder_units"),
        (lambda data: data["network"].update(layers=1), "network has 'layers'"),
        (lambda data: data["training"].pop("recipe"), "training.recipe must be an object"),
        (
            lambda data: data["training"]["recipe"].update(encoder_units=[25]),
            r"encoder_units is \[24\], but the recipe",
        ),
        (lambda data: data["training"].update(x=nested(16)), "nests deeper than 16 levels"),
        (lambda data: data["training"].update(x=nested(900)), "nests deeper than 16 levels"),
        (lambda data: data["files"].pop("decoder.onnx"), r"files lacks decoder\.onnx"),
        (
            lambda data: data["files"].update({"../x": {"sha256": "", "size": 0}}),
            "a name in files is .*; it must be a plain path inside the bundle",
        ),
        (
            lambda data: data["files"].update({"/etc/passwd": {"sha256": "", "size": 0}}),
            "a name in files is .*; it must be a plain path inside the bundle",
        ),
        *(
            (
                lambda data, name=name: data["files"].update({name: ENTRY}),
                "a name in files is .*; it must be a plain path inside the bundle",
            )
            for name in BAD_PATHS
        ),
        (lambda data: data["files"]["encoder.onnx"].update(sha256="A" * 64), "64 hexadecimal digits"),
        (
            lambda data: data["files"]["encoder.onnx"].update(size=-1),
            "files.encoder.onnx.size is -1; it must be greater than or equal to 0",
        ),
        (
            lambda data: data["files"]["encoder.onnx"].update(size=2**31),
            "size is 2147483648; it must be less than or equal to 2147483647",
        ),
        (lambda data: data["files"]["encoder.onnx"].update(mode=0), "encoder.onnx has 'mode'"),
        (lambda data: data["files"].update({"encoder.onnx": None}), "files.encoder.onnx is None; it must be an object"),
        (lambda data: data["files"]["encoder.onnx"].update(size="1"), "size is '1'; it must be a valid integer"),
        (lambda data: data["golden"].append({"request": "1"}), "golden.1.decoded is missing"),
        (lambda data: data["golden"].clear(), r"golden is \[\]; it must not be empty"),
        (lambda data: data["golden"][0].update(request="1-1"), "is not a valid request"),
        (lambda data: data["golden"][0].update(request=["10+6"]), "is not a valid request"),
        (lambda data: data["golden"][0].update(decoded=16), "gives 16, which no network can write"),
        (
            lambda data: data["golden"][0].update(confidence=1),
            "golden.0.confidence is 1; it must be a number with a fraction",
        ),
        (
            lambda data: data["golden"][0].update(confidence=-1.0),
            "confidence is -1.0; it must be greater than or equal to 0",
        ),
        (
            lambda data: data["golden"][0].update(confidence=2.0),
            "confidence is 2.0; it must be less than or equal to 1",
        ),
        *((lambda data, change=change: data["evaluation"].update(change), words) for change, words in BAD_EVALUATIONS),
        (lambda data: data["agreement"].pop("keras"), "agreement.keras is missing"),
        (lambda data: data["agreement"]["keras"].update(agreed=6), "agreement contradicts itself: keras"),
        (
            lambda data: data["agreement"]["keras"].update(largest_difference=-0.5),
            "agreement.keras.largest_difference is -0.5; it must be greater",
        ),
        (
            lambda data: data["agreement"]["keras"].update(largest_difference=0),
            "keras.largest_difference is 0; it must be a number with a fraction",
        ),
        (lambda data: data.update(training=None), "training is None; it must be an object"),
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


def test_golden_examples_are_replayed(sealed: Path) -> None:
    loaded = bundle.read(sealed)
    bundle.check_golden(loaded, truthful())
    with pytest.raises(BundleError, match=r"golden example '10\+6' should give '16' at 1\.0000, but .* at 0\.9000"):
        bundle.check_golden(loaded, truthful(confidence=0.9))
    with pytest.raises(BundleError, match=r"golden example '10\+6' should give '16' at 1\.0000, but .* at nan"):
        bundle.check_golden(loaded, truthful(confidence=float("nan")))
    wrong = Bundle(sealed, replace(loaded.manifest, golden=(Golden("10+6", "17", 1.0),)))
    with pytest.raises(BundleError, match="should give '17'"):
        bundle.check_golden(wrong, truthful())


@pytest.mark.parametrize(
    ("evaluation", "agreed", "words"),
    [
        ({"wrong": 1}, 5, "evaluation has 1 answers wrong; a network must be exact to be served"),
        ({"by_enumeration": 9}, 5, "evaluation decides 9 of 1,010,000 requests; a network must be proven"),
        ({"least_margin": 9e-5}, 5, "evaluation has a least margin of 9e-05 logits, too near to the 1e-05"),
        ({}, 4, "agreement says that keras, separate_graphs gave other answers"),
    ],
)
def test_what_was_not_proven_exact_is_told(evaluation: dict[str, Any], agreed: int, words: str) -> None:
    bundle.check_proven(Bundle(Path("x"), MANIFEST))
    agreement = {name: {**each, "agreed": agreed} for name, each in MANIFEST.agreement.items()}
    manifest = replace(MANIFEST, evaluation=replace(MANIFEST.evaluation, **evaluation), agreement=agreement)
    with pytest.raises(BundleError, match=rf"manifest\.json: {words}"):
        bundle.check_proven(Bundle(Path("x"), manifest))


def test_answers_are_compared_with_the_truth() -> None:
    def one_off(targets: Any) -> Any:
        return np.where(targets == 7, 8, targets)

    loaded = Bundle(Path("x"), MANIFEST)
    bundle.check_answers(loaded, truthful(confidence=0.6))
    with pytest.raises(
        BundleError, match=r"manifest\.json: .*the loaded network errs on \d+ of 256 requests; the first"
    ):
        bundle.check_answers(loaded, truthful(but=one_off))
    for confidence in (float("nan"), 0.0, 1.1):
        with pytest.raises(BundleError, match="errs on 256 of 256"):
            bundle.check_answers(loaded, truthful(confidence=confidence))
    with pytest.raises(BundleError, match=r"gives arrays of \(256, 2\) for answers of \(256, 3\)"):
        bundle.check_answers(loaded, truthful(but=lambda targets: targets[:, :2]))


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
