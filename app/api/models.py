"""`GET /models` and `GET /models/{name}`: what is served, as the manifests have it."""

from fastapi import APIRouter

from app.http.problem_details import documented
from app.http.schemas import ModelDescription, ModelList, ModelName, Version
from app.serving.repository import Repository

LINKS = {
    "model": {
        "operationId": "describe_model",
        "parameters": {
            "path.name": "$response.body#/models/0/name",
            "query.version": "$response.body#/models/0/versions/0",
        },
    }
}
"""Where the answer leads."""


def router(repository: Repository) -> APIRouter:
    """The routes that describe the models of `repository`."""
    router = APIRouter(tags=["models"])

    def describe(name: str, version: str | None = None) -> ModelDescription:
        served = repository[name]
        return ModelDescription.of(served.pick(version).model, served.predictors)

    @router.get("/models", responses={200: {"links": LINKS}, **documented(500)})
    async def list_models() -> ModelList:
        """Describe every model that is served, by the version that answers."""
        return ModelList(models=[describe(name) for name in sorted(repository) if repository[name].predictors])

    @router.get("/models/{name}", responses=documented(404, 500, 503))
    async def describe_model(name: ModelName, version: Version = None) -> ModelDescription:
        """Describe one model that is served."""
        return describe(name, version)

    return router
