"""`GET /metrics`: what Prometheus scrapes."""

from fastapi import APIRouter
from starlette.responses import Response

from app.http.problem_details import documented
from app.http.problem_types import ProblemType
from app.operations import metrics
from app.operations.shared_metrics import SharedMetrics


def router(workers: SharedMetrics) -> APIRouter:
    """The route that shows the measures of all workers."""
    router = APIRouter(tags=["metrics"])

    @router.get(
        "/metrics",
        name="metrics",
        response_class=Response,
        responses={
            200: {"content": {metrics.CONTENT_TYPE: {"schema": {"type": "string"}}}},
            **documented(ProblemType.INTERNAL_ERROR),
        },
    )
    async def show() -> Response:
        """Show counts, times and sizes in Prometheus' text format."""
        return Response(metrics.text(workers.families()), media_type=metrics.CONTENT_TYPE)

    return router
