"""`GET /models` and `GET /models/{name}`: what is served, as the manifests have it."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import WithJsonSchema

from app.http.problem_details import ProblemError, documented
from app.http.problem_types import ProblemType
from app.http.schemas import ModelDescription, ModelDetails, ModelList, ModelName, ModelSummaries, ModelSummary, Version
from app.serving.repository import Repository
from app.text import clipped

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

Brief = Annotated[
    str,
    Query(description="Whether to leave out all that is not needed to ask the models"),
    WithJsonSchema({"type": "boolean", "default": False}),
]


def router(repository: Repository) -> APIRouter:
    """The routes that describe the models of `repository`."""
    router = APIRouter(tags=["models"])

    @router.get(
        "/models", responses={200: {"links": LINKS}, **documented(ProblemType.BAD_REQUEST, ProblemType.INTERNAL_ERROR)}
    )
    async def list_models(brief: Brief = "false") -> ModelList | ModelSummaries:
        """Describe every model that is served, by the version that answers."""
        answering = [each for _, each in sorted(repository.items()) if each.predictors]
        if brief not in ("true", "false"):
            raise ProblemError(
                ProblemType.BAD_REQUEST, f"The query parameter brief is {clipped(brief, 60)}; send true or false."
            )
        if brief == "true":
            return ModelSummaries(models=[ModelSummary.of(each.pick().model, each.predictors) for each in answering])
        return ModelList(models=[ModelDescription.of(each.pick().model, each.predictors) for each in answering])

    @router.get(
        "/models/{name}",
        responses=documented(ProblemType.UNKNOWN_MODEL, ProblemType.INTERNAL_ERROR, ProblemType.MODEL_UNAVAILABLE),
    )
    async def describe_model(name: ModelName, version: Version = None) -> ModelDetails:
        """Describe one model that is served."""
        served = repository[name]
        return ModelDetails.of(served.pick(version).model, served.predictors)

    return router
