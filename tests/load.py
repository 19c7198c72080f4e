"""Load for the reliability tests: many connections at once, every answer held against the truth.

It uses bare sockets. So one core can ask some thousands of times a second, and no library hides what a connection did.
Whatever does not end in one whole answer counts as a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ANSWER_S = 30.0
QUESTIONS = 500
"""How many questions an open loop asks in turn. They are made beforehand, so that none makes the loop late."""


class Question(NamedTuple):
    """What is sent, and the sum (or the sums) that the answer must hold."""

    path: str
    body: bytes
    sums: list[int]


class Answer(NamedTuple):
    """What came back, and how many seconds after it was due."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def sums(self) -> tuple[list[Any], str]:
        """The sums, and the version that gave them."""
        data = json.loads(self.body)
        results = data.get("results", [data])
        return [result["sum"] for result in results], data["model"]["version"]


class Failed(Exception):
    """A request that got no whole answer."""


@dataclass
class Tally:
    """What became of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    answered: Counter[int] = field(default_factory=Counter)
    """How many got a 200 in each second of the clock."""

    versions: Counter[str] = field(default_factory=Counter)
    refused_without_retry: int = 0

    def add(self, question: Question, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.seconds.append(answer.seconds)
            self.answered[int(time.monotonic())] += 1
            sums, version = answer.sums()
            self.versions[version] += 1
            if sums != question.sums:
                self.wrong.append(f"{question.body!r:.100} gave {answer.body!r:.200}")
        elif answer.status == 429 and not answer.headers.get("retry-after", "").isdigit():
            self.refused_without_retry += 1

    def quantile(self, share: float) -> float:
        """Of the seconds that right answers took."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]

    def assert_clean(self) -> None:
        """Every request was answered, by 200, with the truth."""
        assert not self.failures, self.failures
        assert not self.wrong, self.wrong[:5]
        assert set(self.statuses) == {200}, self.statuses


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer; `100 Continue` is none."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        status = int(status_line.split()[1])
        if status != 100:
            break
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return status, headers, await reader.readexactly(int(headers["content-length"]))


class Connection:
    """Asks one question after another; connects when first needed, and anew once the server said that it closes."""

    def __init__(self, port: int):
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, question: Question, due: float | None = None) -> Answer:
        """Raises `Failed` if no whole answer comes. The next question then goes over a new connection."""
        loop = asyncio.get_running_loop()
        due = loop.time() if due is None else due
        status, headers, body = await self.exchange(
            b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (question.path.encode("ascii"), len(question.body), question.body)
        )
        return Answer(status, headers, body, loop.time() - due)

    async def exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to a request. Raises `Failed` as `ask` does."""
        try:
            status, headers, body = await asyncio.wait_for(self._exchange(request), ANSWER_S)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            self.close()
            raise Failed(f"{type(error).__name__}: {error}") from error
        if headers.get("connection") == "close":
            self.close()
        return status, headers, body

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self._reader is not None
        self._writer.write(request)
        return await read_answer(self._reader)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def sums(seed: int, items: int = 1) -> Iterator[Question]:
    """Random sums without end; with more than one item, in batches of so many."""
    rng = random.Random(seed)
    while True:
        terms = [[rng.randint(0, 99) for _ in range(rng.choice((2, 3)))] for _ in range(items)]
        expressions = ["+".join(map(str, each)) for each in terms]
        truths = [sum(each) for each in terms]
        if items == 1:
            yield Question("/add", b'{"expression":"%s"}' % expressions[0].encode("ascii"), truths)
        else:
            yield Question("/add/batch", json.dumps({"expressions": expressions}).encode("ascii"), truths)


@contextlib.asynccontextmanager
async def closed_loop(choose: Callable[[], Awaitable[int]] | int, clients: int, items: int = 1) -> AsyncIterator[Tally]:
    """Clients that each ask again once they are answered, for as long as the context lasts.

    `choose` is the port, or finds it before each question. A client connects again when it is another one.
    """
    tally = Tally()
    goes_on = True

    async def play(seed: int) -> None:
        connection: Connection | None = None
        for question in sums(seed, items):
            if not goes_on:
                break
            port = choose if isinstance(choose, int) else await choose()
            if connection is None or connection.port != port:
                if connection is not None:
                    connection.close()
                connection = Connection(port)
            try:
                tally.add(question, await connection.ask(question))
            except Failed as failure:
                tally.failures[str(failure)] += 1
        if connection is not None:
            connection.close()

    tasks = [asyncio.create_task(play(seed)) for seed in range(clients)]
    try:
        yield tally
    finally:
        goes_on = False
        await asyncio.gather(*tasks)


async def open_loop(port: int, rate: float, seconds: float, *, connections: int, items: int, seed: int = 0) -> Tally:
    """Questions at random times (a Poisson process), `rate` a second, whether earlier ones were answered or not.

    Each goes over the connection that has been free for longest; latency counts from when it was due.
    """
    loop = asyncio.get_running_loop()
    tally = Tally()
    rng = random.Random(seed)
    questions = itertools.cycle(list(itertools.islice(sums(seed, items), QUESTIONS)))
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(Connection(port))
    tasks: set[asyncio.Task[None]] = set()

    async def ask(question: Question, due: float) -> None:
        connection = await free.get()
        try:
            tally.add(question, await connection.ask(question, due))
        except Failed as failure:
            tally.failures[str(failure)] += 1
        free.put_nowait(connection)

    started = loop.time()
    due = started
    while (due := due + rng.expovariate(rate)) < started + seconds:
        question = next(questions)
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(ask(question, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait().close()
    return tally
