"""Numbers and their English names, from 0 to 999,999: `python examples/numbers/make_pairs.py > FILE`.

`21345` becomes the line `21345⇥twenty one thousand three hundred and forty five`. Every word is a token of its own, so
there are no hyphens and no commas.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from num2words import num2words

COUNT = 1_000_000


def pairs() -> Iterator[tuple[str, str]]:
    """Every number with its name. num2words names those below 1,000 only: a million calls would take minutes."""
    small = [num2words(number).replace("-", " ") for number in range(1000)]
    for number in range(COUNT):
        thousands, rest = divmod(number, 1000)
        words = [f"{small[thousands]} thousand"] if thousands else []
        if thousands and 0 < rest < 100:
            words.append("and")
        if rest or not thousands:
            words.append(small[rest])
        yield str(number), " ".join(words)


def main() -> None:
    sys.stdout.buffer.writelines(f"{source}\t{target}\n".encode() for source, target in pairs())


if __name__ == "__main__":
    main()
