"""The tutorials' recipes as given keep to the tutorials' figures."""

import numpy as np
import pytest

from benchmarks import recipes_as_given as given

pytestmark = pytest.mark.training


def test_sums_are_padded_text_and_then_one_hot() -> None:
    sources, targets = given.as_text([[10, 6, 3]], [19])
    assert (sources, targets) == (["  10+6+3"], ["19"])
    assert given.as_one_hot(targets).argmax(-1).tolist() == [[1, 9]]
    assert given.as_one_hot(sources).argmax(-1).tolist() == [[11, 11, 1, 0, 10, 6, 10, 3]]


def test_lists_come_with_their_shifted_targets() -> None:
    x, before, y = (each.argmax(-1) for each in given.random_lists(20))
    assert (x.shape, before.shape, y.shape) == ((20, 6), (20, 3), (20, 3))
    assert (y == x[:, 2::-1]).all()
    assert (before[:, 0] == 0).all()
    assert (before[:, 1:] == y[:, :-1]).all()
    assert x.min() >= 1


def test_the_networks_are_the_tutorials() -> None:
    assert given.sum_model().count_params() == 52_212
    assert given.list_models()[0].count_params() == 190_899


def test_models_that_share_layers_step_alike() -> None:
    training, encoder, decoder = given.list_models()
    x, before, _ = given.random_lists(4)
    probabilities, *_ = decoder.predict_on_batch([before[:, :1], *encoder.predict_on_batch(x)])
    np.testing.assert_allclose(probabilities, training.predict_on_batch([x, before[:, :1]]), atol=1e-6)
