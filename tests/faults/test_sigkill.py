"""What was acknowledged survives a SIGKILL at any instruction, and takes effect once."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Installation, MakeInstallation

    from trenza.chassis.testing.server_process import ServerProcess

PHOTOS = int(os.environ.get("FAULTS_PHOTOS", "60"))
KILLS = int(os.environ.get("FAULTS_KILLS", "2"))
CLIENTS = 8
SECONDS_A_PHOTO, SECONDS_A_START = 1.5, 30.0
"""Far more than either takes: a limit to a test that hangs."""


class Outage:
    """Lets clients wait while there is no server, and tells them where the next one is."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._up = asyncio.Condition()
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ServerProcess]:
        """A server, known to the clients for the block."""
        async with self._installation.serving() as server, self._installation.client(server) as client:
            async with self._up:
                self._client = client
                self._up.notify_all()
            yield server
            self._client = None

    async def deliver(self, photo: bytes) -> None:
        """Send a photo until it is acknowledged, as a client does who does not know what became of the last attempt."""
        while True:
            async with self._up:
                await self._up.wait_for(lambda: self._client is not None)
            client = self._client
            assert client is not None
            try:
                response = await self._installation.send(client, photo)
            except httpx.TransportError:
                if self._client is client:  # killed, and nobody has told us yet
                    await asyncio.sleep(0.02)
                continue
            assert response.status_code in (200, 202), response.text
            return


@pytest.mark.timeout(60 + PHOTOS * SECONDS_A_PHOTO + KILLS * SECONDS_A_START)
async def test_every_acknowledged_upload_completes_once_however_often_the_server_is_killed(
    make_installation: MakeInstallation, on_either: dict[str, str], make_photo: Callable[[], bytes], seed: int
) -> None:
    installation = make_installation(**on_either)
    chance = random.Random(seed)  # noqa: S311 - no secret
    outage = Outage(installation)
    photos = [make_photo() for _ in range(PHOTOS)]
    waiting = iter(photos)

    async def one_client() -> None:
        for photo in waiting:
            await outage.deliver(photo)

    sending = [asyncio.create_task(one_client()) for _ in range(CLIENTS)]
    for kill in range(1, KILLS + 1):
        async with outage.serving() as server:
            enough = kill * PHOTOS // (KILLS + 1)
            while len(installation.acknowledged) < enough:
                assert not any(task.done() for task in sending), "a client has ended before the last kill"
                await asyncio.sleep(0.005)
            await asyncio.sleep(chance.uniform(0, 0.2))  # anywhere between storing, rendering and announcing
            await server.kill()
    async with outage.serving() as server:
        await asyncio.gather(*sending)
        await server.kill()  # what is under way now is all that the next start has to do
    assert len(installation.acknowledged) == PHOTOS
    await installation.prove_whole()


@pytest.mark.timeout(180)
async def test_a_killed_image_worker_costs_time_and_no_photo(
    make_installation: MakeInstallation, make_photo: Callable[[], bytes]
) -> None:
    installation = make_installation()
    killed = 0
    async with installation.serving() as server, installation.client(server) as client:
        (await installation.send(client, make_photo(), Prefer="wait=30")).raise_for_status()  # the workers run from here on
        uploads = [asyncio.create_task(installation.send(client, make_photo(), Prefer="wait=60")) for _ in range(12)]
        async with asyncio.timeout(30):
            while killed < 3:
                for worker in psutil.Process(server.process_id).children():
                    if killed < 3 and worker.cpu_times().user > 0:
                        worker.kill()
                        killed += 1
                await asyncio.sleep(0.1)
        for answer in await asyncio.gather(*uploads):
            assert answer.status_code in (201, 202), answer.text
        await installation.completed(client)
        assert (await client.get("/health/ready")).status_code == 200
        assert await server.stop() == 0
    assert set((await installation.announcements()).values()) == {1}
    assert "failed" not in await installation.inbox_states()
