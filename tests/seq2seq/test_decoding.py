import numpy as np
import pytest

from seq2seq.decoding import Autoregressive, RepeatVector, States
from seq2seq.vocabulary import FloatArray, IdArray


def peaked(ids: IdArray, size: int, peak: float) -> FloatArray:
    """Probabilities (…, size) with `peak` on the given ids (…) and the rest spread evenly."""
    probabilities = np.full((*ids.shape, size), (1 - peak) / (size - 1), dtype=np.float32)
    np.put_along_axis(probabilities, ids[..., None], peak, axis=-1)
    return probabilities


def test_a_repeat_vector_network_writes_all_at_once() -> None:
    network = RepeatVector(
        encode=lambda sources: [sources.astype(np.float32)],
        decode=lambda states: peaked(states[0].astype(np.int32)[:, ::-1], 5, 0.5),
    )
    decoded = network.greedy(np.array([[1, 2, 3], [4, 0, 1]], dtype=np.int32))
    assert decoded.ids.tolist() == [[3, 2, 1], [1, 0, 4]]
    assert decoded.ids.dtype == np.int32
    assert decoded.confidence == pytest.approx([0.125, 0.125])


def test_an_autoregressive_network_is_fed_what_it_chose() -> None:
    fed: list[list[int]] = []

    def step(symbols: IdArray, states: States) -> tuple[FloatArray, States]:
        """Writes the successor of what it was fed; its state counts the steps."""
        fed.append(symbols.tolist())
        return peaked(symbols + 1, 9, 0.9), [states[0] + 1]

    network = Autoregressive(
        encode=lambda sources: [np.zeros(len(sources), dtype=np.float32)], step=step, length=3, start=0
    )
    decoded = network.greedy(np.zeros((2, 6), dtype=np.int32))
    assert decoded.ids.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert fed == [[0, 0], [1, 1], [2, 2]]
    assert decoded.confidence == pytest.approx([0.729, 0.729])


def test_states_are_handed_on() -> None:
    def step(_: IdArray, states: States) -> tuple[FloatArray, States]:
        (queue,) = states
        return peaked(queue[:, 0].astype(np.int32), 9, 1.0), [np.roll(queue, -1, axis=1)]

    network = Autoregressive(encode=lambda sources: [sources.astype(np.float32)], step=step, length=2, start=0)
    assert network.greedy(np.array([[7, 8, 1]], dtype=np.int32)).ids.tolist() == [[7, 8]]
