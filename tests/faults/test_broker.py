"""A broker that is away, or takes connections and never answers: nothing waits for it, and operators are told what helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from trenza.chassis.testing.server_process import ServerProcess, free_port

STOP_SECONDS = 6.5
"""Five, as promised, and a little for a machine under load."""


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """A port that takes all and says nothing."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize("url", ["amqp://someone:hunter2@127.0.0.1:{port}/%2F", "kafka://127.0.0.1:{port}"])
async def test_a_broker_that_never_answers_holds_nothing_up(
    url: str, silent_port: int, tmp_path: Path, make_photo: Callable[[], bytes]
) -> None:
    environment = {"TRENZA_TRANSPORT_URL": url.format(port=silent_port)}
    async with ServerProcess.running(tmp_path / "data", environment=environment) as server:
        banner = [line for line in (await asyncio.to_thread(server.log.read_text)).splitlines() if line.startswith("  Broker")]
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            operator = {"Authorization": f"Bearer {await server.token('platform:viewer')}"}
            editor = {"Authorization": f"Bearer {await server.token('photos:editor')}"}
            photo = {"file": ("a.jpg", make_photo())}
            sent = await client.post("/api/photos/upload", headers=editor, data={"upid": "UNP-1"}, files=photo)
            sent.raise_for_status()
            report = (await client.get("/health/status", headers=operator)).json()
        begun = time.monotonic()
        assert await server.stop() == 0
        took = time.monotonic() - begun
    assert len(banner) == 1
    assert f"127.0.0.1:{silent_port}" in banner[0]
    assert "what is announced waits in the outboxes" in banner[0]
    check = next(check for check in report["checks"] if check["name"] == "transport")
    assert (report["status"], check["status"]) == ("degraded", "unhealthy")
    assert f"127.0.0.1:{silent_port} does not answer" in check["reason"]
    assert check["duration_ms"] < 1500
    assert report["messages"]["photos"]["outbox_waiting"] >= 1
    assert took < STOP_SECONDS
    said = await asyncio.to_thread(server.log.read_text)
    assert "hunter2" not in said + str(report)


async def test_a_broker_that_has_not_been_started_is_told_everywhere_with_what_helps(tmp_path: Path) -> None:
    port = free_port()
    environment = {"TRENZA_TRANSPORT_URL": f"amqp://someone:hunter2@127.0.0.1:{port}/%2F"}
    async with ServerProcess.running(tmp_path / "data", environment=environment) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            operator = {"Authorization": f"Bearer {await server.token('platform:viewer')}"}
            report = (await client.get("/health/status", headers=operator)).json()
        said = await asyncio.to_thread(server.log.read_text)
    reason = f"RabbitMQ at 127.0.0.1:{port} refuses the connection; start it, or correct host and port in TRENZA_TRANSPORT_URL"
    [check] = [check for check in report["checks"] if check["name"] == "transport"]
    assert check["reason"] == f"TransportUnavailable: {reason}"
    [banner] = [line for line in said.splitlines() if line.startswith("  Broker")]
    assert banner == f"  Broker  away: {reason}. Until it answers, what is announced waits in the outboxes"
    logged = [line for line in said.splitlines() if "no messages are received" in line]
    assert len(logged) == 1  # and none for each attempt
    assert reason in logged[0]
    assert "hunter2" not in said + str(report)
