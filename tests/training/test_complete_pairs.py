"""A file of pairs that is a whole domain: it is proven, and what is wrong, or not in the file, is found or refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.serving import models as registry
from app.serving import runtime
from seq2seq import bundle
from seq2seq.bundle import Bundle, BundleError
from seq2seq.evidence import ErrorRates, Proof
from seq2seq.problem import RuleBroken
from seq2seq.problems.pairs import Pairs
from seq2seq.proving import listed, loop, proof
from seq2seq.runtimes import onnx as onnx_runtime
from training.__main__ import main
from training.pairs import files, recipes

pytestmark = pytest.mark.training

SOURCES = [text for length in range(1, 5) for text in map("".join, product("abc", repeat=length)) if "cb" not in text]
TARGETS = {tuple(text): [tuple(text.upper())] for text in SOURCES}
NETWORK = ["--encoder-units", "32", "--decoder-units", "32", "--embedding-units", "8", "--learning-rate", "0.01"]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with the file of pairs, for `runs` is where a run keeps its checkpoint."""
    folder = tmp_path_factory.mktemp("complete")
    (folder / "pairs.tsv").write_text("".join(f"{text}\t{text.upper()}\n" for text in SOURCES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def fit(out: Path, *more: str) -> int:
    return main(["fit-pairs", "pairs.tsv", "--name", "upper", "--complete", "--out", str(out), *NETWORK, *more])


@pytest.fixture(scope="module")
def proven(folder: Path) -> Bundle:
    assert fit(folder / "upper" / "1", "--epochs", "600") == 0
    return bundle.read(folder / "upper" / "1")


@pytest.fixture(scope="module")
def hasty(folder: Path) -> Bundle:
    """A bundle whose training was too short to be right everywhere."""
    assert fit(folder / "hasty" / "1", "--epochs", "2", "--name", "hasty") == 0
    return bundle.read(folder / "hasty" / "1")


def test_a_whole_domain_is_proven_with_half_held_out(proven: Bundle) -> None:
    found = proven.manifest.proof
    assert (found.domain, found.by_enumeration, found.wrong, found.tried) == (len(SOURCES), len(SOURCES), 0, 0)
    assert found.held_out >= len(SOURCES) / 2
    assert found.is_exact
    assert 0 < found.largest_difference < 1e-4
    assert all(each["agreed"] == each["compared"] == len(SOURCES) for each in proven.manifest.agreement.values())
    assert proven.manifest.training["samples"] < 600 * len(SOURCES) / 2


@pytest.mark.parametrize("prove", [False, True])
def test_what_is_proven_is_served(proven: Bundle, prove: bool) -> None:
    loaded = registry.load_model(proven.path, runtime.loader("onnx"), batch_size=4, prove=prove)
    assert loaded.manifest.name == "upper"


@pytest.mark.parametrize(("text", "rule"), [("acb", "domain"), ("aaaaa", "length"), ("abd", "symbol"), (" ", "empty")])
def test_what_is_not_in_the_file_is_refused(proven: Bundle, text: str, rule: str) -> None:
    with pytest.raises(RuleBroken) as caught:
        proven.manifest.problem.parse(text)
    assert caught.value.rule == rule


def with_bias(loaded: Bundle, folder: Path, symbol: str, change: float) -> Bundle:
    """A copy whose served graph finds a symbol likelier, or less likely, than it did."""
    problem = loaded.manifest.problem
    directory = folder / "edited" / "1"
    shutil.copytree(loaded.path, directory, dirs_exist_ok=True)
    model = onnx.load(directory / proof.GRAPH)
    symbols = len(problem.target_vocabulary)
    (bias,) = (each for each in model.graph.initializer if tuple(each.dims) == (symbols,))
    values = numpy_helper.to_array(bias).copy()
    values[problem.target_vocabulary.symbols.index(symbol)] += change
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, directory / proof.GRAPH)
    return Bundle(directory, replace(loaded.manifest, files={}))


def test_one_wrong_answer_is_found_and_proves_nothing(proven: Bundle, tmp_path: Path) -> None:
    """The letter B is made less likely until the network errs; then every source is asked alone, for comparison."""
    problem = proven.manifest.problem
    for change in np.arange(0.0, -50.0, -0.25):
        edited = with_bias(proven, tmp_path, "B", float(change))
        network = onnx_runtime.load(edited)
        alone = {text: problem.decode(network.greedy(problem.encode([tuple(text)])).ids)[0] for text in SOURCES}
        if wrong := [text for text in SOURCES if "".join(map(str, alone[text])) != text.upper()]:
            break
    outcome = listed.prove(edited, TARGETS, [("a",)])
    found = outcome.proof
    assert found.wrong == len(wrong) > 0
    assert {mistake.request for mistake in outcome.mistakes} <= set(wrong)
    assert (found.held_out, found.held_out_wrong) == (len(SOURCES) - 1, len([text for text in wrong if text != "a"]))
    assert found.least_margin <= 0
    assert found.weakest in wrong
    with pytest.raises(BundleError, match=f"{len(wrong)} answers wrong"):
        bundle.check_evidence(replace(edited, manifest=replace(edited.manifest, evaluation=found)))


def test_a_margin_is_what_a_change_of_the_weakest_symbol_takes_away(proven: Bundle, tmp_path: Path) -> None:
    """Each symbol is made likelier by just less than the least margin: nothing is wrong, and the margin nearly gone."""
    problem, least = proven.manifest.problem, proven.manifest.proof.least_margin
    margins = []
    for symbol in problem.target_vocabulary.symbols:
        found = listed.prove(with_bias(proven, tmp_path, str(symbol), 0.9 * least), TARGETS, ()).proof
        assert found.wrong == 0
        margins.append(found.least_margin)
    assert min(margins) == pytest.approx(0.1 * least, rel=0.1)


def test_pairs_of_another_domain_are_not_proven(proven: Bundle) -> None:
    with pytest.raises(BundleError, match="and these are"):
        listed.prove(proven, dict(list(TARGETS.items())[1:]), ())
    with pytest.raises(BundleError, match="does not accept 'acb'"):
        listed.prove(proven, TARGETS | {tuple("acb"): [("A",)]}, ())
    for several in ([], [("A",), ("B",)]):
        with pytest.raises(BundleError, match=f"'a' has {len(several)} targets, and a proof needs one"):
            listed.prove(proven, TARGETS | {("a",): several}, ())


def test_exact_logits_do_not_depend_on_the_batch(proven: Bundle) -> None:
    problem = proven.manifest.problem
    assert isinstance(problem, Pairs)
    exact = loop.Exact(proven.content(proof.GRAPH))
    texts = [tuple("ab"), tuple("caac"), tuple("b")]
    targets = np.array([[*problem.target_ids(TARGETS[text][0]), 0, 0, 0, 0][:5] for text in texts], dtype=np.int32)
    together = exact(problem.encode(texts), targets)
    for row, text in enumerate(texts):
        alone = exact(problem.encode([text]), targets[row : row + 1])
        length = len(text) + 1
        assert np.abs(together[row, :length] - alone[0, :length]).max() < 1e-12


def test_every_token_and_length_is_trained_on_often() -> None:
    """Of 26 letters that stand alone, about half would be held out, and then nothing would show what they become."""
    from training.pairs import fitting

    texts = [(letter,) for letter in "defghijklmnopqrstuvwxyz"] + list(TARGETS)
    table = files.Table("file", "chars", "chars", {text: [tuple(map(str.upper, text))] for text in texts})
    parts = files.split(table, complete=True)
    assert {token for source in parts["train"] for token in source} == set("abcdefghijklmnopqrstuvwxyz")
    assert not parts["train"].keys() & (parts["test"].keys() | parts["validation"].keys())
    assert len(parts["test"]) > 0

    numbers: dict[files.Text, list[files.Text]] = {tuple(str(number)): [("x",)] for number in range(10_000)}
    parts = files.split(files.Table("file", "chars", "chars", numbers), complete=True)
    assert Counter(map(len, parts["train"]))[1] == 10
    assert 0 < Counter(map(len, parts["train"]))[2] < 90

    pairs: list[tuple[files.Text, files.Text]] = [(("a",), ("A",))] * 10_000 + [(("a", "b"), ("A",))] * 5
    assert fitting._rare(pairs) == [(("a", "b"), ("A",))] * 100
    lengths: list[tuple[files.Text, files.Text]] = [(("a", "a"), ("A",))] * 1_000 + [(("a",), ("A",))]
    assert fitting._rare(lengths) == [(("a",), ("A",))] * 10  # 1% of all
    assert fitting._rare(pairs[:10_000]) == []


def test_the_recipe_is_that_of_the_numbers_and_dates_that_are_proven(proven: Bundle) -> None:
    problem = proven.manifest.problem
    assert isinstance(problem, Pairs)
    for pairs, epochs in ((450_100, 5), (259_692, 8), (1, 2_000)):
        recipe = recipes.sized("all", problem, pairs, complete=True, sha256="")
        assert (recipe.epochs, recipe.encoder_units, recipe.decoder_units) == (epochs, (32,), (64,))
        assert (recipe.dropout, recipe.label_smoothing, recipe.noise, recipe.hold_out) == (0, 0, 0, True)


def test_a_graph_without_a_loop_is_not_evaluated() -> None:
    shipped = Path(__file__).parents[2] / "models" / "addition" / "1" / proof.GRAPH
    with pytest.raises(loop.NoLoop, match="it has 0 loops"):
        loop.with_logits(shipped.read_bytes())


def verify(capsys: pytest.CaptureFixture[str], loaded: Bundle, *more: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["verify", str(loaded.path), *more])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_verify_proves_anew_if_it_has_the_file(proven: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = verify(capsys, proven, "--pairs", "pairs.tsv", "--json")
    line = json.loads(told)
    assert (status, line["exact"], line["repeated"], line["fault"]) == (0, True, True, "")
    assert line["held_out"] == proven.manifest.proof.held_out
    assert line["agreement"]["separate graphs"]["agreed"] == len(SOURCES)

    status, told = verify(capsys, proven, "--pairs", "pairs.tsv", "--keras")
    assert (status, f"Keras: the same answer to {len(SOURCES)} of {len(SOURCES)}" in told) == (0, True)


def test_verify_says_what_it_cannot_verify_without_the_file(
    proven: Bundle, hasty: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in (proven, hasty):
        status, told = verify(capsys, each)
        assert status == 0
        assert "  verified: its files, its weights, its golden examples, and that its graphs agree\n" in told
        assert "  not verified: the evidence above" in told
    status, told = verify(capsys, proven, "--json")
    assert (status, json.loads(told)["exact"], json.loads(told)["repeated"]) == (0, False, False)


def test_verify_refuses_another_file(proven: Bundle, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (folder / "pairs.tsv").read_text().replace("aa\tAA\n", "aa\tAB\n", 1)
    (folder / "other.tsv").write_text(lines)
    status, told = verify(capsys, proven, "--pairs", "other.tsv")
    assert status == 1
    assert told.startswith("training: other.tsv holds other pairs than upper 1 was made from: their SHA-256 is ")
    status, told = verify(capsys, proven, "--pairs", "none.tsv")
    assert (status, told) == (1, "training: none.tsv cannot be read: No such file or directory\n")


def test_verify_finds_a_manifest_that_says_what_is_not_so(
    proven: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "upper" / "1"
    shutil.copytree(proven.path, directory)
    said = proven.manifest.proof
    changed = replace(said, held_out=said.held_out + 1)
    bundle.seal(directory, replace(proven.manifest, evaluation=changed))
    status, told = verify(capsys, bundle.read(directory), "--pairs", "pairs.tsv")
    assert status == 1
    assert f"the manifest says that {changed.held_out} requests were held out; it is {said.held_out}" in told


def test_a_file_of_pairs_is_for_one_bundle_of_pairs(proven: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(proven.path), str(proven.path), "--pairs", "pairs.tsv"]) == 2
    assert main(["verify", str(proven.path), "--test", "pairs.tsv"]) == 2
    addition = Path(__file__).parents[2] / "models" / "addition" / "1"
    assert main(["verify", str(addition), "--pairs", "pairs.tsv"]) == 1
    assert "addition 1 is no model of pairs" in capsys.readouterr().err


def test_what_is_not_proven_gets_error_rates_and_keeps_its_domain(
    hasty: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    rates, problem = hasty.manifest.evaluation, hasty.manifest.problem
    assert isinstance(rates, ErrorRates)
    assert rates.wrong > 0
    assert problem.domain_size == len(SOURCES)
    with pytest.raises(RuleBroken):
        problem.parse("acb")
    status, told = verify(capsys, hasty, "--pairs", "pairs.tsv")
    assert status == 0
    assert told.startswith(f"hasty 1: {rates.sentence}\n")
    assert "not verified" not in told


def test_verify_finds_rates_that_are_not_so(hasty: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = hasty.manifest.evaluation
    assert isinstance(rates, ErrorRates)
    directory = tmp_path / "hasty" / "1"
    shutil.copytree(hasty.path, directory)
    bundle.seal(directory, replace(hasty.manifest, evaluation=replace(rates, wrong=0)))
    status, told = verify(capsys, bundle.read(directory), "--pairs", "pairs.tsv")
    assert status == 1
    assert f"the manifest says that 0 answers were wrong; it is {rates.wrong}" in told


@pytest.mark.parametrize("name", ["proven", "hasty"])
def test_renew_needs_the_file_and_gives_the_same(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    loaded: Bundle = request.getfixturevalue(name)
    directory = tmp_path / loaded.manifest.name / "1"
    shutil.copytree(loaded.path, directory)
    assert main(["renew", str(directory)]) == 2
    assert "give the file that it was made from by --pairs" in capsys.readouterr().err
    assert main(["renew", str(directory), "--pairs", "pairs.tsv"]) == 0
    renewed = bundle.read(directory).manifest
    assert renewed.evaluation == loaded.manifest.evaluation
    assert renewed.golden == loaded.manifest.golden
    graphs = [name for name in bundle.GRAPHS if name.endswith(".onnx")]
    assert [renewed.files[name] for name in graphs] == [loaded.manifest.files[name] for name in graphs]


def test_renew_keeps_a_proven_bundle_whose_new_graphs_would_err(
    proven: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.pairs import networks

    def spoilt(files: Bundle) -> networks.Layers:
        layers = load(files)
        kernel, bias = layers.logits.get_weights()
        layers.logits.set_weights([-kernel, bias])
        return layers

    load = networks.load
    monkeypatch.setattr(networks, "load", spoilt)
    directory = tmp_path / "upper" / "1"
    shutil.copytree(proven.path, directory)
    assert main(["renew", str(directory), "--pairs", "pairs.tsv"]) == 1
    assert bundle.read(directory).manifest == proven.manifest


def test_the_card_tells_of_the_proof(proven: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(proven.path)]) == 0
    card = capsys.readouterr().out
    assert isinstance(proven.manifest.evaluation, Proof)
    assert proven.manifest.evaluation.sentence in card
    assert card == (proven.path / "report" / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--test", "--validation"])
def test_a_whole_domain_has_no_other_file(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path / "1", option, "pairs.tsv") == 2
    assert "--complete splits FILE itself; leave out" in capsys.readouterr().err


def test_a_run_that_diverges_stops_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path / "1", "--learning-rate", "1e37", "--epochs", "400", "--name", "wild") == 1
    captured = capsys.readouterr()
    assert captured.err.endswith(
        "training: the loss is no number any more, so nothing was written; try a lower --learning-rate\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_after_ctrl_c_the_run_can_be_resumed(folder: Path, tmp_path: Path) -> None:
    call = ["fit-pairs", "pairs.tsv", "--name", "stopped", "--complete", "--out", str(tmp_path / "1"), *NETWORK]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-m", "training", *call, "--epochs", "2000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch "))
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert told.endswith("stopped; the same command with --resume goes on from the last round that was validated\n")
    assert list(tmp_path.iterdir()) == []
    assert (folder / "runs" / "stopped" / "checkpoint.npz").exists()
