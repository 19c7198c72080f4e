import numpy as np

from seq2seq.holdout import Split, in_split
from seq2seq.problem import Keys
from seq2seq.problems.addition import Addition
from seq2seq.problems.reversal import Reversal

SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")
KEYS: Keys = np.arange(100_000, dtype=np.uint64)


def test_each_problem_is_in_exactly_one_split() -> None:
    assert (np.sum([in_split(KEYS, split) for split in SPLITS], axis=0) == 1).all()


def test_half_is_held_out() -> None:
    assert abs(in_split(KEYS, "held_out").mean() - 0.5) < 0.01
    assert abs(in_split(KEYS, "validation").mean() - 1 / 32) < 0.005


def test_neighbours_are_split_independently() -> None:
    held_out = in_split(KEYS, "held_out")
    assert abs((held_out[1:] == held_out[:-1]).mean() - 0.5) < 0.01


def test_the_choice_never_changes() -> None:
    """What a shipped model was trained on depends on this."""
    assert np.flatnonzero(in_split(KEYS[:32], "held_out")).tolist() == FIRST_HELD_OUT


def test_a_held_out_sum_is_held_out_in_every_order() -> None:
    problem = Addition(2, 3, 99, "term")
    keys = problem.keys(problem.encode(["1+2+3", "3+2+1", "2+1+3", "2+3+1", "1+3+2", "3+1+2"]))
    assert len(set(in_split(keys, "held_out").tolist())) == 1


def test_half_of_both_served_domains_is_held_out() -> None:
    rng = np.random.default_rng(0)
    for problem in (Addition(2, 3, 99, "term"), Reversal(6, 6, 50, 3)):
        held_out = [in_split(problem.keys(sources), "held_out").mean() for sources in problem.distinct(rng, 62_500)]
        assert abs(np.mean(held_out) - 0.5) < 0.01


FIRST_HELD_OUT = [0, 1, 2, 3, 4, 6, 9, 10, 12, 15, 16, 17, 19, 20, 21, 22, 24, 25, 27, 28, 30, 31]
