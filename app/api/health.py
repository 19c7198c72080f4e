"""`GET /health/live` and `GET /health/ready`: whether the process works, and whether to send it requests."""

from fastapi import APIRouter

from app.http.problem_details import ProblemError, documented
from app.http.schemas import Health
from app.operations.lifecycle import Lifecycle, Phase
from app.serving.repository import Repository

STUCK_S = 30.0
"""How long a request may wait for its turn before the process is held to be stuck, which no load explains."""


def require_live(repository: Repository) -> None:
    """Raise 503 where a request waits for ever."""
    predictors = [predictor for served in repository.values() for predictor in served.predictors.values()]
    if any(predictor.is_stuck(STUCK_S) for predictor in predictors):
        raise ProblemError(503, f"A request has waited for its turn for more than {STUCK_S:g} s.")


def require_ready(lifecycle: Lifecycle, repository: Repository) -> None:
    """Raise 503 unless requests are welcome and a model was loaded. What a client unloads changes nothing here."""
    if lifecycle.phase is not Phase.READY:
        raise ProblemError(503, f"The service is {lifecycle.phase.value}; try another instance, or again shortly.")
    if not repository.is_loaded:
        raise ProblemError(503, "No model could be loaded; the log and /v2/repository/index say why.")


def router(lifecycle: Lifecycle, repository: Repository) -> APIRouter:
    """The routes that say how the service is."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", responses=documented(500, 503))
    async def live() -> Health:
        """Say that the process works: it answers, and no request waits for ever."""
        require_live(repository)
        return Health(status="live")

    @router.get("/ready", responses=documented(500, 503))
    async def ready() -> Health:
        """Say whether models are loaded and requests are welcome."""
        require_ready(lifecycle, repository)
        return Health(status="ready")

    return router
