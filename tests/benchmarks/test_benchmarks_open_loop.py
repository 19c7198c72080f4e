import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import machine, open_loop
from benchmarks.contenders import CONTENDERS
from benchmarks.workload import Question

ASKED = [Question("10+6", 16), Question("1+1", 2)]


class Answering(BaseHTTPRequestHandler):
    """Gives the right sum to all but `1+1`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = b'{"expression":"10+6","sum":16}' if b"10+6" in body else b'{"expression":"1+1","sum":3}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        pass


@pytest.fixture
def port() -> Iterator[int]:
    class Server(ThreadingHTTPServer):
        request_queue_size = open_loop.CONNECTIONS
        daemon_threads = True

    with Server(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_requests_are_due_at_the_rate_that_was_asked_for() -> None:
    due = open_loop.due_times(1_000, 10)
    assert due == sorted(due)
    assert due[-1] < 10
    assert len(due) == pytest.approx(10_000, rel=0.05)


def test_every_response_is_kept_and_compared_with_the_truth(port: int) -> None:
    ours = CONTENDERS["ours"]
    payloads = [open_loop.payload(ours, "add", question) for question in ASKED]
    result = open_loop.run(port, payloads, rate=100, seconds=0.2, cores=machine.cores())
    assert len(result.responses) == len(open_loop.due_times(100, 0.2))
    assert result.unanswered == 0
    assert open_loop.wrong(ours, "add", ASKED, result) == sum(number % 2 for number, _ in result.responses)
