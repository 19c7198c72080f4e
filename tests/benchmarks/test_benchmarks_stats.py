import pytest

from benchmarks import stats
from benchmarks.stats import Spread


def test_a_spread_is_the_median_the_least_and_the_most() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, min=1.0, max=3.0)
    assert Spread.of([1.23456]).as_data() == {"median": 1.235, "min": 1.235, "max": 1.235}


def test_ratios_are_taken_within_a_round() -> None:
    ours, theirs = {0: 10.0, 1: 5.0, 2: 8.0}, {0: 5.0, 1: 2.5, 3: 4.0}
    assert stats.ratios(ours, theirs) == [2.0, 2.0]
    assert stats.differences(ours, theirs) == [5.0, 2.5]


def test_a_round_without_answers_gives_no_ratio() -> None:
    assert stats.ratios({0: 10.0}, {0: 0.0}) == []


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentiles_are_of_the_values_themselves(share: float, expected: float) -> None:
    assert stats.percentile(list(range(100, 0, -1)), share) == expected


@pytest.mark.parametrize(("value", "expected"), [(1234.567, 1235.0), (0.0123456, 0.01235), (0.0, 0.0)])
def test_figures_are_cut_to_what_is_significant(value: float, expected: float) -> None:
    assert stats.significant(value) == expected


def test_a_table_aligns_words_and_figures() -> None:
    text = stats.table([{"name": "ours", "rate": 12345.6, "errors": 0}, {"name": "x", "rate": None, "errors": 1200}])
    assert text.splitlines() == [
        "name    rate  errors",
        "----  ------  ------",
        "ours  12,346       0",
        "x          -   1,200",
    ]
    assert stats.table([]) == "(nothing was measured)"
