"""The service on Ray Serve: the same app in replicas. Ray spreads them over a cluster, replaces and scales them.

    serve run deploy.ray_serve:build max_replicas=8

It needs the packages of deploy/requirements/ray.txt, with the code and the models at the same path on every node. The
settings come from the environment of the command and reach every replica. Ray's proxies hold the connections, so the
settings for those (host, port, workers, the times for reading, idling and stopping) have no effect here.
"""

# Ray reads `build`'s annotation to parse the arguments, so annotations must not become strings here.

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from ray import serve
from ray.serve import Application
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware import HEADER
from app.main import create_app
from app.settings import PREFIX, load, variable


class Arguments(BaseModel):
    """The arguments of `serve run`.

    min_replicas, max_replicas  how many processes serve
    cpus                        cores reserved for a replica on its node; a replica uses one at most
    target_ongoing_requests     requests in flight for each replica; with more, Ray adds replicas
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: PositiveInt = 2
    max_replicas: PositiveInt = 8
    cpus: PositiveFloat = 1.0
    target_ongoing_requests: PositiveFloat = 32.0


class Unhealthy(Exception):
    """A replica that must be replaced. The message says why."""


class IdOnce:
    """Drops the request id from an answer's headers if the client sent it, because Ray's proxies add it again."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = (HEADER, dict(scope.get("headers", ())).get(HEADER))

        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [header for header in message["headers"] if tuple(header) != given]
            await send(message)

        await self._app(scope, receive, send_once)


def application() -> ASGIApp:
    """The service's app for one replica, with its own models."""
    return IdOnce(create_app())


@serve.deployment(health_check_period_s=2, health_check_timeout_s=10, graceful_shutdown_timeout_s=20)
@serve.ingress(application)
class Service:
    """One replica."""

    app: Any

    async def check_health(self) -> None:
        """Ask the app whether it is alive; Ray calls this. Raises `Unhealthy`."""
        status = await _status(self.app, "/health/live")
        if status != 200:
            raise Unhealthy(f"/health/live answered {status}")


def build(arguments: Arguments) -> Application:
    """The application for Ray to run. Raises `WrongSetting` here and not in each replica."""
    settings = load()
    variables = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    variables[variable("models_dir")] = str(settings.models_dir.resolve())  # a replica's working directory is Ray's
    deployment: Any = Service
    return deployment.options(
        # The app has a bounded queue for each model and answers 429 itself, so Ray holds nothing back.
        max_ongoing_requests=4 * settings.max_queue,
        logging_config={"enable_access_log": settings.access_log},
        ray_actor_options={"num_cpus": arguments.cpus, "runtime_env": {"env_vars": variables}},
        autoscaling_config={
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas,
            "target_ongoing_requests": arguments.target_ongoing_requests,
            "upscale_delay_s": 3,
            "downscale_delay_s": 120,
        },
    ).bind()


async def _status(app: Any, path: str) -> int:
    """The status that the app answers to a GET, without a connection."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return int(statuses[0])
