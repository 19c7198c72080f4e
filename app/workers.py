"""What the workers of one service tell each other, by files in a folder of theirs: measures, and what is to be loaded.

    orders.json      models to load and unload, in the order in which they were asked for
    orders.lock      held while an order is added
    <pid>.json       a worker's measures, and what became of the orders that it has carried out

A request reaches one worker; what it asks for must hold for all. Files outlive the worker that wrote them, so counts
never fall when a worker dies. With a single worker there is no folder and none of this. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.metrics import Family, total
from app.repository import Repository, UnknownModel
from seq2seq.bundle import BundleError

LOOK_S = 0.1
"""How often a worker looks for orders."""

WRITE_S = 1.0
"""How often a worker writes its measures down, which is how old another's view of them may be."""

ANSWER_S = 60.0
"""How long an order may take all workers."""

Action = Literal["load", "unload"]

logger = logging.getLogger("app")


class NotCarriedOut(Exception):
    """An order that a worker refused. The message says why."""


class NotInTime(Exception):
    """An order that a worker did not get to in time; it may yet."""


@dataclass
class Report:
    """What a worker has written down: its families, and why each order failed, "" where it did not."""

    pid: int
    written: float = 0.0
    families: list[Family] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class Workers:
    """This worker, a process, among those that share a folder; alone where there is none.

    `collect` gives this worker's measures.
    """

    def __init__(
        self,
        folder: Path | None,
        repository: Repository,
        collect: Callable[[], list[Family]],
        pid: int | None = None,
    ):
        self._folder = folder
        self._repository = repository
        self._collect = collect
        self._report = Report(pid or os.getpid())

    def families(self) -> list[Family]:
        """The measures of all workers, added up. What a dead worker counted counts; what it showed does not."""
        others = [family for report in self._others() for family in _lasting(report)]
        return total(self._collect(), others)

    async def order(self, action: Action, name: str) -> None:
        """Have every worker load or unload a model.

        Raises `NotCarriedOut` or `NotInTime`; alone, `BundleError` or `UnknownModel`.
        """
        if self._folder is None:
            await self._carry_out(action, name)
            return
        number = await asyncio.to_thread(self._add_order, action, name)
        ends = time.monotonic() + ANSWER_S
        while (outcomes := self._outcomes(number)) is None:
            if time.monotonic() > ends:
                raise NotInTime(f"not every worker has carried it out within {ANSWER_S:g} s")
            await asyncio.sleep(LOOK_S / 2)
        for outcome in outcomes:
            if outcome:
                raise NotCarriedOut(outcome)

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Keep in touch with the others for as long as the context lasts."""
        if self._folder is None:
            yield
            return
        await self._carry_out_orders()
        self._write()
        task = asyncio.create_task(self._keep_in_touch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._write()

    async def _keep_in_touch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                has_news = await self._carry_out_orders()
                if has_news or time.time() - self._report.written > WRITE_S:
                    self._write()
            except Exception:  # whatever it is, requests are answered on
                logger.exception("cannot keep in touch with the other workers")

    async def _carry_out_orders(self) -> bool:
        """Carry out what was ordered since the last look. Of several orders for a model the last one counts."""
        orders = self._orders()
        done = len(self._report.outcomes)
        last = {name: place for place, (_, name) in enumerate(orders)}
        for place, (action, name) in list(enumerate(orders))[done:]:
            outcome = ""
            if last[name] == place:
                try:
                    await self._carry_out(action, name)
                except (BundleError, UnknownModel) as error:
                    outcome = str(error)
            self._report.outcomes.append(outcome)
        return len(orders) > done

    async def _carry_out(self, action: Action, name: str) -> None:
        await (self._repository.load(name) if action == "load" else self._repository.unload(name))

    def _outcomes(self, number: int) -> list[str] | None:
        """What became of an order in every worker that lives; None while one has not got to it."""
        reports = [self._report, *(report for report in self._others() if report.is_alive)]
        if any(len(report.outcomes) <= number for report in reports):
            return None
        return [report.outcomes[number] for report in reports]

    def _add_order(self, action: Action, name: str) -> int:
        with self._path("orders.lock").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            orders = [*self._orders(), (action, name)]
            _replace(self._path("orders.json"), orders)
        return len(orders) - 1

    def _orders(self) -> list[tuple[Action, str]]:
        with contextlib.suppress(FileNotFoundError):
            return [(action, name) for action, name in json.loads(self._path("orders.json").read_bytes())]
        return []

    def _others(self) -> Iterator[Report]:
        for path in self._folder.glob("[0-9]*.json") if self._folder is not None else ():
            if path.stem != str(self._report.pid):
                data = json.loads(path.read_bytes())
                yield Report(**{**data, "families": [Family.from_data(family) for family in data["families"]]})

    def _write(self) -> None:
        self._report.written = time.time()
        self._report.families = self._collect()
        data: dict[str, Any] = {**vars(self._report)}
        data["families"] = [family.as_data() for family in self._report.families]
        _replace(self._path(f"{self._report.pid}.json"), data)

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise RuntimeError("a single worker shares nothing")
        return self._folder / name


def _lasting(report: Report) -> list[Family]:
    if report.is_alive:
        return report.families
    return [family for family in report.families if family.kind != "gauge"]


def _replace(path: Path, data: Any) -> None:
    """Write a file that others never see half written."""
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    aside.write_text(json.dumps(data), encoding="ascii")
    aside.replace(path)
