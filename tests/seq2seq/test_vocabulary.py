from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.problems.addition import VOCABULARY
from seq2seq.vocabulary import UnknownSymbol, Vocabulary, characters, integers


def test_the_worked_example_there_and_back() -> None:
    ids = VOCABULARY.encode([" 3+10"])
    assert ids.tolist() == [[11, 3, 10, 1, 0]]
    vectors = VOCABULARY.one_hot(ids)
    assert vectors.shape == (1, 5, 12)
    assert vectors.sum(axis=-1).tolist() == [[1.0] * 5]
    assert vectors.argmax(axis=-1).tolist() == ids.tolist()
    assert VOCABULARY.decode(ids) == [" 3+10"]


def test_the_twelve_symbols_stand_in_the_tutorials_order() -> None:
    assert "".join(map(str, VOCABULARY.symbols)) == "0123456789+ "
    assert VOCABULARY.padding_id == 11


@given(st.lists(st.text(alphabet="0123456789+ ", min_size=7, max_size=7), max_size=20))
def test_text_survives_encoding(texts: list[str]) -> None:
    assert VOCABULARY.decode(VOCABULARY.encode(texts)) == texts if texts else True


def test_an_integer_is_its_own_id_and_zero_pads() -> None:
    vocabulary = integers(50)
    assert vocabulary.symbols == tuple(range(51))
    assert vocabulary.padding_id == 0


@pytest.mark.parametrize("text", ["3-10", "3\x0010"])
def test_an_unknown_character_is_named(text: str) -> None:
    with pytest.raises(UnknownSymbol, match="is not in the vocabulary"):
        VOCABULARY.encode([text])


@pytest.mark.parametrize(("symbols", "padding"), [(("1", "1"), "1"), (("1", "2"), " "), (("1", 2), "1"), ((1.5,), 1.5)])
def test_unusable_symbols_are_refused(symbols: Any, padding: Any) -> None:
    with pytest.raises(ValueError, match=r"symbols|padding"):
        Vocabulary(symbols, padding)


def test_plain_data_holds_the_vocabulary_in_full() -> None:
    assert characters("ab ").as_data() == {"symbols": ["a", "b", " "], "padding": " "}


def test_no_sequences_encode_to_no_rows() -> None:
    assert len(VOCABULARY.encode([])) == 0
    assert VOCABULARY.one_hot(np.zeros((0, 5), dtype=np.int32)).shape == (0, 5, 12)
