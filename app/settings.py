"""What can be set, from the environment: one class that the command line, the README's table and the service share.

Made when an app is made, never at import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

PREFIX = "APP_"


class WrongSetting(Exception):
    """A setting whose value cannot be used. The message names it and says what is wrong."""


class Settings(BaseSettings):
    """The service's settings; each is read from the environment by its name in capitals after `APP_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    models_dir: Path = Field(default=Path("models"), description="Where the bundles are, as <name>/<version>/")
    versions: dict[str, PositiveInt] = Field(
        default={}, description='Versions to serve instead of the newest, as JSON: {"addition": 1}'
    )
    runtime: Literal["onnx", "tensorflow"] = Field(
        default="onnx", description="What runs the networks: onnx, or tensorflow where it is installed"
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 for any that is free")
    workers: PositiveInt = Field(default=1, description="Processes that serve, each with its own copy of the models")
    max_batch_size: PositiveInt = Field(default=64, description="Most requests that a network answers in one run")
    max_body_bytes: PositiveInt = Field(default=64 * 1024, description="Largest body of a single request")
    max_batch_body_bytes: PositiveInt = Field(default=1024 * 1024, description="Largest body of a batch request")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", description="Least severe messages to log: critical, error, warning, info or debug"
    )
    access_log: bool = Field(default=False, description="Whether to log a line for every request")


def load() -> Settings:
    """Settings from the environment. Raises `WrongSetting`."""
    try:
        return Settings()
    except ValidationError as error:
        raise WrongSetting("; ".join(_complaint(detail) for detail in error.errors())) from error
    except SettingsError as error:
        raise WrongSetting(f"{error}: {error.__cause__}") from error


def variable(name: str) -> str:
    """`"models_dir"` → `"APP_MODELS_DIR"`."""
    return PREFIX + name.upper()


def option(name: str) -> str:
    """`"models_dir"` → `"--models-dir"`."""
    return "--" + name.replace("_", "-")


def default(name: str) -> str:
    """A setting's default as it would be written in the environment."""
    value = Settings.model_fields[name].default
    return str(value) if isinstance(value, str | Path) else json.dumps(value)


def table() -> str:
    """All settings as the Markdown table that stands in the README."""
    rows = [
        f"| `{variable(name)}` | `{option(name)}` | `{default(name)}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | option | default | what it sets |", "|---|---|---|---|", *rows])


def _complaint(error: Any) -> str:
    name = str(error["loc"][0])
    place = "".join(f"[{part}]" for part in error["loc"][1:])
    return f"{variable(name)}{place} is {error['input']!r:.60}: {error['msg']}"
