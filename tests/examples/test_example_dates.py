"""The dates example: no text stands for two dates, and each form reads as people write it."""

from __future__ import annotations

import datetime

import pytest

pytest.importorskip("babel")

from examples.dates import make_pairs


@pytest.fixture(scope="module")
def dates() -> dict[str, str]:
    return make_pairs.pairs()


def test_every_day_is_there_in_forms_that_stand_for_no_other_day(dates: dict[str, str]) -> None:
    assert len(dates) == 576_730
    assert len(set(dates.values())) == 14_610
    assert all(not set("\t\n") & set(text) for text in dates)


def test_a_form_that_would_stand_for_two_days_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_pairs, "FIGURES", ("{d}/{m}/{y}", "{m}/{d}/{y}"))
    with pytest.raises(ValueError, match="1/2/2000 is both 2000-01-02 and 2000-02-01"):
        make_pairs.pairs()


@pytest.mark.parametrize(
    "text",
    [
        "2021-04-03",
        "20210403",
        "3/4/2021",
        "3.4.21",
        "3rd April 2021",
        "april 3, 2021",
        "03-Apr-2021",
        "Samstag, 3. April 2021",
        "sa., 3. apr. 2021",
        "le 3 avril 2021",
        "sam. 3 avr. 2021",
    ],
)
def test_forms_of_one_day(dates: dict[str, str], text: str) -> None:
    assert dates[text] == "2021-04-03"


def test_numbers_that_count() -> None:
    ends = ["st", "nd", "rd", "th", "th", "th", "st", "nd", "rd", "th"]
    assert [make_pairs.nth(number, "en") for number in (1, 2, 3, 4, 11, 13, 21, 22, 23, 30)] == ends
    assert [make_pairs.nth(number, "fr") for number in (1, 2, 21)] == ["er", "", ""]


def test_the_forms_of_a_day_come_in_one_order() -> None:
    forms = list(make_pairs.forms(datetime.date(2000, 2, 29)))
    assert forms[:3] == ["2000-02-29", "20000229", "29.02.2000"]
    assert forms[-2:] == ["mar. 29/2/2000", "mar. 29/2/2000"]


def test_pairs_are_lines_of_stdout(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    monkeypatch.setattr(make_pairs, "LAST", make_pairs.FIRST)
    make_pairs.main()
    printed = capfdbinary.readouterr().out.decode()
    assert printed.startswith("2000-01-01\t2000-01-01\n20000101\t2000-01-01\n")
    assert "samedi 1er janvier 2000\t" in printed
