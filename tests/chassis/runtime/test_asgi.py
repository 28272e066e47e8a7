from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Message

from trenza.chassis.runtime import asgi
from trenza.chassis.runtime.deployment import DeploymentError


async def test_the_factory_makes_the_application_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = tmp_path / "images.toml"
    deployment.write_text('[processes.all]\nservices = ["images"]\n')
    monkeypatch.setenv("TRENZA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRENZA_DEPLOYMENT", str(deployment))
    async with serving(asgi.create()) as client:
        assert (await client.get("/health/ready")).status_code == 200


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, between the start and the end that a server tells it (ASGI, lifespan protocol)."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.ensure_future(app(scope, told.get, heard.put))
    await told.put({"type": "lifespan.startup"})
    assert (await heard.get())["type"] == "lifespan.startup.complete"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        yield client
    await told.put({"type": "lifespan.shutdown"})
    assert (await heard.get())["type"] == "lifespan.shutdown.complete"
    await life


async def test_of_several_processes_the_environment_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRENZA_DEPLOYMENT", "split")
    with pytest.raises(DeploymentError, match="it has 3 processes"):
        asgi.create()
    monkeypatch.setenv("TRENZA_PROCESS", "images")
    async with serving(asgi.create()) as client:
        assert (await client.post("/_call/images/inspect")).status_code == 401


def test_app_is_made_when_a_server_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_DEPLOYMENT", "nowhere")
    with pytest.raises(DeploymentError):
        _ = asgi.app
    with pytest.raises(AttributeError, match="has no attribute 'application'"):
        _ = asgi.application
