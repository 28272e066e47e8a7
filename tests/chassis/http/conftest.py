"""An application of the chassis' HTTP layer alone, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.settings import PlatformSettings


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    """Settings of a development platform with its data in the test's folder."""
    return PlatformSettings(data_dir=tmp_path, cors_origins=("https://app.example",))


@pytest.fixture
def app(settings: PlatformSettings) -> FastAPI:
    """An application with no routes, small limits, and everything else as in production."""
    app = FastAPI()
    install_problem_handlers(app)
    install_middleware(app, settings, body_bytes=10_000, request_seconds=30)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that application. Add routes before the first request."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client
