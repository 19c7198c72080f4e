"""`GET /health/live` and `GET /health/ready`: whether the process works, and whether to send it requests."""

from collections.abc import Callable

from fastapi import APIRouter

from app.errors import ProblemError, documented
from app.schemas import Health


def router(is_ready: Callable[[], bool]) -> APIRouter:
    """The routes that say how the service is."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", responses=documented(500))
    async def live() -> Health:
        """Say that the process answers."""
        return Health(status="live")

    @router.get("/ready", responses=documented(500, 503))
    async def ready() -> Health:
        """Say whether every model is loaded and requests are welcome."""
        if not is_ready():
            raise ProblemError(503, "The service is starting or stopping; try again shortly.")
        return Health(status="ready")

    return router
