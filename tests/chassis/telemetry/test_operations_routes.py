"""The routes of health and metrics: who may see what, and with which status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.permissions import check_routes, install_auth
from trenza.chassis.auth.tokens import TokenVerifier, issue_token
from trenza.chassis.http.operations import operations_router
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.health import Health


async def passes() -> None:
    """A check that is fine."""


async def raises() -> None:
    """A check that is not fine."""
    raise ConnectionError("host db-1.internal refused the password of svc_photos")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.load_or_create(tmp_path / "signing.pem")


@asynccontextmanager
async def serving(health: Health, settings: PlatformSettings, key: SigningKey) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_auth(app, TokenVerifier([key]))
    install_problem_handlers(app)
    app.include_router(operations_router(health, settings))
    assert check_routes(app) == ()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def bearer(key: SigningKey, *scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(key, 'ops', scopes, timedelta(minutes=5))}"}


async def test_all_is_well(key: SigningKey) -> None:
    health = Health()
    health.add("photos database", passes)
    async with serving(health, PlatformSettings(), key) as client:
        live, ready, summary = await asyncio.gather(*(client.get(f"/health{path}") for path in ("/live", "/ready", "")))
        assert (live.status_code, live.json()) == (200, {"status": "alive"})
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "accepting": True, "health": "healthy"})
        assert summary.json() == {"status": "healthy", "checks": {"photos database": "healthy"}}
        for answer in (live, ready, summary):
            assert answer.headers["cache-control"] == "no-store"
        assert (await client.head("/health/ready")).status_code == 200


async def test_public_routes_tell_no_internals(key: SigningKey) -> None:
    health = Health()
    health.add("photos database", raises)
    async with serving(health, PlatformSettings(), key) as client:
        assert (await client.get("/health/live")).status_code == 200
        for path in ("/health/ready", "/health"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "db-1" not in answer.text
            assert "svc_photos" not in answer.text
            assert "unhealthy" in answer.text


async def test_a_draining_process_is_alive_but_not_ready(key: SigningKey) -> None:
    health = Health(accepting=lambda: False)
    async with serving(health, PlatformSettings(), key) as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health")).status_code == 200
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"], answer.json()["accepting"]) == (503, "not ready", False)


async def test_a_failing_extra_degrades(key: SigningKey) -> None:
    health = Health()
    health.add("mail", raises, required=False)
    async with serving(health, PlatformSettings(), key) as client:
        assert (await client.get("/health/ready")).status_code == 200
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


async def test_operators_are_told_the_reasons(key: SigningKey) -> None:
    health = Health()
    health.add("photos database", raises)
    async with serving(health, PlatformSettings(), key) as client:
        assert (await client.get("/health/status")).status_code == 401
        assert (await client.get("/health/status", headers=bearer(key, "photos:admin"))).status_code == 403
        answer = await client.get("/health/status", headers=bearer(key, "platform:viewer"))
        assert answer.status_code == 200
        (check,) = answer.json()["checks"]
        assert check.pop("duration_ms") >= 0
        assert check == {
            "name": "photos database",
            "status": "unhealthy",
            "required": True,
            "reason": "ConnectionError: host db-1.internal refused the password of svc_photos",
        }
        assert (await client.get("/health/status", headers=bearer(key, "platform:admin"))).status_code == 200


async def test_metrics_are_open_in_development(key: SigningKey) -> None:
    async with serving(Health(), PlatformSettings(), key) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert "# TYPE http_requests_total counter" in answer.text


async def test_metrics_are_for_operators_in_production(key: SigningKey) -> None:
    async with serving(Health(), PlatformSettings(environment="production"), key) as client:
        assert (await client.get("/metrics")).status_code == 401
        answer = await client.get("/metrics", headers=bearer(key, "platform:viewer") | {"Accept": "application/openmetrics-text"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/openmetrics-text")


async def test_metrics_can_be_switched_off(key: SigningKey) -> None:
    async with serving(Health(), PlatformSettings(prometheus_enabled=False), key) as client:
        answer = await client.get("/metrics", headers=bearer(key, "platform:admin"))
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
