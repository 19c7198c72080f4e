"""What shows how a network comes to an answer: the same answers as ever, for every model that ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import service
from drafts import change, draft_of

from app.serving.models import Model
from seq2seq import bundle
from seq2seq.bundle import Bundle, BundleError
from seq2seq.decoding import ATTENDING, VARYING, Trace, Tracer
from seq2seq.problem import END_ID, Oracle
from seq2seq.problems.pairs import Pairs
from seq2seq.runtimes import onnx as onnx_runtime
from seq2seq.vocabulary import IdArray

MODELS = {path.parent.name: path for path in sorted((service.ROOT / "models").glob("*/*"))}
ASKED = 150
CLOSE = 1e-5


@cache
def model(name: str) -> Model:
    loaded = bundle.read(MODELS[name])
    network = onnx_runtime.load_searching(loaded)
    return Model(loaded.manifest, network, getattr(network, "beam", None))


def tracer(name: str) -> Tracer:
    found = model(name).tracer
    assert found is not None
    return found


@cache
def sources(name: str) -> list[IdArray]:
    """Sources (1, S) that a model accepts: random ones, or golden examples where nothing says what it accepts."""
    problem, rng = model(name).problem, np.random.default_rng(5)
    if isinstance(problem, Oracle):
        return list(problem.sample_sources(rng, ASKED)[:, None])
    assert isinstance(problem, Pairs)
    if problem.acceptor is None:
        return [problem.encode([problem.parse(each.request)]) for each in model(name).manifest.golden]
    found = []
    for _ in range(ASKED):
        ids: list[int] = []
        row = problem.acceptor.states[-1]
        while len(row) > 1 and not (row[0] and rng.random() < 0.3):
            way = 2 * int(rng.integers(len(row) // 2)) + 1
            ids.append(row[way])
            row = problem.acceptor.states[row[way + 1]]
        found.append(np.array([[*ids, END_ID]], dtype=np.int32))
    return found


def traced(name: str, source: IdArray, prefix: list[int] | None = None) -> Trace:
    found = tracer(name).trace(source, prefix or ())
    if found is None:
        pytest.skip("its bundle was exported before its graphs gave their states")
    return found


def ids(found: Trace) -> list[int]:
    return [step.symbol for step in found.steps]


def probabilities(found: Trace) -> list[float]:
    return [step.probability for step in found.steps]


def likely(found: Trace) -> list[list[float]]:
    """How likely the candidates of each step are."""
    return [[share for _, share in step.candidates] for step in found.steps]


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_symbols_and_their_probabilities_are_those_that_are_served(name: str) -> None:
    for source in sources(name):
        served, found = model(name).network.greedy(source), traced(name, source)
        assert ids(found) == served.ids[0].tolist()
        assert probabilities(found) == pytest.approx(served.probabilities[0], abs=CLOSE)
        for step in found.steps:
            assert step.candidates[0] == (step.symbol, step.probability)
        for shares in likely(found):
            assert shares == sorted(shares, reverse=True)
            assert len(shares) == 5
            assert sum(shares) <= 1 + CLOSE


def test_explanation_gives_the_prediction_to_the_last_digit(name: str) -> None:
    problem = model(name).problem
    for request in [request for source in sources(name) for request in problem.requests(source)]:
        source = problem.parse(request)
        traced(name, problem.encode([source]))
        explained = model(name).explain(source)
        assert explained is not None
        assert [explained.prediction] == model(name).predict([source])


def test_arrays_have_the_networks_sizes(name: str) -> None:
    spec = model(name).manifest.network
    for source in sources(name)[:5]:
        found = traced(name, source)
        length = source.shape[1]
        units = spec.encoder_units[-1] * (1 + (spec.family in VARYING))
        assert found.encoder_states.shape == (length, units)
        for step in found.steps:
            assert step.state.shape == (spec.decoder_units[-1],)
            assert (step.attention is not None) == (spec.family in ATTENDING)
            if step.attention is not None:
                assert step.attention.shape == (length,)
                assert step.attention.sum() == pytest.approx(1, abs=CLOSE)


def test_embedding_is_what_the_encoder_hands_on_in_any_batch(name: str) -> None:
    spec, asked = model(name).manifest.network, sources(name)[:20]
    alone = np.concatenate([tracer(name).embed(source) for source in asked])
    assert alone.shape == (len(asked), sum(spec.state_units))
    longest = max(source.shape[1] for source in asked)
    together = np.concatenate([np.pad(source, ((0, 0), (0, longest - source.shape[1]))) for source in asked])
    assert tracer(name).embed(together) == pytest.approx(alone, abs=CLOSE)
    if spec.family not in VARYING:
        last = traced(name, asked[0]).encoder_states[-1]
        of_last_layer = alone[0] if spec.family == "repeat_vector" else np.split(alone[0], len(spec.state_units))[-2]
        assert of_last_layer == pytest.approx(last, abs=CLOSE)


def test_prefix_is_what_the_answer_begins_with_and_decoding_goes_on_from_it(name: str) -> None:
    family = model(name).manifest.network.family
    first = END_ID + 1  # an ordinary symbol in every vocabulary
    for source in sources(name)[:20]:
        free, found = traced(name, source), traced(name, source, [first])
        assert ids(found)[0] == first
        assert likely(found)[0] == pytest.approx(likely(free)[0], abs=CLOSE)
        own = dict(free.steps[0].candidates).get(first)
        assert own is None or probabilities(found)[0] == pytest.approx(own, abs=CLOSE)  # the network's, not 1
        if family == "repeat_vector":  # whose decoder does not see what was written
            assert ids(found)[1:] == ids(free)[1:]
            assert likely(found)[1:] == likely(free)[1:]
        again = traced(name, source, ids(found))
        assert ids(again) == ids(found)
        assert probabilities(again) == pytest.approx(probabilities(found), abs=CLOSE)


def test_what_is_forced_changes_what_follows() -> None:
    source = sources("reversal")[0]
    other = next(place for place in (7, 8, 9, 10) if place not in source[0, :3])
    free, found = traced("reversal", source), traced("reversal", source, [other])
    assert likely(found)[1] != pytest.approx(likely(free)[1], abs=1e-9)


def test_forced_end_ends_the_answer() -> None:
    source = sources("dates")[0]
    assert traced("dates", source, [END_ID]).steps[0].symbol == END_ID
    assert len(traced("dates", source, [END_ID]).steps) == 1


@pytest.mark.parametrize("name", ["addition", "reversal"])
def test_parts_are_loaded_when_they_are_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Bundle] = []
    load_parts = onnx_runtime.load_parts

    def load(loaded: Bundle) -> Any:
        loads.append(loaded)
        return load_parts(loaded)

    monkeypatch.setattr(onnx_runtime, "load_parts", load)
    network: Any = onnx_runtime.load_searching(bundle.read(MODELS[name]))
    network.greedy(sources(name)[0])
    assert loads == []
    assert network.tracer is network.tracer
    assert len(loads) == 1


@pytest.mark.parametrize("name", ["addition", "reversal"])
def test_bundle_without_these_outputs_is_served_and_embeds(name: str, tmp_path: Path) -> None:
    """Such as one that was exported by an earlier release."""
    draft = draft_of(name, tmp_path)
    for file in ("encoder.onnx", "decoder.onnx"):
        change(draft, file, _without_outputs)
    network: Any = onnx_runtime.load(draft)
    onnx_runtime.check_parts(draft, network)
    source = sources(name)[0]
    assert network.tracer.trace(source) is None
    assert network.tracer.embed(source) == pytest.approx(tracer(name).embed(source), abs=CLOSE)
    assert (
        Model(draft.manifest, network).explain(draft.manifest.problem.parse(draft.manifest.golden[0].request)) is None
    )


def _without_outputs(graph: Any) -> None:
    kept = [output for output in graph.output if output.name not in onnx_runtime.EXPLAINING]
    del graph.output[:]
    graph.output.extend(kept)


def test_no_other_output_is_taken_for_one(tmp_path: Path) -> None:
    draft = draft_of("addition", tmp_path)

    def rename(graph: Any) -> None:
        for node in graph.node:
            node.output[:] = ["attention" if each == "outputs" else each for each in node.output]
            node.input[:] = ["attention" if each == "outputs" else each for each in node.input]
        (output,) = (each for each in graph.output if each.name == "outputs")
        output.name = "attention"

    change(draft, "encoder.onnx", rename)
    with pytest.raises(BundleError, match=r"encoder\.onnx: has outputs "):
        onnx_runtime.load_parts(draft)
