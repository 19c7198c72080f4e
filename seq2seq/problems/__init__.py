"""The kinds of problem, one module each, named as its kind. A recipe in `training` fits a network for one."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from seq2seq.problem import Problem, SpecError


def kinds() -> list[str]:
    """The names of all kinds there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def from_spec(spec: dict[str, Any]) -> Problem:
    """Rebuild a problem from what its `spec()` gave. Raises `SpecError` that says what is wrong with it."""
    fields = dict(spec)
    kind = fields.pop("kind", None)
    if kind not in kinds():
        raise SpecError(f"unknown kind of problem {kind!r}; there are {', '.join(kinds())}")
    importlib.import_module(f"{__name__}.{kind}")
    try:
        problem = Problem.kinds[kind](**fields)
    except (TypeError, ValueError) as error:
        raise SpecError(f"not a spec of the kind {kind}: {error}") from error
    if problem.spec() != spec:
        raise SpecError(f"not a spec of the kind {kind}: {spec!r} reads back as {problem.spec()!r}")
    return problem
