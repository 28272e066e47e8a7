"""What was acknowledged survives a SIGKILL at any instruction, and takes effect once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
import sqlalchemy as sa

from trenza.chassis.messages.tables import outbox
from trenza.chassis.runtime.databases import database_url, open_database
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.server_process import ServerProcess

ROUNDS = 3
UPID = "UNP-FAULT"
VERSIONS = {"thumbnail", "small", "medium", "large"}


@pytest.fixture(params=["sqlite", "postgres"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of the server: the embedded default, or PostgreSQL."""
    return {} if request.param == "sqlite" else {"TRENZA_DATABASE_URL": request.getfixturevalue("postgres_url")}


@pytest.fixture
def seed() -> int:
    """Where the kills fall. Printed, and so shown when the test fails."""
    chosen = random.SystemRandom().randrange(2**32)
    print(f"seed of the kills: {chosen}")  # noqa: T201 - pytest shows it with a failure
    return chosen


@asynccontextmanager
async def client_of(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {await server.token('photos:editor')}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


async def upload(client: httpx.AsyncClient, photo: bytes, **headers: str) -> httpx.Response:
    return await client.post("/api/photos/upload", files={"file": ("a.jpg", photo)}, data={"upid": UPID}, headers=headers)


async def completed(client: httpx.AsyncClient, photo_id: str) -> dict[str, Any]:
    """The photo once it is completed; fails the test when it ends otherwise."""
    while True:
        photo: dict[str, Any] = (await client.get(f"/api/photos/{photo_id}")).raise_for_status().json()
        if photo["status"] == "completed":
            return photo
        assert photo["status"] in ("queued", "processing"), photo
        await asyncio.sleep(0.2)


async def announced(data_dir: Path, environment: dict[str, str]) -> Counter[str]:
    """How often each photo was announced as completed, from the service's own outbox."""
    settings = PlatformSettings(data_dir=data_dir, database_url=environment.get("TRENZA_DATABASE_URL"))
    database = open_database("photos", database_url("photos", settings))
    try:
        async with database.read() as connection:
            bodies = await connection.scalars(sa.select(outbox.c.envelope).where(outbox.c.type == "photos.PhotoCompleted"))
            return Counter(orjson.loads(body)["data"]["photo_id"] for body in bodies)
    finally:
        await database.close()


async def every_photo(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All photos of the project, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"upid": UPID, "limit": "100", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/api/photos", params=query)).raise_for_status().json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def upload_until_killed(
    server: ServerProcess, make_photo: Callable[[], bytes], chance: random.Random, acknowledged: dict[str, str]
) -> None:
    """Upload from several clients, and kill the server at a random moment after the first acknowledgements."""
    enough = asyncio.Event()
    wanted = len(acknowledged) + chance.randint(2, 8)

    async def keep_uploading(client: httpx.AsyncClient) -> None:
        while True:
            photo = make_photo()
            try:
                response = await upload(client, photo)
            except httpx.TransportError:
                return
            assert response.status_code == 202, response.text
            acknowledged[response.json()["id"]] = sha256(photo).hexdigest()
            if len(acknowledged) >= wanted:
                enough.set()

    async with client_of(server) as client:
        uploading = [asyncio.create_task(keep_uploading(client)) for _ in range(4)]
        await asyncio.wait_for(enough.wait(), 60)
        await asyncio.sleep(chance.uniform(0, 0.3))  # anywhere between storing, rendering and announcing
        await server.kill()
        await asyncio.gather(*uploading)


@pytest.mark.timeout(300)
async def test_every_acknowledged_upload_completes_once_whenever_the_server_is_killed(
    tmp_path: Path, environment: dict[str, str], make_photo: Callable[[], bytes], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    acknowledged: dict[str, str] = {}
    for _ in range(ROUNDS):
        async with ServerProcess.running(tmp_path / "data", environment=environment) as server:
            await upload_until_killed(server, make_photo, chance, acknowledged)
    assert len(acknowledged) >= 2 * ROUNDS

    async with ServerProcess.running(tmp_path / "data", environment=environment) as server, client_of(server) as client:
        async with asyncio.timeout(150):
            photos = [await completed(client, photo_id) for photo_id in acknowledged]
        for photo in photos:
            assert photo["sha256"] == acknowledged[photo["id"]]
            assert set(photo["versions"]) == VERSIONS
            for version in VERSIONS:
                body = (await client.get(f"/api/photos/{photo['id']}/{version}", follow_redirects=True)).raise_for_status()
                assert body.content.startswith(b"\xff\xd8")
                assert body.content.endswith(b"\xff\xd9")
        stored = await every_photo(client)
        assert acknowledged.keys() <= {photo["id"] for photo in stored}
        assert max(Counter(photo["sha256"] for photo in stored).values()) == 1
        for photo in stored:  # those that were stored and not acknowledged complete as well
            async with asyncio.timeout(60):
                await completed(client, photo["id"])
        assert await server.stop() == 0
    assert await announced(tmp_path / "data", environment) == {photo["id"]: 1 for photo in stored}


@pytest.mark.timeout(180)
async def test_a_killed_image_worker_costs_time_and_no_photo(tmp_path: Path, make_photo: Callable[[], bytes]) -> None:
    killed = 0
    async with ServerProcess.running(tmp_path / "data") as server, client_of(server) as client:
        (await upload(client, make_photo(), Prefer="wait=30")).raise_for_status()  # the workers run from here on
        uploads = [asyncio.create_task(upload(client, make_photo(), Prefer="wait=60")) for _ in range(12)]
        async with asyncio.timeout(30):
            while killed < 3:
                for worker in psutil.Process(server.process_id).children():
                    if killed < 3 and worker.cpu_times().user > 0:
                        worker.kill()
                        killed += 1
                await asyncio.sleep(0.1)
        answers = await asyncio.gather(*uploads)
        for answer in answers:
            assert answer.status_code in (201, 202), answer.text
            async with asyncio.timeout(60):
                photo = await completed(client, answer.json()["id"])
            assert set(photo["versions"]) == VERSIONS
        assert (await client.get("/health/ready")).status_code == 200
    assert set((await announced(tmp_path / "data", {})).values()) == {1}
