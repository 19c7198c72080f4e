"""What is wrong with a body, in words for people: pydantic's errors and broken rules as faults.

Knows nothing of routes or statuses.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.schemas import Fault, clipped
from seq2seq.problem import RuleBroken

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
RULES = {
    "json_invalid": "json",
    "model_type": "object",
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "list_type": "list",
    "too_short": "items",
    "too_long": "items",
}
"""pydantic's type of error → the name of the rule."""

JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
WANTED = {
    "bool_type": "a boolean",
    "dict_type": "an object",
    "int_type": "an integer",
    "list_type": "a list",
    "string_type": "text",
}
"""pydantic's type of error → what it wants a value to be."""


def faults(error: ValidationError, schema: type[BaseModel], body: bytes, most: int) -> list[Fault]:
    """A fault for each thing that pydantic found wrong with a body, up to so many: a body may have 100,000 of them."""
    return [_fault(detail, schema, body) for detail in error.errors(include_url=False)[:most]]


def repeated_field(schema: type[BaseModel], body: bytes) -> Fault | None:
    """The fault of a valid body in which a field stands twice, of which pydantic keeps the last.

    A body with no more colons than fields repeats none, so hardly any body is read again for this.
    """
    if body.count(b":") <= len(schema.model_fields):
        return None
    names = [name for name, _ in json.loads(body, object_pairs_hook=list)]
    for name in names:
        if names.count(name) > 1:
            return Fault(pointer=_pointer((name,)), detail=f'the field "{name}" is given twice', rule="repeated_field")
    return None


def _fault(error: ErrorDetails, schema: type[BaseModel], body: bytes) -> Fault:
    pointer = _pointer(error["loc"])
    broken = error.get("ctx", {}).get("error")
    if isinstance(broken, RuleBroken):
        return Fault.of(broken, pointer)
    rule = RULES.get(error["type"], error["type"])
    return Fault(pointer=pointer, detail=_describe(error, _shape(schema), body), rule=rule)


def _pointer(places: tuple[int | str, ...]) -> str:
    """A JSON pointer (RFC 6901)."""
    escaped = [str(place).replace("~", "~0").replace("/", "~1") for place in places]
    return "".join("/" + clipped(place, 60) for place in escaped)


def _describe(error: ErrorDetails, right: str, body: bytes) -> str:
    """An error of one of the kinds that the schemas here can give; `right` is the shape of a right body."""
    name = _name(error["loc"])
    context = error.get("ctx", {})
    match error["type"]:
        case "json_invalid":
            return _describe_json(context["error"], right, body)
        case "model_type":
            return f"{name} is {_kind(error['input'])}; send {right}"
        case "missing":
            return f"the field {name} is missing; send {right}"
        case "extra_forbidden":
            return f"the field {name} is unknown; send {right}"
        case type_ if type_ in WANTED:
            return f"{name} is {_kind(error['input'])}; it must be {WANTED[type_]}"
        case "too_short":
            return f"{name} is empty; at least {context['min_length']} item is needed"
        case "too_long":
            return f"{name} holds {context['actual_length']} items; at most {context['max_length']} are allowed"
    return clipped(f"{name}: {error['msg']}")


def _name(places: tuple[int | str, ...]) -> str:
    match places:
        case ():
            return "the body"
        case (*_, int(index)):
            return f"item {index}"
    return f'"{clipped(str(places[-1]), 40)}"'


def _describe_json(reason: str, right: str, body: bytes) -> str:
    what, _, place = reason.partition(" at line ")
    if not body.strip():
        return f"the body is empty; send {right}"
    if body.startswith(BYTE_ORDER_MARK):
        return "the body starts with a byte order mark; send it without"
    if what == "recursion limit exceeded":
        return f"the body is nested too deeply, at line {place}; send {right}"
    if what == "invalid unicode code point":
        return f"the body is not valid UTF-8, at line {place}"
    return clipped(f"the body is not valid JSON: {reason}")


def _shape(schema: type[BaseModel]) -> str:
    """What a right body looks like: an example where the fields that it must have have one, else their names."""
    fields = {name: field for name, field in schema.model_fields.items() if field.is_required()}
    if not fields:
        return "an object"
    if all(field.examples for field in fields.values()):
        example = {name: field.examples[0] for name, field in fields.items() if field.examples}
        return clipped(f"an object such as {json.dumps(example)}")
    return "an object with " + " and ".join(f'"{name}"' for name in fields)


def _kind(value: Any) -> str:
    return JSON_TYPES.get(type(value), type(value).__name__)
