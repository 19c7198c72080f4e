"""How the OpenAPI document describes the protocol's errors."""

from __future__ import annotations

from typing import Any

from app.http.problem_details import MEANINGS, described, protocol_content

TAG = "open inference protocol"
PROTOCOL_MEANINGS = MEANINGS | {
    400: "The request is not what the protocol, or the model, takes: `error` says what is wrong, and where.",
    403: "A web page of another origin must not change what is served.",
    415: "The content coding of the body is unknown.",
}


def protocol_documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these errors, for a route of the protocol."""
    return {status: described(status, protocol_content(status), PROTOCOL_MEANINGS) for status in statuses}
