"""What can be set, from the environment: one class for the command line, the table in docs/settings.md and the service.

Made when an app is made, never at import.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "APP_"
CLOSE = 0.7
"""How much of an unknown name must agree with a setting's, by difflib, to be held for a misspelling of it."""

ADDRESS = re.compile(r"(tcp|udp|sctp)://")
BY_KUBERNETES = re.compile(rf"{PREFIX}(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)")
"""Variables that Kubernetes sets for a Service called `app`, or `app-...`, besides those with an address."""


class WrongSetting(Exception):
    """A setting whose value cannot be used. The message names it and says what is wrong."""


class Canary(BaseModel):
    """A version that gets a share of the requests which name none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: PositiveInt
    share: float = Field(ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """`2:0.1` is version 2 with a share of 0.1."""
        if not isinstance(value, str):
            return value
        version, colon, share = value.partition(":")
        if not colon:
            raise ValueError("a canary is VERSION:SHARE, such as 2:0.1")
        return {"version": version, "share": share}


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.\-]*://[^/?#@*\s]+", value):
        raise ValueError("an origin is a scheme, a host and perhaps a port, such as https://example.com")
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

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, env_ignore_empty=True, enable_decoding=False, allow_inf_nan=False
    )

    models_dir: Path = Field(default=Path("models"), description="Where the bundles are, as <name>/<version>/")
    versions: dict[str, PositiveInt] = Field(
        default={}, description="Versions to serve instead of the newest", examples=["NAME=1,OTHER=2"]
    )
    canaries: dict[str, Canary] = Field(
        default={},
        description="Versions that get a share of the requests that ask for none, as NAME=VERSION:SHARE",
        examples=["NAME=2:0.1"],
    )
    required_models: list[str] = Field(
        default=[],
        description="Models without which the service refuses to start",
        examples=["NAME,OTHER"],
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
        default=False,
        description="Whether to prove models before they are served, where the truth can be computed; takes seconds, "
        "for large domains minutes",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface")
    root_path: Annotated[str, AfterValidator(_root_path)] = Field(
        default="", description="Prefix under which a proxy serves the API", examples=["/svc"]
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 for any free one")
    workers: PositiveInt = Field(default=1, description="Number of serving processes, each with its own models")
    max_batch_size: PositiveInt = Field(default=64, description="Largest number of items in one run of a network")
    max_loop_s: NonNegativeFloat = Field(
        default=0.005,
        description="Longest time in seconds that a batch may take on the event loop; a network that takes longer runs"
        " on a thread of its own",
    )
    max_body_bytes: PositiveInt = Field(default=64 * 1024, description="Largest body of a single request, in bytes")
    max_batch_body_bytes: PositiveInt = Field(default=1024 * 1024, description="Largest body of a batch, in bytes")
    max_bodies_bytes: PositiveInt = Field(
        default=32 * 1024 * 1024,
        description="Limit in bytes of all request bodies that a process has received in part; past it, 503",
    )
    max_queue: PositiveInt = Field(
        default=4096,
        description="Largest number of items waiting for a model; when it is reached, new requests get 429",
    )
    deadline_s: PositiveFloat = Field(
        default=10.0, description="Time limit for a request in seconds (504); X-Timeout-Ms can shorten it"
    )
    read_timeout_s: PositiveFloat = Field(
        default=20.0,
        description="Timeout in seconds for receiving a request (408) and for a client to read its answer",
    )
    idle_timeout_s: PositiveInt = Field(default=75, description="Seconds that an idle connection is kept open")
    drain_s: NonNegativeFloat = Field(
        default=2.0,
        description="Seconds that the service still answers after SIGTERM, but no longer reports ready",
    )
    stop_timeout_s: PositiveInt = Field(default=20, description="Seconds that requests in flight then have to finish")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", description="Least severe messages to log: critical, error, warning, info or debug"
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Format of the log: console for people, json for programs that collect logs"
    )
    access_log: bool = Field(default=False, description="Whether to log a line for each request")
    tracing: bool = Field(
        default=False, description="Whether to send OpenTelemetry traces, as the `OTEL_*` variables say"
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File of API keys; with it, every route asks for a key but health and the pages at / and /problems",
        examples=["/etc/app/keys"],
    )
    allowed_hosts: list[Annotated[str, AfterValidator(_host)]] = Field(
        default=[],
        description="Host names that the service answers to; without any, to all, or on a loopback address to its own",
        examples=["example.com,*.example.org"],
    )
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(
        default=[],
        description="Proxies whose X-Forwarded-For names the client in the access log and in traces",
        examples=["10.0.0.0/8,192.0.2.7"],
    )
    cors_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        default=[],
        description="Origins whose web pages may send requests, or * for all",
        examples=["https://example.com,https://example.org"],
    )
    docs: bool = Field(default=True, description="Whether to serve /docs and /openapi.json")
    metrics: bool = Field(default=True, description="Whether to serve /metrics")

    @field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Lists and maps as JSON, or with commas: `a,b` and `a=1,b=2`."""
        name = info.field_name or ""
        if not isinstance(value, str):
            return value
        if name == "port" and ADDRESS.match(value):
            return cls.model_fields[name].default
        kind = get_origin(cls.model_fields[name].annotation)
        if kind not in (list, dict):
            return value
        try:
            if isinstance(parsed := json.loads(value, object_pairs_hook=_distinct), kind):
                return parsed
        except (json.JSONDecodeError, RecursionError):
            pass
        parts = [part.strip() for part in value.split(",") if part.strip()]
        return parts if kind is list else _distinct(_pair(part) for part in parts)


