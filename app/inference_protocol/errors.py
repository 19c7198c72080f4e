"""How the OpenAPI document describes the protocol's errors."""

from __future__ import annotations

from typing import Any

from app.http.problem_details import describe
from app.http.problem_types import ProblemType

TAG = "open inference protocol"
MEANINGS = {
    ProblemType.BAD_REQUEST: "The request is not what the protocol, or the model, takes: `error` says what is wrong,"
    " and where.",
    ProblemType.UNSUPPORTED_MEDIA_TYPE: "The content coding of the body is unknown.",
}


def protocol_documented(*types: ProblemType) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these errors, for a route of the protocol."""
    answers: dict[int | str, dict[str, Any]] = {}
    for each in types:
        describe(answers, each, MEANINGS.get(each, ""), is_protocol=True)
    return answers
