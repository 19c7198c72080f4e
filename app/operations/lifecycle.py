"""The phases of a worker: starting, ready, draining. Knows no models and no HTTP."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

YOUNG_OBJECTS = 10_000
"""How many objects are made before the collector looks at the young ones; Python's own is 700.

With 700 it took 2.4% of the time of batches of 100 items, and 1.8% of single requests over 256 connections. With 10,000
it takes less than 0.1%, and in 60 s of load memory stays the same.
"""


class Phase(Enum):
    """STARTING until models are loaded and warm; DRAINING from the first signal to stop."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "stopping"


class Lifecycle:
    """The phase of this worker. The health routes show it and the server moves it on."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING

    def is_draining(self) -> bool:
        return self.phase is Phase.DRAINING

    def drain(self) -> None:
        """Ask for no more requests. Those that come are still answered."""
        self.phase = Phase.DRAINING

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """From the first turn of the event loop to the last."""
        gc.collect()
        gc.freeze()  # the models live as long as the process, so the collector need not look at them again
        before = gc.get_threshold()
        gc.set_threshold(YOUNG_OBJECTS)
        self.phase = Phase.READY
        try:
            yield
        finally:
            self.phase = Phase.DRAINING
            gc.set_threshold(*before)
            gc.unfreeze()
