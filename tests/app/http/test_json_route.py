"""How long a request may take."""

from __future__ import annotations

import pytest

from app.http.json_route import seconds_granted
from app.http.problem_details import ProblemError


@pytest.mark.parametrize(("given", "seconds"), [(None, 10.0), (b"1", 0.001), (b"250", 0.25), (b"99999999", 10.0)])
def test_time_can_only_be_shortened(given: bytes | None, seconds: float) -> None:
    assert seconds_granted({} if given is None else {b"x-timeout-ms": given}, 10.0) == seconds


@pytest.mark.parametrize("given", [b"", b"-1", b"0", b"00", b"1.5", b"soon", b"9" * 13, "\u0663".encode()])
def test_time_is_a_number(given: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        seconds_granted({b"x-timeout-ms": given}, 10.0)
    assert caught.value.status == 400
    assert "X-Timeout-Ms" in caught.value.detail
