"""What can be set, from the environment: one class that the command line, the README's table and the service share.

Made when an app is made, never at import.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

PREFIX = "APP_"


class WrongSetting(Exception):
    """A setting whose value cannot be used. The message names it and says what is wrong."""


class Canary(BaseModel):
    """A version that gets a share of the requests which name none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: PositiveInt
    share: float = Field(ge=0, le=1)


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.\-]*://[^/?#@*\s]+", value):
        raise ValueError("an origin is scheme and host, and a port where there is one, such as https://example.com")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", value.lower()):
        raise ValueError("a host is a name or an address without a port, such as example.com or *.example.com")
    return value.lower()


def _root_path(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", value):
        raise ValueError("a root path starts with a slash and holds letters, digits and .-_~ only, such as /svc")
    return value.rstrip("/")


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError("a proxy is an address or a network, such as 192.0.2.7 or 10.0.0.0/8") from None


class Settings(BaseSettings):
    """The service's settings; each is read from the environment by its name in capitals after `APP_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    models_dir: Path = Field(default=Path("models"), description="Where the bundles are, as <name>/<version>/")
    versions: dict[str, PositiveInt] = Field(
        default={}, description='Versions to serve instead of the newest, as JSON: {"addition": 1}'
    )
    canaries: dict[str, Canary] = Field(
        default={},
        description='Versions that get a share of the requests, as JSON: {"addition": {"version": 2, "share": 0.1}}',
    )
    required_models: list[str] = Field(
        default=[], description='Models without which the service refuses to start, as JSON: ["addition"]'
    )
    watch_s: NonNegativeFloat = Field(
        default=5.0, description="Seconds between looks for versions that were added or removed; 0 for never"
    )
    load_timeout_s: PositiveFloat = Field(
        default=20.0, description="Seconds of processor time in which a version must load and answer its examples"
    )
    model_control: bool = Field(
        default=False, description="Whether clients may load and unload models; with one worker only"
    )
    runtime: Literal["onnx", "tensorflow"] = Field(
        default="onnx", description="What runs the networks: onnx, or tensorflow where it is installed"
    )
    prove: bool = Field(
        default=False, description="Whether to prove each model anew before it is served, which takes seconds"
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface")
    root_path: Annotated[str, AfterValidator(_root_path)] = Field(
        default="", description="Prefix under which a proxy serves the API, such as /svc; empty for none"
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 for any that is free")
    workers: PositiveInt = Field(default=1, description="Processes that serve, each with its own copy of the models")
    max_batch_size: PositiveInt = Field(default=64, description="Most requests that a network answers in one run")
    max_body_bytes: PositiveInt = Field(default=64 * 1024, description="Largest body of a single request")
    max_batch_body_bytes: PositiveInt = Field(default=1024 * 1024, description="Largest body of a batch request")
    max_bodies_bytes: PositiveInt = Field(
        default=32 * 1024 * 1024,
        description="Limit in bytes of all request bodies that a process has received in part; past it, 503",
    )
    max_queue: PositiveInt = Field(
        default=4096,
        description="Items that wait for a model, a batch's all counted, past which requests are answered 429",
    )
    deadline_s: PositiveFloat = Field(
        default=10.0, description="Seconds that a request may take, 504 past it; X-Timeout-Ms may shorten it"
    )
    read_timeout_s: PositiveFloat = Field(
        default=20.0, description="Seconds in which a request must have come whole, 408 past it, or a client read on"
    )
    idle_timeout_s: PositiveInt = Field(default=75, description="Seconds that a connection is kept between requests")
    drain_s: NonNegativeFloat = Field(
        default=2.0, description="Seconds that the service goes on after SIGTERM, no longer ready, before it stops"
    )
    stop_timeout_s: PositiveInt = Field(default=20, description="Seconds that requests in flight then have to finish")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", description="Least severe messages to log: critical, error, warning, info or debug"
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="How a line of the log looks: console, or json for what collects logs"
    )
    access_log: bool = Field(default=False, description="Whether to log a line for every request")
    tracing: bool = Field(
        default=False, description="Whether to send OpenTelemetry traces, as the `OTEL_*` variables say"
    )
    api_keys_file: Path | None = Field(
        default=None, description="File of the API keys that are asked for on every route but health; none for no keys"
    )
    allowed_hosts: list[Annotated[str, AfterValidator(_host)]] = Field(
        default=[],
        description='Hosts that requests may be for, as JSON: ["*.example.com"]; empty for any'
        ", but on a loopback address for its own names",
    )
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(
        default=[],
        description="Proxies whose X-Forwarded-For names the client in the access log and in traces",
        examples=["10.0.0.0/8,192.0.2.7"],
    )
    cors_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        default=[], description='Origins whose pages may ask from a browser, as JSON: ["https://example.com"]; or ["*"]'
    )
    docs: bool = Field(default=True, description="Whether to serve /docs and /openapi.json")
    metrics: bool = Field(default=True, description="Whether to serve /metrics")


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
    if value is None:
        return "none"
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
    return f"{variable(name)}{place} is {error['input']!r:.60}: {error['msg'].removeprefix('Value error, ')}"
