"""Dates as people write them, and as ISO 8601 does: `python examples/dates/make_pairs.py > FILE`.

`3 April 2021`, `Sa., 3. Apr. 2021`, `le 3 avril 2021` and `3/4/2021` all become `2021-04-03`. Every day of 40 years is
there in every form. The names of months and days come from the Unicode consortium's data, by Babel.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator

from babel.dates import get_day_names, get_month_names

FIRST, LAST = datetime.date(2000, 1, 1), datetime.date(2039, 12, 31)

# The day stands before the month, except where the year is first: 3/4/2021 is the third of April.
FIGURES = (
    "{y}-{mm}-{dd}",
    "{y}{mm}{dd}",
    "{dd}.{mm}.{y}",
    "{d}.{m}.{y}",
    "{d}.{m}.{yy}",
    "{dd}/{mm}/{y}",
    "{d}/{m}/{y}",
)
WORDS = {
    "en": (
        "{d} {month} {y}",
        "{d}{nth} {month} {y}",
        "{month} {d}, {y}",
        "{month} {d}{nth}, {y}",
        "{dd}-{mon}-{y}",
        "{mon} {d}, {y}",
        "{weekday}, {month} {d}, {y}",
        "{wkd}, {d} {mon} {y}",
    ),
    "de": (
        "{d}. {month} {y}",
        "{d}. {mon} {y}",
        "den {d}. {month} {y}",
        "{weekday}, {d}. {month} {y}",
        "{wkd}, {d}. {mon} {y}",
        "{wkd}, {d}.{m}.{y}",
    ),
    "fr": (
        "{d}{nth} {month} {y}",
        "{d} {mon} {y}",
        "le {d}{nth} {month} {y}",
        "{weekday} {d}{nth} {month} {y}",
        "{wkd} {d} {mon} {y}",
        "{wkd} {d}/{m}/{y}",
    ),
}


def nth(number: int, language: str) -> str:
    """What is written after a number that counts: `st` of `1st`, `er` of `1er`."""
    if language == "fr":
        return "er" if number == 1 else ""
    return "th" if 11 <= number <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def forms(day: datetime.date) -> Iterator[str]:
    """Every way to write a day. What has words in it is there in lower case too."""
    figures = {
        "d": str(day.day),
        "dd": f"{day.day:02}",
        "m": str(day.month),
        "mm": f"{day.month:02}",
        "y": str(day.year),
        "yy": f"{day.year % 100:02}",
    }
    for form in FIGURES:
        yield form.format(**figures)
    for language, written in WORDS.items():
        words = {
            "month": get_month_names("wide", locale=language)[day.month],
            "mon": get_month_names("abbreviated", locale=language)[day.month],
            "weekday": get_day_names("wide", locale=language)[day.weekday()],
            "wkd": get_day_names("abbreviated", locale=language)[day.weekday()],
            "nth": nth(day.day, language),
        }
        for form in written:
            text = form.format(**figures, **words)
            yield text
            yield text.lower()


def pairs() -> dict[str, str]:
    """Every form of every day, with the day in ISO 8601."""
    dates: dict[str, str] = {}
    for ordinal in range(FIRST.toordinal(), LAST.toordinal() + 1):
        day = datetime.date.fromordinal(ordinal)
        for text in forms(day):
            if dates.setdefault(text, day.isoformat()) != day.isoformat():
                raise ValueError(f"{text} is both {dates[text]} and {day}")
    return dates


def main() -> None:
    sys.stdout.buffer.writelines(f"{source}\t{target}\n".encode() for source, target in pairs().items())


if __name__ == "__main__":
    main()
