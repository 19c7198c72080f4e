"""Checks that what a manifest says can all be true at once. What cannot raises `ValueError`, in one line."""

from __future__ import annotations

import json
from typing import Any

from seq2seq.bundle.manifest import FileEntry, Golden, Manifest, NetworkSpec, count_parameters, derived, graphs_of
from seq2seq.bundle.schema import Evaluation, Example, ManifestFile, Rates
from seq2seq.decoding import VARYING
from seq2seq.evidence import ErrorRates, Evidence, Proof
from seq2seq.problem import Problem, RuleBroken, SpecError
from seq2seq.problems import from_spec


def manifest(data: ManifestFile) -> Manifest:
    """The manifest that a file tells of."""
    try:
        problem = from_spec(data.problem)
    except SpecError as error:
        raise ValueError(f"problem: {error!s:.300}") from error
    for name, expected in derived(problem).items():
        if not _same(getattr(data, name), expected):
            raise ValueError(f"{name} are not those of its problem, which are {expected!s:.200}")
    graphs = graphs_of(data.network.family)
    if missing := set(graphs) - set(data.files):
        raise ValueError(f"files lacks {min(missing)}; a bundle holds {', '.join(graphs)}")
    return Manifest(
        name=data.name,
        version=data.version,
        problem=problem,
        network=_network(problem, data),
        training=data.training,
        evaluation=_evidence(problem, data.evaluation, data.files["greedy.onnx"].sha256),
        agreement=_agreement(data),
        golden=tuple(_golden(problem, example) for example in data.golden),
        files={name: FileEntry(entry.sha256, entry.size) for name, entry in data.files.items()},
        seal=data.seal,
    )


def _network(problem: Problem, data: ManifestFile) -> NetworkSpec:
    """The network, which must be that of the recipe in the record of the training."""
    spec = NetworkSpec(**dict(data.network))
    if (spec.family in VARYING) != (spec.embedding_units > 0):
        raise ValueError(f"embedding_units are {spec.embedding_units}, which the family {spec.family} does not have")
    if spec.family == "autoregressive" and spec.encoder_units != spec.decoder_units:
        raise ValueError("decoder_units must equal encoder_units, because the decoder starts with the encoder's states")
    if spec.parameters != count_parameters(
        problem, spec.family, spec.encoder_units, spec.decoder_units, spec.embedding_units
    ):
        raise ValueError(f"parameters are {spec.parameters!r:.60}, which layers of those units do not have")
    recipe = data.training.get("recipe")
    if not isinstance(recipe, dict):
        raise ValueError(f"training.recipe must be an object, not {recipe!r:.60}")
    made = {
        **({} if spec.family in VARYING else {"problem": problem.spec()}),
        "family": spec.family,
        "encoder_units": list(spec.encoder_units),
        "decoder_units": list(spec.decoder_units),
    }
    for key, expected in made.items():
        if not _same(recipe.get(key), expected):
            raise ValueError(f"{key} is {expected!s:.200}, but the recipe in training has {recipe.get(key)!s:.200}")
    return spec


def _evidence(problem: Problem, data: Evaluation | Rates, graph: str) -> Evidence:
    return _proof(problem, data, graph) if isinstance(data, Evaluation) else _rates(data, graph)


def _rates(data: Rates, graph: str) -> ErrorRates:
    """Rates that agree with each other, and with the graph that is served."""
    said = dict(data)
    sentence = said.pop("sentence")
    rates = ErrorRates(**said)
    inside = all(low <= high for low, high in (rates.wrong_interval, rates.symbol_interval))
    fits = (
        inside
        and rates.wrong <= rates.tested
        and sum(count for count, _, _ in rates.reliability) == rates.tested
        and rates.graph == graph
    )
    if not fits or sentence != rates.sentence:
        raise ValueError(f"evaluation contradicts itself or its graph: {data!s:.600}")
    return rates


def _proof(problem: Problem, data: Evaluation, graph: str) -> Proof:
    """Figures that agree with each other, with the problem, and with the graph that is served."""
    said = dict(data)
    sentence = said.pop("sentence")
    proof = Proof(**said)
    _check_request(problem, "evaluation's weakest request", proof.weakest)
    decided = proof.by_enumeration + proof.by_bounds
    seen = decided + proof.tried
    fits = (
        proof.domain == problem.domain_size
        and decided <= proof.domain
        and 0 in (decided, proof.tried)
        and proof.held_out_wrong <= proof.wrong <= seen
        and proof.held_out_wrong <= proof.held_out <= seen
        and proof.wrong - proof.held_out_wrong <= seen - proof.held_out
        and proof.least_margin <= proof.weakest_margin
        and (not proof.wrong or proof.least_margin <= 0)
        and proof.graph == graph
    )
    if not fits or sentence != proof.sentence:
        raise ValueError(f"evaluation contradicts itself, its problem or its graph: {data!s:.600}")
    return proof


def _agreement(data: ManifestFile) -> dict[str, Any]:
    for name, each in data.agreement:
        if each.agreed > each.compared:
            raise ValueError(f"agreement contradicts itself: {name} is {each!s:.200}")
    return data.agreement.model_dump()


def _golden(problem: Problem, data: Example) -> Golden:
    request, decoded = data.request, data.decoded
    _check_request(problem, "golden example", request)
    vocabulary = problem.target_vocabulary
    if vocabulary.is_text:
        is_right = type(decoded) is str
    else:
        is_right = type(decoded) is list and all(type(item) is type(vocabulary.padding) for item in decoded)
    if not is_right:
        raise ValueError(f"golden example {request!r:.60} gives {decoded!r:.60}, which no network can write")
    return Golden(request, decoded, data.confidence)


def _check_request(problem: Problem, what: str, value: Any) -> None:
    try:
        problem.parse(value)
    except RuleBroken as error:
        raise ValueError(f"{what} {value!r:.60} is not a valid request: {error}") from error


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same in JSON, where 1 is neither 1.0 nor true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
