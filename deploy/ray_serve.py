"""The service on Ray Serve: the same app, in replicas that Ray spreads over a cluster, replaces, and scales by load.

    serve run deploy.ray_serve:build max_replicas=8

Runs in the environment of deploy/requirements/ray.txt, with the code and the models at the same place on every node.
The settings are those of the environment that the command is given in, and reach every replica. Ray's proxies hold the
connections, so what is set for those (host, port, workers, the times for reading, idling and stopping) means nothing
here.
"""

# Ray looks at `build`'s annotation to know what to make of the arguments, so annotations stay what they are here.

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
    """What `serve run` may be told.

    min_replicas, max_replicas  how many processes serve
    cpus                        what a replica counts for on its node; one takes a core at most
    target_ongoing_requests     how many requests a replica should have in its hands; more of them, more replicas
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: PositiveInt = 2
    max_replicas: PositiveInt = 8
    cpus: PositiveFloat = 1.0
    target_ongoing_requests: PositiveFloat = 32.0


class Unhealthy(Exception):
    """A replica that is to be replaced. The message says why."""


class IdOnce:
    """Leaves the request id out of an answer's headers where it is the one that came in, for Ray's proxies add that."""

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
    """The service's app as a replica runs it, with models of its own."""
    return IdOnce(create_app())


@serve.deployment(health_check_period_s=2, health_check_timeout_s=10, graceful_shutdown_timeout_s=20)
@serve.ingress(application)
class Service:
    """What a replica runs."""

    app: Any

    async def check_health(self) -> None:
        """Ray's question whether to keep this replica: what the app itself says of being alive. Raises `Unhealthy`."""
        status = await _status(self.app, "/health/live")
        if status != 200:
            raise Unhealthy(f"/health/live answered {status}")


def build(arguments: Arguments) -> Application:
    """The application, to be run. Raises `WrongSetting` here rather than in each replica."""
    settings = load()
    variables = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    variables[variable("models_dir")] = str(settings.models_dir.resolve())  # a replica's working directory is Ray's
    deployment: Any = Service
    return deployment.options(
        # The app has a bounded queue for each model and says 429 itself, so Ray need not hold anything back.
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
    """The status of the answer to a GET, without a connection."""
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
