"""An installation that fault tests break and mend: its folder, its clients and what they were told, its webhooks' receiver."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import sqlalchemy as sa
from PIL import Image

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.data import Database
from trenza.chassis.messages.tables import inbox, outbox, schedules
from trenza.chassis.runtime.databases import database_url, open_database
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.server_process import ServerProcess, free_port

UPID = "UNP-FAULT"
VERSIONS = frozenset({"thumbnail", "small", "medium", "large"})
DAYS = timedelta(days=2)
"""Longer than the grace of the orphan sweep and the age at which the spool is swept."""


class Receiver:
    """Takes webhooks and remembers which events it was told of each photo."""

    def __init__(self) -> None:
        self.port = free_port()
        self.told: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        """By photo: the event's id and what it says. The same event told twice counts once, as its id asks of a receiver."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            body = await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
            event = orjson.loads(body)
            self.told[event["photo_id"]].add((event["id"], event["status"]))
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the sender was killed in the middle of it
        finally:
            writer.close()


@dataclass
class Installation:
    """What outlives a server's process, and what its clients know of it."""

    data_dir: Path
    environment: dict[str, str]
    receiver: Receiver
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each upload that was acknowledged, by the photo's id."""
    arguments: tuple[str, ...] = ()
    """More of the server's command line."""
    launcher: tuple[str, ...] = ()
    """What starts the server, where it runs behind mounts of its own."""
    behind: Path = Path("/")
    """Where those mounts are seen from here."""
    deployment: Path | None = None
    """The file of a deployment of several processes."""

    @property
    def seen(self) -> Path:
        """The data folder, as it is reached from here."""
        return self.behind / self.data_dir.relative_to("/")

    @property
    def settings(self) -> PlatformSettings:
        return PlatformSettings(data_dir=self.seen, database_url=self.environment.get("TRENZA_DATABASE_URL"))

    @asynccontextmanager
    async def serving(self, more: Mapping[str, str] | None = None) -> AsyncIterator[ServerProcess]:
        """A server on this data, with these settings besides."""
        environment = {**self.environment, **(more or {})}
        async with ServerProcess.running(
            self.data_dir, *self.arguments, environment=environment, launcher=self.launcher, deployment=self.deployment
        ) as server:
            yield server

    @asynccontextmanager
    async def serving_only(self, process: str) -> AsyncIterator[ServerProcess]:
        """One process of the deployment, without a supervisor."""
        async with ServerProcess.running(
            self.data_dir, environment=self.environment, deployment=self.deployment, process=process
        ) as server:
            yield server

    @asynccontextmanager
    async def client(self, server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
        """An editor's."""
        token = issue_token(signing_key(self.settings), "ana", ("photos:editor", "platform:viewer"), timedelta(hours=2))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60, trust_env=False) as client:
            yield client

    async def send(self, client: httpx.AsyncClient, photo: bytes, **headers: str) -> httpx.Response:
        """Upload a photo, with a callback; an acknowledgement is remembered."""
        response = await client.post(
            "/api/photos/upload",
            files={"file": ("a.jpg", photo)},
            data={"upid": UPID, "callback_url": self.receiver.url},
            headers=headers,
        )
        if response.status_code in {200, 201, 202}:
            self.acknowledged[response.json()["id"]] = sha256(photo).hexdigest()
        return response

    async def completed(self, client: httpx.AsyncClient, *, within: float = 150) -> list[dict[str, Any]]:
        """All photos of the installation, once every one of them is completed; fails the test when one ends otherwise."""
        async with asyncio.timeout(within):
            while True:
                photos = await every_photo(client)
                waiting = [photo for photo in photos if photo["status"] != "completed"]
                if not waiting:
                    return photos
                assert {photo["status"] for photo in waiting} <= {"queued", "processing"}, waiting
                await asyncio.sleep(0.3)

    async def until_acknowledged(self, count: int) -> None:
        """Wait until clients have been told of so many photos."""
        while len(self.acknowledged) < count:  # noqa: ASYNC110 - tests look at this from many tasks
            await asyncio.sleep(0.005)

    async def until_failing(self, client: httpx.AsyncClient, *checks: str) -> None:
        """Wait until just these health checks fail, and see that readiness says the same."""
        async with asyncio.timeout(30):
            while True:
                report = (await client.get("/health")).json()
                if {name for name, state in report["checks"].items() if state != "healthy"} == set(checks):
                    break
                await asyncio.sleep(0.2)
        assert (await client.get("/health/ready")).status_code == (503 if checks else 200)

    async def heard(self, service: str) -> Counter[str]:
        """How often another service has handled that a photo was completed."""
        done = sa.select(inbox.c.envelope).where(inbox.c.type == "photos.PhotoCompleted", inbox.c.state == "completed")
        async with self._database(service) as database, database.read() as connection:
            return Counter(orjson.loads(body)["data"]["photo_id"] for body in await connection.scalars(done))

    async def announcements(self) -> Counter[str]:
        """How often each photo was announced as completed, from the service's own outbox."""
        async with self._database() as database, database.read() as connection:
            bodies = await connection.scalars(sa.select(outbox.c.envelope).where(outbox.c.type == "photos.PhotoCompleted"))
            return Counter(orjson.loads(body)["data"]["photo_id"] for body in bodies)

    async def prove_whole(self) -> None:
        """Start the server twice more, and fail the test unless everything that was acknowledged took effect, once.

        Beyond what `prove_effects` says: after the sweeps there is no object without a record, no record without its objects,
        and nothing in the spool.
        """
        photos = await self.prove_effects()
        await self.age()
        async with self.serving() as server:
            await self._swept()
            assert await server.stop() == 0
        stored = {path.relative_to(self.seen / "blobs").as_posix() for path in files(self.seen / "blobs" / "photos")}
        assert stored == {key for photo in photos for key in keys_of(photo)}
        assert files(self.seen / "spool") == []

    async def prove_effects(self) -> list[dict[str, Any]]:
        """Start the server once more, and fail the test unless everything that was acknowledged took effect, once.

        Every photo completes, its versions and its original can be read; no two are of the same bytes; it was announced once and
        called back about as one event; no message waits or is a dead letter. Returns all photos.
        """
        async with self.serving() as server, self.client(server) as client:
            photos = await self.completed(client)
            assert self.acknowledged.items() <= {photo["id"]: photo["sha256"] for photo in photos}.items()
            assert max(Counter(photo["sha256"] for photo in photos).values()) == 1
            for photo in photos:
                await prove_readable(client, photo)
            async with asyncio.timeout(60):
                while set(await self.inbox_states()) - {"completed", "cancelled", "discarded"}:  # noqa: ASYNC110 - webhooks follow in another process
                    await asyncio.sleep(0.2)
            assert await server.stop() == 0
        assert await self.announcements() == {photo["id"]: 1 for photo in photos}
        assert all(len(events) == 1 for events in self.receiver.told.values()), self.receiver.told
        assert set(self.receiver.told) == {photo["id"] for photo in photos}
        return photos

    async def inbox_states(self, message_type: str | None = None) -> list[str]:
        """The states of all messages in the service's inbox, or of those of one type."""
        chosen = sa.true() if message_type is None else inbox.c.type == message_type
        async with self._database() as database, database.read() as connection:
            return list(await connection.scalars(sa.select(inbox.c.state).where(chosen)))

    async def age(self) -> None:
        """Let two days pass: for the files, and for the schedule of the orphan sweep, which then is made up for at the start.

        What was swept before is forgotten: by its id, a second sweep for the same fire time would be known as done.
        """
        then = time.time() - DAYS.total_seconds()
        for path in (*files(self.seen / "blobs"), *files(self.seen / "spool")):
            os.utime(path, (then, then))
        late = sa.update(schedules).where(schedules.c.name == "sweep-orphans").values(fired_until=datetime.now(UTC) - DAYS)
        done = sa.delete(inbox).where(inbox.c.type == "photos.SweepOrphans", inbox.c.state == "completed")
        async with self._database() as database, database.work() as work:
            await work.execute(done)
            assert (await work.execute(late)).rowcount == 1

    async def orphan_messages(self) -> int:
        """Let what waits be as if it had come before a release that handles it; returns how many messages that are."""
        unknown = sa.update(inbox).where(inbox.c.state == "waiting").values(consumer="")
        async with self._database() as database, database.work() as work:
            return (await work.execute(unknown)).rowcount

    async def _swept(self) -> None:
        """Wait until the orphan sweep has run."""
        async with asyncio.timeout(60):
            while (sweeps := await self.inbox_states("photos.SweepOrphans")) != ["completed"]:
                assert set(sweeps) <= {"waiting", "running", "completed"}
                await asyncio.sleep(0.2)

    @asynccontextmanager
    async def _database(self, service: str = "photos") -> AsyncIterator[Database]:
        database = open_database(service, database_url(service, self.settings))
        try:
            yield database
        finally:
            await database.close()


