"""`GET /models` and `GET /models/{name}`: what is served, as the manifests have it."""

from fastapi import APIRouter

from app.errors import ProblemError, documented
from app.registry import Registry
from app.schemas import ModelDescription, ModelList, clipped


def router(registry: Registry) -> APIRouter:
    """The routes that describe the models of `registry`."""
    described = {name: ModelDescription.of(model) for name, model in registry.items()}
    router = APIRouter(tags=["models"])

    @router.get("/models", responses=documented(500))
    async def list_models() -> ModelList:
        """Describe every model that is served."""
        return ModelList(models=list(described.values()))

    @router.get("/models/{name}", responses=documented(404, 500))
    async def describe_model(name: str) -> ModelDescription:
        """Describe one model that is served."""
        if name not in described:
            raise ProblemError(404, f"There is no model {clipped(name, 60)}; there are {', '.join(described)}.")
        return described[name]

    return router
