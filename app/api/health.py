"""`GET /health/live` and `GET /health/ready`: whether the process works, and whether to send it requests."""

from fastapi import APIRouter

from app.http.problem_details import documented
from app.http.problem_types import ProblemType
from app.http.schemas import HealthStatus
from app.operations.health import Health


def router(health: Health) -> APIRouter:
    """The routes that say how the service is."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", responses=documented(ProblemType.INTERNAL_ERROR, ProblemType.NOT_READY))
    async def live() -> HealthStatus:
        """Say that the process works: it answers, and no request waits for ever."""
        health.require_live()
        return HealthStatus(status="live")

    @router.get("/ready", responses=documented(ProblemType.INTERNAL_ERROR, ProblemType.NOT_READY))
    async def ready() -> HealthStatus:
        """Say whether models are loaded and requests are welcome."""
        health.require_ready()
        return HealthStatus(status="ready")

    return router
