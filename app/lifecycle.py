"""The phases of a serving process: starting, ready, draining. Knows nothing of models or HTTP."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum


class Phase(Enum):
    """STARTING until models are loaded and warm; DRAINING from the first wish that the process stop."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "stopping"


class Lifecycle:
    """Where the process stands, for those who ask and those who move it on."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING

    def is_draining(self) -> bool:
        return self.phase is Phase.DRAINING

    def drain(self) -> None:
        """No more requests are wanted; those that come are still answered."""
        self.phase = Phase.DRAINING

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """From the first turn of the event loop to the last."""
        gc.collect()
        gc.freeze()  # the models live as long as the process, so the collector need not look at them again
        self.phase = Phase.READY
        try:
            yield
        finally:
            self.phase = Phase.DRAINING
            gc.unfreeze()