async def every_photo(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All photos of the project, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"upid": UPID, "limit": "200", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/api/photos", params=query)).raise_for_status().json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def prove_readable(client: httpx.AsyncClient, photo: dict[str, Any]) -> None:
    """The original is what was sent, and each version is a whole JPEG."""
    assert set(photo["versions"]) == VERSIONS
    original = await client.get(f"/api/photos/{photo['id']}/original", follow_redirects=True)
    assert sha256(original.content).hexdigest() == photo["sha256"]
    for version in VERSIONS:
        body = (await client.get(f"/api/photos/{photo['id']}/{version}", follow_redirects=True)).raise_for_status().content
        assert body.startswith(b"\xff\xd8")
        assert body.endswith(b"\xff\xd9")
        assert len(body) == photo["versions"][version]["bytes"]


def keys_of(photo: dict[str, Any]) -> set[str]:
    """The keys of the objects that a completed photo must have."""
    return {f"photos/{UPID}/{photo['id']}/{name}.jpg" for name in ("original", *VERSIONS)}


def files(folder: Path) -> list[Path]:
    """The files below a folder, at any depth."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def make_photo() -> Callable[[], bytes]:
    """A JPEG whose bytes nobody has sent before, large enough to keep a worker busy for some tens of milliseconds."""
    buffer = BytesIO()
    Image.frombytes("RGB", (64, 48), random.Random(1).randbytes(64 * 48 * 3)).resize((1200, 900)).save(buffer, "JPEG", quality=85)  # noqa: S311 - no secret
    jpeg = buffer.getvalue()
    return lambda: jpeg[:2] + b"\xff\xfe\x00\x12" + os.urandom(16) + jpeg[2:]  # a comment that is new each time


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver of webhooks on loopback."""
    receiver = Receiver()
    async with await asyncio.start_server(receiver.answer, "127.0.0.1", receiver.port):
        yield receiver


@pytest.fixture(params=["sqlite", "postgres"])
def on_either(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of the server: the embedded default, or PostgreSQL."""
    return {} if request.param == "sqlite" else {"TRENZA_DATABASE_URL": request.getfixturevalue("postgres_url")}


MakeInstallation = Callable[..., Installation]


@pytest.fixture
def make_installation(tmp_path: Path, receiver: Receiver) -> MakeInstallation:
    """Makes the installation of a test, with these settings besides those that the webhooks need."""

    def make(**environment: str) -> Installation:
        return Installation(tmp_path / "data", {"TRENZA_PHOTOS_WEBHOOK_ALLOW": "127.0.0.1", **environment}, receiver)

    return make


@pytest.fixture
def seed() -> int:
    """Where the kills fall. Printed, and so shown when the test fails."""
    chosen = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FAULTS_SEED={chosen}")  # noqa: T201 - pytest shows it with a failure
    return chosen
