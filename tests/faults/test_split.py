"""A part that fails stays a part: processes of a deployment die and are renewed under load."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trenza.chassis.testing.server_process import split_deployment

if TYPE_CHECKING:
    import httpx
    from tests.faults.conftest import Installation, MakeInstallation

    from trenza.chassis.testing.server_process import ServerProcess

PHOTOS = 12
CLIENTS = 4
SECONDS = 120.0


@pytest.fixture
def installation(make_installation: MakeInstallation, on_either: dict[str, str], tmp_path: Path) -> Installation:
    """A deployment of which each service is in one process."""
    made = make_installation(**on_either, TRENZA_CALL_RECOVERY_SECONDS="1", TRENZA_CALL_RETRY_SECONDS="0.2")
    made.deployment = split_deployment(tmp_path)
    return made


@pytest.fixture
def twofold(make_installation: MakeInstallation, on_either: dict[str, str], tmp_path: Path) -> Installation:
    """A deployment of which everything runs twice."""
    made = make_installation(**on_either, TRENZA_CALL_RECOVERY_SECONDS="1", TRENZA_CALL_RETRY_SECONDS="0.2")
    made.deployment = split_deployment(tmp_path, replicas=2, gateways=2)
    return made


async def test_without_images_photos_are_accepted_and_complete_once_it_is_back(
    installation: Installation, make_photo: Callable[[], bytes]
) -> None:
    async with (
        installation.serving_only("photos"),
        installation.serving_only("gateway") as gateway,
        installation.client(gateway) as client,
    ):
        async with installation.serving_only("images") as images:
            before = await installation.send(client, make_photo(), Prefer="wait=60")
            assert before.status_code == 201, before.text
            sending = asyncio.create_task(send_all(installation, client, make_photo))
            await installation.until_acknowledged(4)
            await images.kill()
            await sending
        gallery = await client.get("/api/photos")
        assert len(gallery.json()["items"]) == PHOTOS + 1
        version = before.json()["versions"]["small"]["url"]
        assert (await client.get(version)).content.startswith(b"\xff\xd8")
        degraded = (await client.get("/health/status")).json()
        assert degraded["status"] == "degraded", degraded
        assert "images" in str([check for check in degraded["checks"] if check["status"] != "healthy"]), degraded
        assert (await client.get("/health/ready")).status_code == 200
        async with installation.serving_only("images"):
            photos = await installation.completed(client)
            assert len(photos) == PHOTOS + 1
            async with asyncio.timeout(SECONDS):
                while (await client.get("/health/status")).json()["status"] != "healthy":  # noqa: ASYNC110 - another process sets no event here
                    await asyncio.sleep(0.2)


async def send_all(installation: Installation, client: httpx.AsyncClient, make_photo: Callable[[], bytes]) -> None:
    """Photos one after the other; every one of them is accepted."""
    for _ in range(PHOTOS):
        answer = await installation.send(client, make_photo())
        assert answer.status_code == 202, answer.text


async def test_every_process_is_replaced_in_turn_and_no_request_fails(
    twofold: Installation, make_photo: Callable[[], bytes]
) -> None:
    async with twofold.serving() as server, twofold.client(server) as client:
        async with under_load(twofold, client, make_photo) as count:
            for name, process_id in server.members().items():
                served = count()
                os.kill(process_id, signal.SIGTERM)
                await replaced(server, name, process_id)
                async with asyncio.timeout(SECONDS):
                    while count() < served + 20:  # noqa: ASYNC110 - many tasks count
                        await asyncio.sleep(0.05)
        await twofold.completed(client)
    await twofold.prove_effects()


async def test_replicas_that_are_killed_cost_no_request_that_may_be_repeated(
    twofold: Installation, make_photo: Callable[[], bytes]
) -> None:
    async with twofold.serving() as server, twofold.client(server) as client:
        assert (await twofold.send(client, make_photo(), Prefer="wait=60")).status_code == 201
        async with under_load(twofold, client, None) as count:
            for name, process_id in server.members().items():
                if not name.startswith("gateway"):
                    served = count()
                    os.kill(process_id, signal.SIGKILL)
                    await replaced(server, name, process_id)
                    async with asyncio.timeout(SECONDS):
                        while count() < served + 20:  # noqa: ASYNC110 - many tasks count
                            await asyncio.sleep(0.05)


async def replaced(server: ServerProcess, name: str, process_id: int) -> None:
    """Wait until another process stands in the place of one, and answers."""
    async with asyncio.timeout(SECONDS):
        while server.members().get(name, process_id) == process_id:  # noqa: ASYNC110 - another process sets no event here
            await asyncio.sleep(0.05)
    await server.logs(f"{name} answers again")


@asynccontextmanager
async def under_load(
    installation: Installation, client: httpx.AsyncClient, make_photo: Callable[[], bytes] | None
) -> AsyncIterator[Callable[[], int]]:
    """Clients who read, and upload unless no photos are given, for the block; each of their requests must succeed."""
    served = 0
    over = asyncio.Event()

    async def read() -> None:
        nonlocal served
        while not over.is_set():
            answer = await client.get("/api/photos", params={"limit": "5"})
            assert answer.status_code == 200, answer.text
            served += 1

    async def upload() -> None:
        nonlocal served
        while not over.is_set():
            assert make_photo is not None
            answer = await installation.send(client, make_photo())
            assert answer.status_code == 202, answer.text
            served += 1
            await asyncio.sleep(0.1)  # the renditions are made at the same time

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(read())
        if make_photo is not None:
            clients.create_task(upload())
        yield lambda: served
        over.set()
