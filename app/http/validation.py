"""A body's bytes as a value, or what is wrong with them, in words for people.

Knows nothing of routes or statuses.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.http.schemas import Fault
from app.text import clipped
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
    "string_too_long": "length",
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


MOST_PARTS = 10_000
"""How many lists, objects and fields a body may hold.

Each costs memory, and pydantic builds an error for each unknown field. A body of 1 MiB with 105,000 unknown fields took
242 ms, and one with 520,000 nested lists 560 ms. A batch of 1,000 lists holds 1,003 parts.
"""

SHORTEST_COUNTED = 64 * 1024
"""Shorter bodies are not counted: whatever they hold, they take less than 10 ms."""

UNCOUNTED = bytes(set(range(256)) - set(b'[{:"'))
"""The bytes that neither begin a part nor delimit a text."""

Schema = TypeVar("Schema", bound=BaseModel)


class Invalid(Exception):
    """A body that a schema does not accept: its first faults, and how many it has in all."""

    def __init__(self, faults: Sequence[Fault], count: int = 1):
        super().__init__(faults[0].detail)
        self.faults = faults
        self.count = count


def parse(schema: type[Schema], body: bytes, most_faults: int) -> Schema:
    """The body as the schema has it. Raises `Invalid`."""
    if len(body) > SHORTEST_COUNTED:
        _check_parts(body)
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        faults = [_fault(detail, schema, body) for detail in error.errors(include_url=False)[:most_faults]]
        raise Invalid(faults, error.error_count()) from None


def parse_whole(schema: type[Schema], body: bytes, most_faults: int) -> Schema:
    """The same, and no field of the body is given twice. Raises `Invalid`."""
    value = parse(schema, body, most_faults)
    if body.count(b":") > len(value.model_fields_set):  # no other body can give a field twice
        check_fields(body)
    return value


def check_fields(body: bytes) -> None:
    """Raise `Invalid` where a valid body gives a field of its outermost object twice. Pydantic keeps the last one."""
    names: list[str] = json.loads(body, object_pairs_hook=_names)
    if (name := _repeated(names)) is not None:
        raise Invalid([_given_twice(name, _pointer((name,)))])


def check_all_fields(body: bytes) -> None:
    """Raise `Invalid` where any object of a valid body gives a field twice."""
    ALL_FIELDS.decode(body.decode("utf-8"))


def _names(pairs: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in pairs]


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    if (name := _repeated(_names(pairs))) is not None:
        raise Invalid([_given_twice(name, "")])


ALL_FIELDS = json.JSONDecoder(object_pairs_hook=_check_names)


def _repeated(names: list[str]) -> str | None:
    if len(set(names)) == len(names):
        return None
    return next(name for name, count in Counter(names).items() if count > 1)


def _given_twice(name: str, pointer: str) -> Fault:
    return Fault(pointer=pointer, detail=f'the field "{clipped(name, 60)}" is given twice', rule="repeated_field")


def _check_parts(body: bytes) -> None:
    if _parts(body) > MOST_PARTS and _parts(_without_texts(body)) > MOST_PARTS:
        detail = f"the body holds more than {MOST_PARTS} lists, objects and fields; send fewer"
        raise Invalid([Fault(pointer="", detail=detail, rule="parts")])


def _without_texts(body: bytes) -> bytes:
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, UNCOUNTED)
    return b"".join(marks.split(b'"')[::2])


def _parts(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{") + body.count(b":")


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
        case "string_too_long":
            return f"{name} has over {context['max_length']:,} characters; send fewer"
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
    fields = {field.alias or name: field for name, field in schema.model_fields.items() if field.is_required()}
    if not fields:
        return "an object"
    if all(field.examples for field in fields.values()):
        example = {name: field.examples[0] for name, field in fields.items() if field.examples}
        return clipped(f"an object such as {json.dumps(example)}")
    return "an object with " + " and ".join(f'"{name}"' for name in fields)


def _kind(value: Any) -> str:
    return JSON_TYPES.get(type(value), type(value).__name__)
