from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from trenza.chassis.runtime import asgi
from trenza.chassis.runtime.deployment import DeploymentError


async def test_the_factory_makes_the_application_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = tmp_path / "images.toml"
    deployment.write_text('[processes.all]\nservices = ["images"]\n')
    monkeypatch.setenv("TRENZA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRENZA_DEPLOYMENT", str(deployment))
    app = asgi.create()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client,
    ):
        assert (await client.get("/health/ready")).status_code == 200


def test_app_is_made_when_a_server_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_DEPLOYMENT", "nowhere")
    with pytest.raises(DeploymentError):
        _ = asgi.app
    with pytest.raises(AttributeError, match="has no attribute 'application'"):
        _ = asgi.application
