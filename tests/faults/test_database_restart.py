"""PostgreSQL stopped and started again under load: uploads succeed or say when to come again, and no acknowledged one is lost.

Each is sent with an Idempotency-Key, the same until it is acknowledged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    import httpx
    from tests.conftest import PostgresServer
    from tests.faults.conftest import Installation, MakeInstallation

CLIENTS = 4
REFUSED = {503: "DATABASE_UNAVAILABLE", 409: "IDEMPOTENCY_KEY_IN_USE"}


class Insistent:
    """Clients that go on uploading, each photo until it is acknowledged, and count what they are answered."""

    def __init__(self, installation: Installation, client: httpx.AsyncClient, make_photo: Callable[[], bytes]) -> None:
        self._installation, self._client, self._make_photo = installation, client, make_photo
        self.answers: Counter[int] = Counter()
        self.refused = asyncio.Event()
        self._enough = False

    async def one(self) -> None:
        while not self._enough:
            photo, key = self._make_photo(), {"Idempotency-Key": str(uuid4())}
            while (answer := await self._installation.send(self._client, photo, **key)).status_code in REFUSED:
                self.answers[answer.status_code] += 1
                problem = answer.json()
                assert problem["code"] == REFUSED[answer.status_code], problem
                assert answer.headers["retry-after"] == str(problem["retry_after"])
                self.refused.set()
                await asyncio.sleep(0.1)  # sooner than it is told, for the test's sake
            self.answers[answer.status_code] += 1
            assert answer.status_code in (200, 202), answer.text

    def end(self) -> None:
        """Let each client finish what it has begun."""
        self._enough = True


@pytest.mark.timeout(300)
async def test_a_database_restarted_under_load_loses_nothing(
    make_installation: MakeInstallation, make_photo: Callable[[], bytes], postgres_server: PostgresServer, postgres_url: str
) -> None:
    installation = make_installation(TRENZA_DATABASE_URL=postgres_url)
    async with installation.serving() as server, installation.client(server) as client:
        clients = Insistent(installation, client, make_photo)
        uploading = [asyncio.create_task(clients.one()) for _ in range(CLIENTS)]
        await installation.until_acknowledged(10)
        with postgres_server.halted():
            await asyncio.wait_for(clients.refused.wait(), 30)
            await installation.until_failing(client, "photos database")
            assert (await client.get("/health/live")).status_code == 200
        await installation.until_failing(client)
        await installation.until_acknowledged(len(installation.acknowledged) + 10)
        clients.end()
        await asyncio.gather(*uploading)
        assert clients.answers.keys() <= {200, 202, *REFUSED}
        assert clients.answers[503] > 0
    await installation.prove_whole()
