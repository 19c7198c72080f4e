"""Bodies that are compressed, and answers that are on demand."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.content_coding import SMALLEST, decoded, encoded
from app.http.problem_details import ProblemError

TEXT = b"10+6 " * 1_000


def refused(body: bytes, coding: bytes, limit: int = 10_000) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        decoded(body, coding, limit)
    return caught.value


@pytest.mark.parametrize("coding", [b"", b"identity", b" Identity "])
def test_body_without_coding_is_as_it_is(coding: bytes) -> None:
    assert decoded(TEXT, coding, len(TEXT)) == TEXT


@pytest.mark.parametrize("coding", [b"gzip", b"GZIP"])
def test_gzip_is_inflated(coding: bytes) -> None:
    assert decoded(gzip.compress(TEXT), coding, len(TEXT)) == TEXT


def test_deflate_is_inflated() -> None:
    assert decoded(zlib.compress(TEXT), b"deflate", len(TEXT)) == TEXT


@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"\xff", b"x" * 1_000])
def test_unknown_coding_is_refused(coding: bytes) -> None:
    problem = refused(TEXT, coding)
    assert problem.status == 415
    assert problem.headers == {"Accept-Encoding": "gzip, deflate"}
    assert len(problem.detail) < 200


def test_body_is_inflated_no_further_than_the_limit() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    assert refused(bomb, b"gzip").status == 413
    assert refused(gzip.compress(TEXT), b"gzip", len(TEXT) - 1).status == 413


@pytest.mark.parametrize(
    "body",
    [b"", TEXT, gzip.compress(TEXT)[:-1], gzip.compress(TEXT)[:5], gzip.compress(TEXT) + b"x", zlib.compress(TEXT)],
)
def test_what_is_not_whole_is_refused(body: bytes) -> None:
    problem = refused(body, b"gzip")
    assert problem.status == 400
    assert "gzip" in problem.detail


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip", "gzip"),
        (b"deflate", "deflate"),
        (b"deflate, gzip;q=0.5", "gzip"),
        (b"br, Deflate;q=1.0, gzip; q=0", "deflate"),
        (b"gzip;q=0.000", None),
        (b"br", None),
        (b"*", None),
        (b"", None),
        (b"\xff,;q=", None),
    ],
)
def test_answer_is_coded_as_is_accepted(accepted: bytes, coding: str | None) -> None:
    body, headers = encoded(TEXT, accepted)
    assert headers == ({"Content-Encoding": coding} if coding else {})
    assert decoded(body, headers.get("Content-Encoding", "").encode(), len(TEXT)) == TEXT
    assert (len(body) < len(TEXT)) == bool(coding)


def test_small_answer_is_left_as_it_is() -> None:
    body = bytes(SMALLEST - 1)
    assert encoded(body, b"gzip") == (body, {})


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate"]))
def test_whatever_comes_is_inflated_or_refused(body: bytes, coding: bytes) -> None:
    with contextlib.suppress(ProblemError):
        assert len(decoded(body, coding, 100)) <= 100
