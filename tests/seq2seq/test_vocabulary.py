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


def test_characters_of_text_are_symbols() -> None:
    assert VOCABULARY.encode(["10+6"]).tolist() == [[1, 0, 10, 6]]
    assert VOCABULARY.encode(["16"]).tolist() == [[1, 6]]


@given(st.lists(st.text(alphabet="0123456789+ ", min_size=7, max_size=7), max_size=20))
def test_text_survives_encoding(texts: list[str]) -> None:
    assert VOCABULARY.decode(VOCABULARY.encode(texts)) == texts if texts else True


@given(st.lists(st.lists(st.integers(0, 50), min_size=6, max_size=6).map(tuple), min_size=1, max_size=20))
def test_integers_survive_encoding(sequences: list[tuple[int, ...]]) -> None:
    vocabulary = integers(50)
    ids = vocabulary.encode(sequences)
    assert ids.tolist() == [list(sequence) for sequence in sequences]
    assert vocabulary.decode(ids) == sequences


def test_an_integer_vocabulary_keeps_zero_for_padding() -> None:
    vocabulary = integers(50)
    assert len(vocabulary) == 51
    assert vocabulary.padding_id == 0


def test_integers_need_not_be_in_order() -> None:
    vocabulary = Vocabulary((30, 10, 20), 10)
    ids = vocabulary.encode([(10, 20, 30)])
    assert ids.tolist() == [[1, 2, 0]]
    assert vocabulary.decode(ids) == [(10, 20, 30)]


@pytest.mark.parametrize("text", ["3-10", "3\x0010"])
def test_an_unknown_character_is_named(text: str) -> None:
    with pytest.raises(UnknownSymbol, match="is not in the vocabulary"):
        VOCABULARY.encode([text])


@pytest.mark.parametrize("item", [-1, 51, 10**9])
def test_an_unknown_integer_is_named(item: int) -> None:
    with pytest.raises(UnknownSymbol, match=str(item)):
        integers(50).encode([(1, item)])


@pytest.mark.parametrize(
    ("symbols", "padding"), [(("1", "1"), "1"), (("1", "2"), " "), (("1", 2), "1"), (("1", "22"), "1"), (("é",), "é")]
)
def test_unusable_symbols_are_refused(symbols: tuple[str | int, ...], padding: str) -> None:
    with pytest.raises(ValueError, match=r"symbols|padding"):
        Vocabulary(symbols, padding)


def test_plain_data_holds_the_vocabulary_in_full() -> None:
    assert characters("ab ").as_data() == {"symbols": ["a", "b", " "], "padding": " "}


def test_no_sequences_encode_to_no_rows() -> None:
    assert len(VOCABULARY.encode([])) == 0
    assert VOCABULARY.one_hot(np.zeros((0, 5), dtype=np.int32)).shape == (0, 5, 12)
