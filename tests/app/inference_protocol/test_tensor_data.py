"""The binary form of tensors: what is written is read back, also by the client that is most in use."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from app.inference_protocol.messages import RequestRefused
from app.inference_protocol.tensor_data import pack, unpack


@given(st.lists(st.text()))
def test_texts_survive_as_binary_data(texts: list[str]) -> None:
    data = pack("BYTES", texts)
    assert unpack("BYTES", data) == texts
    assert [text.decode() for text in deserialize_bytes_tensor(data).tolist()] == texts
    if texts:
        assert serialize_byte_tensor(np.array(texts, dtype=np.object_)).item() == data


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_survive_as_binary_data(numbers: list[int]) -> None:
    data = pack("INT64", numbers)
    assert unpack("INT64", data) == numbers
    assert data == b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)


@given(st.lists(st.floats(allow_nan=False)))
def test_floats_survive_as_binary_data(numbers: list[float]) -> None:
    assert unpack("FP64", pack("FP64", numbers)) == numbers


@given(st.binary(), st.sampled_from(["BYTES", "INT64", "FP64"]))
def test_binary_data_is_read_as_it_was_written_or_refused(data: bytes, datatype: str) -> None:
    try:
        elements = unpack(datatype, data)
    except RequestRefused:
        return
    if not any(element != element for element in elements):  # a NaN may be written in several ways
        assert pack(datatype, elements) == data
