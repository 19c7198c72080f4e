"""Every answer is held against the truth, and the search goes where a network is least sure."""

import numpy as np
import pytest

from seq2seq.decoding import Decoded
from seq2seq.problem import Oracle
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from seq2seq.proving import running, weakest
from seq2seq.proving.intervals import Array
from seq2seq.proving.running import Run
from seq2seq.vocabulary import FloatArray, IdArray

PROBLEM = Addition(3, 3, 10, "left", smallest=1)


class Truthful:
    """Writes the truth, but gets the last symbol of chosen requests wrong."""

    def __init__(self, problem: Oracle, wrong: tuple[str, ...] = ()):
        self.problem = problem
        self.wrong = wrong

    def greedy(self, sources: IdArray) -> Decoded:
        ids = self.problem.answer(sources)
        for row, request in enumerate(self.problem.requests(sources)):
            if request in self.wrong:
                ids[row, -1] = (ids[row, -1] + 1) % 10
        return Decoded(ids, np.full(ids.shape, 0.5, dtype=np.float32))

    def logits(self, sources: IdArray, _: IdArray) -> FloatArray:
        return 4 * self.problem.target_vocabulary.one_hot(self.greedy(sources).ids)


def run(network: Truthful, **options: object) -> Run:
    batches = PROBLEM.distinct(np.random.default_rng(0), 300)
    return running.run(PROBLEM, network, batches, **{"hold_out": True, **options})  # type: ignore[arg-type]


def test_every_expression_is_checked_and_every_mistake_counted() -> None:
    network = Truthful(PROBLEM, wrong=("9+10+9", "1+1+1"))
    result = run(network, logits=network.logits, weakest=3)
    assert (result.checked, result.wrong) == (1_000, 2)
    assert 400 < result.held_out < 600
    assert 0 <= result.held_out_wrong <= 2
    assert [str(mistake) for mistake in result.mistakes] == [
        "'1+1+1': wrote '4', right is '3'",
        "'9+10+9': wrote '29', right is '28'",
    ]
    assert PROBLEM.requests(result.weakest)[:2] == ["1+1+1", "9+10+9"]
    assert result.margins.tolist() == [-4, -4, 4]


def test_nothing_counts_as_held_out_where_all_was_trained_on() -> None:
    assert run(Truthful(PROBLEM), hold_out=False).held_out == 0


def test_disagreement_is_counted() -> None:
    result = run(Truthful(PROBLEM), others={"other": Truthful(PROBLEM, wrong=("2+3+4",))})
    assert vars(result.agreements["other"]) == {"compared": 1_000, "agreed": 999, "largest_difference": 0.0}


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    run(Truthful(PROBLEM), progress=lambda *each: told.append(each), total=1_000)
    assert told == [("requests", done, 1_000) for done in (300, 600, 900, 1_000)]


def test_a_margin_is_that_of_the_weakest_place() -> None:
    logits = np.array([[[1.0, 5.0, 2.0], [0.0, 0.0, 9.0]], [[3.0, 1.0, 1.0], [4.0, 3.5, 0.0]]], dtype=np.float32)
    assert running.margins(logits, np.array([[1, 2], [0, 1]])).tolist() == [3.0, -0.5]


@pytest.mark.parametrize("sure", [1.0, 8.0, 30.0])
def test_a_margin_is_never_below_what_the_probabilities_allow(sure: float) -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, sure, size=(50_000, 3, 12)).astype(np.float32)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = (exponentials / exponentials.sum(axis=-1, keepdims=True)).max(axis=-1)
    assert (running.margins(logits, logits.argmax(axis=-1)) >= running.least_possible_margins(probabilities)).all()


class Sure(Truthful):
    """Is sure of each answer by the margin that its request has."""

    def margins(self, sources: IdArray) -> FloatArray:
        weighted = (sources * np.arange(1, sources.shape[1] + 1)).sum(axis=1)
        margins: FloatArray = (0.5 + weighted % 97 / 10).astype(np.float32)
        return margins

    def logits(self, sources: IdArray, _: IdArray) -> FloatArray:
        return self.margins(sources)[:, None, None] * PROBLEM.target_vocabulary.one_hot(PROBLEM.answer(sources))

    def greedy(self, sources: IdArray) -> Decoded:
        exponentials = np.exp(self.logits(sources, sources))
        return Decoded(PROBLEM.answer(sources), (exponentials / exponentials.sum(axis=-1, keepdims=True)).max(axis=-1))


def test_the_weakest_are_found_though_most_logits_are_never_computed() -> None:
    network, computed = Sure(PROBLEM), 0

    def logits(sources: IdArray, targets: IdArray) -> FloatArray:
        nonlocal computed
        computed += len(sources)
        return network.logits(sources, targets)

    result = run(network, logits=logits, weakest=5)
    everything = np.concatenate(list(PROBLEM.distinct(np.random.default_rng(0), 300)))
    order = np.argsort(network.margins(everything), kind="stable")[:5]
    assert result.margins == pytest.approx(network.margins(everything)[order])
    assert (result.weakest == everything[order]).all()
    assert computed < 700


def test_of_a_large_domain_other_networks_are_asked_a_part() -> None:
    others = {"other": Truthful(PROBLEM)}
    result = run(Truthful(PROBLEM), others=others, total=2 * running.MOST_COMPARED)
    assert (result.checked, result.agreements["other"].compared) == (1_000, 600)


LISTS = Reversal(6, 6, 50, 3)
HIDDEN = np.array([22, 3, 19, 12, 3, 15])


def towards_hidden(sources: IdArray) -> Array:
    """Margins of a network that errs on one list of 50^6, and is less sure the nearer a list comes to it."""
    margins: Array = (sources != HIDDEN).sum(axis=1) - 0.5
    return margins


def test_the_search_finds_one_wrong_list_among_billions() -> None:
    starts = LISTS.sample_sources(np.random.default_rng(1), 4)
    assert towards_hidden(starts).min() > 3
    sources, least = weakest.search(LISTS, towards_hidden, starts)
    assert sources[0].tolist() == HIDDEN.tolist()
    assert least[0] == -0.5
    assert (np.diff(least) >= 0).all()


@pytest.mark.parametrize("problem", [LISTS, Reversal(2, 4, 5, 2), Addition(2, 3, 99, "term"), PROBLEM], ids=str)
def test_the_search_asks_only_what_may_be_asked(problem: Oracle) -> None:
    asked = 0

    def margins(sources: IdArray) -> Array:
        nonlocal asked
        asked += len(sources)
        for request, source in zip(problem.requests(sources), sources, strict=True):
            assert np.array_equal(problem.encode([problem.parse(request)])[0], source)
        values: Array = sources.sum(axis=1).astype(np.float64)
        return values

    weakest.search(problem, margins, problem.sample_sources(np.random.default_rng(2), 2))
    assert asked > 50