def _pair(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise ValueError("it is neither JSON nor NAME=VALUE,NAME=VALUE")
    return name.strip(), value.strip()


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = value
    return found


def load(given: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment, overridden by those given; an empty one is the default.

    Raises `WrongSetting`, also for a variable that looks like a misspelt setting.
    """
    for name in _unknown():
        if near := resembling(name):
            raise WrongSetting(
                f"{ascii(name)[1:-1]} is not a setting; did you mean {variable(near)}? "
                "Unset it if it is meant for another program."
            )
    fields = Settings.model_fields
    overrides: dict[str, Any] = {name: value or fields[name].default for name, value in (given or {}).items()}
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise WrongSetting("; ".join(_complaint(detail) for detail in error.errors())) from error


def remarks() -> list[str]:
    """What is to be said of variables that begin as settings do, but have no effect."""
    from_kubernetes = sorted(name for name in os.environ if _is_set_by_kubernetes(name))
    reasons = {"they are not settings": _unknown(), "Kubernetes sets them for its Services": from_kubernetes}
    return [f"ignored, because {reason}: {', '.join(names)}" for reason, names in reasons.items() if names]


def resembling(name: str) -> str | None:
    """`"APP_API_KEY_FILE"` or `"--api-key-file"` → `"api_keys_file"`; None if no setting is called much like it."""
    plain = re.sub(rf"^(--|{PREFIX.lower()})", "", name.lower()).replace("-", "_")
    return next(iter(get_close_matches(plain, Settings.model_fields, n=1, cutoff=CLOSE)), None)


def _unknown() -> list[str]:
    known = {variable(name) for name in Settings.model_fields}
    names = (name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    return sorted(name for name in names if not _is_set_by_kubernetes(name))


def _is_set_by_kubernetes(name: str) -> bool:
    is_port = re.fullmatch(rf"{PREFIX}(\w+_)?PORT", name) and ADDRESS.match(os.environ[name])
    return bool(is_port or BY_KUBERNETES.fullmatch(name))


def variable(name: str) -> str:
    """`"models_dir"` → `"APP_MODELS_DIR"`."""
    return PREFIX + name.upper()


def option(name: str) -> str:
    """`"models_dir"` → `"--models-dir"`."""
    return "--" + name.replace("_", "-")


def default(name: str) -> str:
    """A setting's default as it would be written in the environment, or `none`."""
    value = Settings.model_fields[name].default
    if value is None or (not value and isinstance(value, list | dict | str)):
        return "none"
    return str(value) if isinstance(value, str | Path) else json.dumps(value)


def example(name: str) -> str:
    """A value that works, as it would be written in the environment."""
    examples = Settings.model_fields[name].examples
    return str(examples[0]) if examples else default(name)


def described(name: str) -> str:
    """What a setting sets, with an example where its default is none."""
    field = Settings.model_fields[name]
    return f"{field.description}; for example `{example(name)}`" if field.examples else str(field.description)


def table() -> str:
    """All settings as the Markdown table in docs/settings.md."""
    rows = [
        f"| `{variable(name)}` | `{option(name)}` | `{default(name)}` | {described(name)} |"
        for name in Settings.model_fields
    ]
    return "\n".join(["| variable | option | default | what it sets |", "|---|---|---|---|", *rows])


def _complaint(error: Any) -> str:
    name = str(error["loc"][0])
    place = "".join(f"[{part}]" for part in error["loc"][1:])
    said = error["msg"].removeprefix("Value error, ")
    held = re.sub("//[^/@]*@", "//***@", f"{error['input']!r:.60}")  # a name and a password in an address
    return f"{variable(name)}{place} is {held}: {said}; for example: {variable(name)}={example(name)}"
