"""A client that calls an app in this process, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import fakes
import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.main import create_app
from app.settings import Settings


class Client:
    """Each call runs on a loop of its own, and within the app's lifespan where that is asked for."""

    def __init__(self, app: ASGIApp, *, within_lifespan: bool = False):
        self.app = app
        self._within_lifespan = within_lifespan

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def post_json(self, path: str, body: bytes) -> httpx.Response:
        """Post a body as it stands, declared to be JSON."""
        return self.post(path, content=body, headers={"content-type": "application/json"})

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, options))

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        if self._within_lifespan:
            assert isinstance(self.app, FastAPI)
            async with self.app.router.lifespan_context(self.app):
                return await self._send(method, path, options)
        return await self._send(method, path, options)

    async def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        async with async_client(self.app) as client:
            return await client.request(method, path, **options)


def async_client(app: ASGIApp) -> httpx.AsyncClient:
    """A client for tests that are coroutines."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def client_of_fakes(**settings: Any) -> Client:
    """A client of the service with these settings and the fake models."""
    return Client(create_app(Settings(**settings), fakes.models()))
