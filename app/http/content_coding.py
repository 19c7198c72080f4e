"""Content codings of HTTP, `gzip` and `deflate`: inflates bodies up to a limit, and deflates answers on demand.

Knows nothing of what the bodies say.
"""

from __future__ import annotations

import re
import zlib

from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.text import clipped

FORMATS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Each coding, with its number in zlib. The first one is preferred."""

SMALLEST = 1_024
"""Bytes from which an answer is worth making smaller."""

NOTHING = re.compile(r"0(\.0*)?")
"""The weight of a coding that a client does not accept."""


def decoded(body: bytes, coding: bytes, limit: int) -> bytes:
    """A body as it was before its client coded it. Raises 415, 400, or 413 where it grows larger than `limit`."""
    given = coding.decode("latin-1").lower()
    names = [name for part in given.split(",") if (name := part.strip()) not in ("", "identity")]
    if not names:
        return body
    name = names[0].removeprefix("x-")  # RFC 9110 has x-gzip as another name of gzip
    if len(names) > 1 or name not in FORMATS:
        known = ", ".join(FORMATS)
        raise ProblemError(
            ProblemType.UNSUPPORTED_MEDIA_TYPE,
            f"The header Content-Encoding is {clipped(given, 60)}; send one of {known}, or a body without coding.",
            headers={"Accept-Encoding": known},
        )
    inflater = zlib.decompressobj(FORMATS[name])
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise ProblemError(
            ProblemType.BAD_REQUEST, f"The body is not {name}, as the header Content-Encoding says."
        ) from None
    if len(inflated) > limit:
        raise ProblemError(ProblemType.BODY_TOO_LARGE, f"The body is larger than {limit} bytes once it is inflated.")
    if not inflater.eof or inflater.unused_data:
        raise ProblemError(ProblemType.BAD_REQUEST, f"The body does not end where its {name} data does.")
    return inflated


def encoded(body: bytes, accepted: bytes) -> tuple[bytes, dict[str, str]]:
    """An answer in a coding that its client accepts, and the header that says so; as it is where that is no gain."""
    name = _preferred(accepted.decode("latin-1")) if len(body) >= SMALLEST else None
    if name is None:
        return body, {}
    deflater = zlib.compressobj(level=1, wbits=FORMATS[name])
    return deflater.compress(body) + deflater.flush(), {"Content-Encoding": name}


def _preferred(accepted: str) -> str | None:
    """The coding that an Accept-Encoding names, unless with the weight 0."""
    offers = [part.replace(" ", "").partition(";q=") for part in accepted.lower().split(",")]
    names = {name for name, _, weight in offers if not NOTHING.fullmatch(weight)}
    return next((name for name in FORMATS if name in names), None)
