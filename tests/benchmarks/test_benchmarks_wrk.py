import pytest

from benchmarks import wrk

OUTPUT = """Running 3s test @ http://127.0.0.1:8000/add
  1 threads and 32 connections
  13500 requests in 3.00s, 4.10MB read
Requests/sec:   4500.00
{"requests": 13500, "seconds": 3.000000, "bad_status": 1, "answers": 13499, "wrong": 0, "failed": 2, "timed_out": 3, \
"p50_us": 6500, "p90_us": 9000, "p99_us": 12000, "max_us": 15000, "mean_us": 6600.5, "example": ""}
"""


def test_figures_are_read_from_the_last_line() -> None:
    measured = wrk.parse(OUTPUT, generator_cpu=0.12345)
    assert measured.requests_per_second == 4500
    assert measured.answers_per_second == pytest.approx(13499 / 3)
    assert measured.errors == 6
    assert (measured.p50_us, measured.p99_us, measured.generator_cpu) == (6500, 12000, 0.123)


def test_output_without_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:8000 Connection refused\n", 0.0)
