"""The phases of a worker: starting, ready, draining. Knows no models and no HTTP."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum


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
        gc.enable()
        self.phase = Phase.READY
        try:
            yield
        finally:
            self.phase = Phase.DRAINING
            gc.unfreeze()
