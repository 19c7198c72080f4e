"""API keys: who may use the service, as a file of names and hashes that is read anew while the service runs.

    NAME:HASH        the hash is the key's SHA-256, in hex; # starts a comment

One line a key; a name may have several, so that a new one is known before the old one goes. The keys themselves are
nowhere but with their owners. A key is 256 random bits, which nobody guesses, so a plain SHA-256 keeps it as safe as a
slow hash would. `python -m app.keys NAME` makes one. Knows nothing of HTTP.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.settings import WrongSetting, variable

LOOK_EVERY_S = 1.0
"""The file is read again no sooner; a key that was taken out is refused by then."""

KEY_BYTES = 32
KEY_PREFIX = "s2s_"
"""What keys begin with, so that a search for leaked secrets can find them."""

NAME = r"[A-Za-z0-9_.\-]{1,64}"
LINE = re.compile(rf"({NAME}):([0-9A-Fa-f]{{64}})")

Keys = Sequence[tuple[str, bytes]]
"""Names and hashes."""

logger = logging.getLogger("app")


class BrokenKeys(WrongSetting):
    """A file of keys that cannot be used. The message names it and says what is wrong, but shows none of it."""


class KeyFile:
    """The keys of a file. One that turns unusable is logged, and the keys known before are kept.

    Raises `BrokenKeys` where it cannot be used to begin with.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._content = _read(path)
        self._keys = parse(path, self._content)
        self._complaint = ""

    def name_of(self, key: bytes) -> str | None:
        """Whose key it is; None if nobody's. Takes as long for any key, whichever it is or nearly is."""
        if self._clock() - self._looked >= LOOK_EVERY_S:
            self._look()
        digest = hashlib.sha256(key).digest()
        found = None
        for name, known in self._keys:
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _look(self) -> None:
        self._looked = self._clock()
        try:
            content = _read(self._path)
            if content != self._content:
                self._keys = parse(self._path, content)
                self._content = content
                logger.info("read %d API keys anew from %s", len(self._keys), self._path)
            self._complaint = ""
        except BrokenKeys as error:
            if str(error) != self._complaint:
                logger.error("kept the API keys as they were: %s", error)
            self._complaint = str(error)


def parse(path: Path, content: bytes) -> Keys:
    """The keys of what stands in the file `path`. Raises `BrokenKeys`."""
    keys = []
    for number, text in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        line = text.partition("#")[0].strip()
        if not line:
            continue
        found = LINE.fullmatch(line)
        if not found:  # what it says may be a key, so it is not shown
            raise _broken(path, f"line {number} is not NAME:HASH; `python -m app.keys NAME` writes such lines")
        keys.append((found[1], bytes.fromhex(found[2])))
    if not keys:
        raise _broken(path, "holds no key; `python -m app.keys NAME` makes one")
    return keys


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror}") from error


def _broken(path: Path, fault: str) -> BrokenKeys:
    return BrokenKeys(f"{variable('api_keys_file')}: {path} {fault}")


def fresh_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def line(name: str, key: str) -> str:
    """What stands for a key in the file."""
    return f"{name}:{hashlib.sha256(key.encode('utf-8')).hexdigest()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key. Returns the exit status."""
    name = _parser().parse_args(arguments).name
    if not re.fullmatch(NAME, name):
        sys.stderr.write("app.keys: a name has 1 to 64 letters, digits, dots, dashes and underscores, all ASCII\n")
        return 2
    key = fresh_key()
    sys.stderr.write(f"{key}\n")
    sys.stdout.write(f"{line(name, key)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.keys",
        description=f"Make an API key. The key goes to stderr, this once, for its owner; the line for the file that "
        f"{variable('api_keys_file')} names goes to stdout, so that >> adds it.",
    )
    parser.add_argument("name", metavar="NAME", help="whose key it is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
