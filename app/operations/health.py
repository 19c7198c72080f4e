"""Whether the process works, and whether to send it requests."""

from __future__ import annotations

from collections.abc import Collection

from app.http.problem_details import ProblemError
from app.http.problem_types import ProblemType
from app.operations.lifecycle import Lifecycle, Phase
from app.serving.repository import Repository

STUCK_S = 20.0
"""How far past its deadline a request may wait for its turn. Load does not explain more: the process is stuck."""

WHY = "the log and /v2/repository/index say why"


class Health:
    """Knows how the service is. It is ready once the `wanted` models were loaded, or any model if none is wanted.

    A request may wait `deadline_s` for its turn.
    """

    def __init__(
        self, lifecycle: Lifecycle, repository: Repository, wanted: Collection[str] = (), deadline_s: float = 10.0
    ):
        self._lifecycle = lifecycle
        self._repository = repository
        self._wanted = wanted
        self._stuck_s = deadline_s + STUCK_S

    def require_live(self) -> None:
        """Raise 503 if a request waits for ever."""
        predictors = [each for served in self._repository.values() for each in served.predictors.values()]
        if any(predictor.is_stuck(self._stuck_s) for predictor in predictors):
            detail = f"A request has waited for its turn for more than {self._stuck_s:g} s."
            raise ProblemError(ProblemType.NOT_READY, detail)

    def require_ready(self) -> None:
        """Raise 503 unless requests are welcome and models were loaded. What a client unloads changes nothing here."""
        phase = self._lifecycle.phase
        if phase is not Phase.READY:
            raise ProblemError(
                ProblemType.NOT_READY, f"The service is {phase.value}; try another instance, or again shortly."
            )
        for name in self._wanted:
            if not self._repository.loaded[name]:
                raise ProblemError(ProblemType.NOT_READY, f"The model {name} could not be loaded; {WHY}.")
        if not self._repository.is_loaded:
            raise ProblemError(ProblemType.NOT_READY, f"No model could be loaded; {WHY}.")
