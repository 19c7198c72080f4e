"""`GET /models/{name}/report/{file}`: a bundle's model card and plots, each as it was when the bundle was sealed.

Only files that the manifest lists are read, and only content with the SHA-256 that it lists is sent.
"""

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.http.problem_details import ProblemError, documented
from app.http.problem_types import ProblemType
from app.http.schemas import ModelName, Version
from app.serving.models import Model
from app.serving.repository import Repository
from app.text import clipped
from seq2seq.bundle import Bundle, BundleError

FOLDER = "report/"
MEDIA_TYPES = {".md": "text/markdown; charset=utf-8", ".png": "image/png"}
MOST_BYTES = 5_000_000
KEPT = "private, max-age=86400"
"""Browsers may keep a file for a day. A version's files do not change."""

FileName = Annotated[str, Path(description="A file of the report, such as card.md")]


def router(repository: Repository) -> APIRouter:
    """The route that shows the reports of the bundles of `repository`."""
    router = APIRouter(tags=["models"])
    described = {"schema": {"type": "string"}}

    @router.get(
        "/models/{name}/report/{file}",
        response_class=Response,
        responses={
            200: {"content": {"text/markdown": described, "image/png": described}},
            **documented(ProblemType.UNKNOWN_MODEL, ProblemType.INTERNAL_ERROR, ProblemType.MODEL_UNAVAILABLE),
        },
    )
    async def show_report(request: Request, name: ModelName, file: FileName, version: Version = None) -> Response:
        """Show a file of a model's report: its card, which is Markdown, or a plot."""
        model = repository[name].pick(version).model
        files = readable(model)
        if file not in files:
            known = ", ".join(files) or "none"
            raise ProblemError(
                ProblemType.UNKNOWN_MODEL, f"The report of {name} has no file {clipped(file, 60)}; there are {known}."
            )
        headers = {"ETag": f'"{model.manifest.files[FOLDER + file].sha256}"', "Cache-Control": KEPT}
        if headers["ETag"] == request.headers.get("if-none-match"):
            return Response(status_code=304, headers=headers)
        bundle = Bundle(repository.models_dir / model.manifest.name / model.manifest.version, model.manifest)
        try:
            content = await run_in_threadpool(bundle.content, FOLDER + file)
        except BundleError as error:
            raise ProblemError(ProblemType.MODEL_UNAVAILABLE, f"The file {file} {clipped(error.fault)}.") from error
        return Response(content, headers=headers, media_type=MEDIA_TYPES[PurePath(file).suffix])

    return router


def readable(model: Model) -> list[str]:
    """The files of a model's report that are shown."""
    return sorted(
        path.removeprefix(FOLDER)
        for path, entry in model.manifest.files.items()
        if path.startswith(FOLDER) and PurePath(path).suffix in MEDIA_TYPES and entry.size <= MOST_BYTES
    )
