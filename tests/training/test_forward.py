"""What trains a network of fixed lengths is the network: the same logits and the same gradient for each weight."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from seq2seq.bundle import NetworkSpec
from seq2seq.problem import Oracle
from training import data, environment, forward, networks
from training.recipes import RECIPES

pytestmark = pytest.mark.training

ADDITION = RECIPES["addition-three-terms"].problem
REVERSAL = RECIPES["reversal-six-three"].problem
CLOSE = 1e-4
CASES = [
    pytest.param(ADDITION, NetworkSpec("repeat_vector", (9,), (7,), 0), id="repeat vector"),
    pytest.param(ADDITION, NetworkSpec("repeat_vector", (9, 8), (7, 6, 5), 0), id="deep repeat vector"),
    pytest.param(REVERSAL, NetworkSpec("autoregressive", (9,), (9,), 0), id="autoregressive"),
    pytest.param(REVERSAL, NetworkSpec("autoregressive", (9, 8), (9, 8), 0, reversed_source=True), id="deep, reversed"),
]


@pytest.mark.parametrize(("rows", "cores"), [(50, 1), (2, 3)])
@pytest.mark.parametrize(("problem", "spec"), CASES)
def test_logits_and_gradients_are_those_of_keras(
    problem: Oracle, spec: NetworkSpec, rows: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CORES", cores)
    keras.utils.set_random_seed(1)
    models = networks.build(problem, spec)
    sources = problem.sample_sources(np.random.default_rng(1), rows)
    inputs = data.inputs(problem, spec.family, sources, problem.answer(sources))
    weights = tf.random.normal((rows, problem.target_length, len(problem.target_vocabulary)), seed=2)

    def weighed(network: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            logits = network(inputs)
            total = tf.reduce_sum(logits * weights)
        return logits, tape.gradient(total, [each.value for each in models.training.trainable_variables])

    quick = forward.Forward(models, spec, 96)
    logits, gradients = tf.function(lambda: weighed(quick))()
    expected, others = weighed(models.training)
    assert np.asarray(logits) == pytest.approx(np.asarray(expected), abs=CLOSE)
    for one, other in zip(gradients, others, strict=True):
        assert np.asarray(one) == pytest.approx(np.asarray(other), abs=CLOSE * float(max(1, np.abs(other).max())))
    assert {each.path for each in quick.trainable_variables} == {
        each.path for each in models.training.trainable_variables
    }
