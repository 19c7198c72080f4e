import numpy as np
import pytest

from seq2seq.decoding import Decoded
from seq2seq.problem import Problem
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal
from seq2seq.vocabulary import IdArray
from training import evaluation

PROBLEM = Addition(3, 3, 10, "left", smallest=1)


class Truthful:
    """Writes the truth, but gets the last symbol of chosen requests wrong."""

    def __init__(self, problem: Problem, wrong: tuple[str, ...] = ()):
        self.problem = problem
        self.wrong = wrong

    def greedy(self, sources: IdArray) -> Decoded:
        ids = self.problem.answer(sources)
        for row, request in enumerate(self.problem.requests(sources)):
            if request in self.wrong:
                ids[row, -1] = (ids[row, -1] + 1) % 10
        return Decoded(ids, np.full(ids.shape, 0.5, dtype=np.float32))


def test_every_expression_is_checked_and_every_mistake_counted() -> None:
    network = Truthful(PROBLEM, wrong=("9+10+9", "1+1+1"))
    result = evaluation.evaluate(PROBLEM, network, evaluation.whole_domain(PROBLEM, 0), hold_out=True)
    assert (result.checked, result.wrong) == (1_000, 2)
    assert 400 < result.held_out < 600
    assert 0 <= result.held_out_wrong <= 2
    assert [mistake.request for mistake in result.mistakes] == ["   1+1+1", "  9+10+9"]
    assert (result.mistakes[1].written, result.mistakes[1].right) == ("29", "28")
    data = result.as_data()
    assert data["accuracy_per_position"] == [1.0, 0.998]
    assert data["lowest_confidence"] == 0.25


def test_nothing_counts_as_held_out_where_all_was_trained_on() -> None:
    batches = evaluation.whole_domain(PROBLEM, 0)
    assert evaluation.evaluate(PROBLEM, Truthful(PROBLEM), batches, hold_out=False).held_out == 0


def test_an_endless_domain_adds_a_million_random_requests() -> None:
    problem = Reversal(6, 6, 50, 3)
    batches = list(evaluation.whole_domain(problem, 0))
    assert sum(map(len, batches)) == 125_000 + 1_000_000
    tails = np.concatenate(batches)[:, 3:]
    assert tails.min() == 1
    assert tails.max() == 50


def test_disagreement_is_counted() -> None:
    one, other = Truthful(PROBLEM), Truthful(PROBLEM, wrong=("2+3+4",))
    result = evaluation.agreement(one, other, evaluation.whole_domain(PROBLEM, 0))
    assert result.as_data() == {"compared": 1_000, "agreed": 999, "largest_difference": 0.0}


@pytest.mark.parametrize("problem", [PROBLEM, Reversal(6, 6, 50, 3)], ids=str)
def test_the_same_seed_asks_the_same(problem: Problem) -> None:
    one, other = (next(iter(evaluation.whole_domain(problem, 5))) for _ in range(2))
    assert (one == other).all()
