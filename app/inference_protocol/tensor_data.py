"""The data of a tensor in the Open Inference Protocol: JSON or binary data → its elements, and elements → binary data.

As binary data, numbers are little-endian, and a text is its length, in four bytes, and its UTF-8:

    ["ab", "cde"]  ↔  2, 0, 0, 0, "ab", 3, 0, 0, 0, "cde"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, prod
from typing import Any, Literal

import numpy as np

from app.inference_protocol.messages import BINARY_SIZE, HEAD_BYTES, RequestInput, refuse

Datatype = Literal["BYTES", "INT64", "FP64"]
NUMBERS = {"INT64": np.dtype("<i8"), "FP64": np.dtype("<f8")}
LENGTH_BYTES = 4
"""How many bytes the length of a text has."""


def elements(given: RequestInput, datatype: Datatype, binary: bytes) -> list[Any]:
    """The elements of a tensor that is sent, in its JSON or as the binary data after it. Raises `RequestRefused`."""
    size = (given.parameters or {}).get(BINARY_SIZE)
    if size is None:
        if given.data is None:
            refuse(f"there is no data; send data, or {BINARY_SIZE} and binary data after the JSON")
        if binary:
            refuse(f"{len(binary)} bytes follow the JSON, of which {BINARY_SIZE} says nothing")
        return _flat(given.data, given.shape)
    if given.data is not None:
        refuse(f"there are both data and {BINARY_SIZE}; send one")
    if type(size) is not int or size != len(binary):
        refuse(
            f"{BINARY_SIZE} is {size!r:.60}, but {len(binary)} bytes follow the JSON,"
            f" whose length the header {HEAD_BYTES} must say"
        )
    return unpack(datatype, binary, prod(given.shape))


def _flat(data: list[Any], shape: Sequence[int]) -> list[Any]:
    """The elements of data that is flat, or nested as its shape is. Long data costs no look at each of its elements."""
    if not (data and isinstance(data[0], list)):
        return data
    if len(shape) != 2 or not all(isinstance(row, list) and len(row) == shape[1] for row in data):
        refuse(f"data must be flat, or nested as its shape {list(shape)} is")
    return [element for row in data for element in row]


def pack(datatype: str, elements: Iterable[Any]) -> bytes:
    """Elements as binary data."""
    if datatype == "BYTES":
        encoded = [element.encode("utf-8") for element in elements]
        return b"".join(len(text).to_bytes(LENGTH_BYTES, "little") + text for text in encoded)
    return np.array(list(elements), NUMBERS[datatype]).tobytes()


def unpack(datatype: str, data: bytes, most: float = inf) -> list[Any]:
    """Binary data → elements. Raises `RequestRefused`, and no later than after `most` of them."""
    if datatype == "BYTES":
        return _unpack_texts(data, most)
    size = NUMBERS[datatype].itemsize
    if len(data) % size:
        refuse(f"{len(data)} bytes are not a whole number of {datatype} elements, {size} bytes each")
    elements: list[Any] = np.frombuffer(data, NUMBERS[datatype]).tolist()
    return elements


def _unpack_texts(data: bytes, most: float) -> list[str]:
    texts: list[str] = []
    start = 0
    while start < len(data):
        if len(texts) >= most:
            refuse(f"there are more than {most} elements")
        first = start + LENGTH_BYTES
        start = first + int.from_bytes(data[start:first], "little")
        if max(first, start) > len(data):
            refuse(f"element {len(texts)} is cut off; it starts with its length, in {LENGTH_BYTES} bytes")
        try:
            texts.append(data[first:start].decode("utf-8"))
        except UnicodeDecodeError:
            refuse(f"element {len(texts)} is not UTF-8")
    return texts
