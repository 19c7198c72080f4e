"""What Schemathesis must know of the service that the OpenAPI document cannot say."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis import GenerationMode

UNKNOWN_HEADER = "x-schemathesis-unknown-property"
JSON = "application/json"
HEAD_BYTES = "Inference-Header-Content-Length"
OLDER = {"/add": "1", "/reverse": "2"}
"""The versions that accept less than the document says, which is of the newest."""
EXPRESSIONS = strategies.from_regex(r"(0|[1-9][0-9]?)( *\+ *(0|[1-9][0-9]?)){1,3}", fullmatch=True)
SEQUENCES = strategies.lists(strategies.integers(1, 50), min_size=6, max_size=6)


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:  # noqa: ARG001  Schemathesis gives it by name
    """Write whole numbers without a point.

    To JSON Schema 4.0 is an integer as much as 4 is; to the service, which converts nothing, it is none.
    """
    return written(body)


def written(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [written(item) for item in value]
        case dict():
            return {name: written(item) for name, item in value.items()}
    return value


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:  # noqa: ARG001
    """Leave out requests that are wrong by nothing but a header that is not described, as any browser sends.

    Schemathesis does so by itself but where another header is a number, which it then takes for text. Leave out as well
    requests whose parts are right each by itself and are refused together. Such are lists shorter than what is to be
    taken of them, and what only the newest version accepts, with an older one.
    """
    if UNKNOWN_HEADER in {name.lower() for name in case.headers}:
        return False
    if not is_positive(case):
        return True
    if str((case.query or {}).get("version")) == OLDER.get(case.operation.path):
        return False
    match case.body:
        case {"sequence": list(items), "take": int(take)}:
            return take <= len(items)
    return True


@schemathesis.hook
def flatmap_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> Any:  # noqa: ARG001
    """Of requests to infer that should be taken, have half fit the model that they are for."""
    tensor = TENSORS.get(case.path_parameters.get("name", ""))
    is_to_infer = case.operation.path.endswith("/infer") and case.media_type == JSON
    if tensor is None or not is_to_infer or not is_positive(case):
        return strategies.just(case)

    def fitting(inputs: dict[str, Any]) -> schemathesis.Case[Any]:
        case.body = {"inputs": [inputs]}
        case.headers.pop(HEAD_BYTES, None)
        return case

    return strategies.one_of(strategies.just(case), tensor.map(fitting))


def is_positive(case: schemathesis.Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def _expressions(texts: list[str]) -> dict[str, Any]:
    return {"name": "expression", "datatype": "BYTES", "shape": [len(texts)], "data": texts}


def _sequences(lists: list[list[int]]) -> dict[str, Any]:
    return {"name": "sequence", "datatype": "INT64", "shape": [len(lists), 6], "data": lists}


TENSORS = {
    "addition": strategies.lists(EXPRESSIONS, min_size=1, max_size=5).map(_expressions),
    "reversal": strategies.lists(SEQUENCES, min_size=1, max_size=5).map(_sequences),
}
"""What each of the models that ship takes."""
