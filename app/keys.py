"""API keys: who may use the service, as a file of names and hashes that is read anew while the service runs.

    NAME:HASH        the hash is the key's SHA-256, in hex; # starts a comment

One line a key; a name may have several, so that a new one is known before the old one goes. The keys themselves are
nowhere but with their owners. A key is 256 random bits, which nobody guesses, so a plain SHA-256 keeps it as safe as a
slow hash would. `python -m app.keys NAME` makes one. Knows nothing of HTTP.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import hmac
import logging
import math
import os
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.settings import WrongSetting, variable

LOOK_EVERY_S = 1.0
"""How often the file is read; a key that was taken out is refused by then."""

KEPT_S = 10.0
"""How long the keys that were read last count. A file that is being replaced must not lock everybody out."""

KEY_BYTES = 32
KEY_PREFIX = "s2s_"
"""What keys begin with, so that a search for leaked secrets can find them."""

MOST_BYTES = 1024 * 1024
"""How large the file may be: room for 8,000 keys."""

NAME = r"[A-Za-z0-9_.\-]{1,64}"
LINE = re.compile(rf"({NAME}):([0-9A-Fa-f]{{64}})")

Keys = Sequence[tuple[str, bytes]]
"""Names and hashes."""

logger = logging.getLogger("app")


class BrokenKeys(WrongSetting):
    """A file of keys that cannot be used. The message names it and says what is wrong, but shows none of it."""


class KeyFile:
    """The keys of a file, which a thread reads again and again while `watching` lasts.

    Where it cannot be read, or holds a mistake, that is logged. After `KEPT_S` nobody gets in until it is sound again.
    Raises `BrokenKeys` where it cannot be used to begin with.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self._path = path
        self._clock = clock
        self._good_until = math.inf
        self._complaint = ""
        self._opened: int | None = None  # the file as it was read last
        self._content = self._read()
        self._take(parse(path, self._content))

    def name_of(self, key: bytes) -> str | None:
        """Whose key it is; None if nobody's. Takes as long for any key, whichever it is or nearly is."""
        digest = hashlib.sha256(key).digest()
        found = None
        for name, known in self._keys if self._clock() < self._good_until else ():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Read the file every `LOOK_EVERY_S` for as long as the context lasts."""
        self._good_until = self._clock() + KEPT_S
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), daemon=True).start()
        try:
            yield
        finally:
            ended.set()  # and not waited for: the thread may hang with the file system

    def _watch(self, ended: threading.Event) -> None:
        self.look()
        while not ended.wait(LOOK_EVERY_S):
            self.look()
        self._close()

    def look(self) -> None:
        """Read the file, once."""
        now = self._clock()
        try:
            content = self._read()
            if content != self._content or self._complaint:
                self._take(parse(self._path, content))
            self._content, self._complaint = content, ""
            self._good_until = now + KEPT_S
        except BrokenKeys as error:
            self._good_until = min(self._good_until, now + KEPT_S)
            follows = "the keys before still count for some seconds" if now < self._good_until else "nobody gets in"
            if self._complaint != (complaint := f"{error}; {follows}"):
                logger.error("%s", complaint)
            self._complaint = complaint

    def _take(self, keys: Keys) -> None:
        self._keys = keys
        if keys:
            logger.info("read %d API keys from %s", len(keys), self._path)
        else:
            logger.warning("%s holds no API key, so nobody gets in", self._path)

    def _read(self) -> bytes:
        """What the file holds. It stays open until the next read: when descriptors run out, this one is given up."""
        try:
            try:
                opened = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)  # never waits for a pipe's other end
            except OSError as error:
                if self._opened is None or error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                self._close()
                opened = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            self._close()
            self._opened = opened
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise _broken(self._path, "is not a plain file")
            with os.fdopen(opened, "rb", closefd=False) as file:
                content = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise _broken(self._path, f"is larger than {MOST_BYTES} bytes")
            return content
        except OSError as error:
            raise _broken(self._path, f"cannot be read: {error.strerror}") from error

    def _close(self) -> None:
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None


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
    return keys


def _broken(path: Path, fault: str) -> BrokenKeys:
    named = "the value" if KEY_PREFIX in str(path) else str(path)  # it may be a key by mistake
    name = variable("api_keys_file")
    return BrokenKeys(f"{name}: {named} {fault}; it names a file, for example: {name}=/etc/app/keys")


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
