"""All of photos in one walk: the same steps end in the same state wherever the services run.

In one process and in several behind the gateway, each on the embedded defaults and on PostgreSQL with S3. The processes are
real; the walk knows an address, and looks into the data as an operator's commands do.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import os
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from PIL import Image

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.blobs import open_blobs
from trenza.chassis.clock import SystemClock
from trenza.chassis.messages import Messages
from trenza.chassis.runtime.databases import database_url, open_database
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.pictures import encoded, marked, phone_photo
from trenza.chassis.testing.server_process import ServerProcess, split_deployment
from trenza.services.photos.messages import PurgeDeleted
from trenza.services.photos.wiring import service as photos

if TYPE_CHECKING:
    from tests.conftest import S3Server

    from trenza.chassis.data import Database

SECRET = "s" * 32
BOXES = {"thumbnail": 320, "small": 640, "medium": 1280, "large": 2048}
PHONE = phone_photo(
    1600,
    1200,
    orientation=6,
    taken_at=datetime(2026, 5, 31, 9, 30, tzinfo=timezone(timedelta(hours=-5))),
    location=(3.4516, -76.532),
)
NORTH, SOUTH = encoded(marked(900, 600), "PNG"), encoded(marked(600, 900), "WebP")
LARGE, INLINE, CUT_SHORT = encoded(marked(700, 500), "TIFF"), encoded(marked(320, 320), "BMP"), PHONE[: len(PHONE) // 2]


class Receiver:
    """Takes webhooks, the first one only when it comes for the second time."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._calls = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")[1:]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self._calls += 1
        writer.write(
            b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % (b"500 No" if self._calls == 1 else b"204 Yes")
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        expected = hmac.digest(SECRET.encode(), headers["x-trenza-timestamp"].encode() + b"." + body, "sha256").hex()
        assert headers["x-trenza-signature"] == f"sha256={expected}"
        if self._calls > 1:
            self.told.put_nowait(json.loads(body))


class Walk:
    """People with different roles who talk to a running deployment, and an operator who sees its data."""

    def __init__(self, http: httpx.AsyncClient, settings: PlatformSettings, messages: Messages, database: Database) -> None:
        self._http = http
        self._settings = settings
        self._messages = messages
        self._database = database

    async def ask(self, method: str, path: str, scope: str = "photos:admin", **options: Any) -> httpx.Response:
        token = issue_token(signing_key(self._settings), "ana", (scope,), timedelta(hours=1))
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return await self._http.request(method, path, headers=headers, **options)

    async def follow_link(self, url: str, **options: Any) -> httpx.Response:
        """A signed link: of the deployment itself, or of the bucket."""
        async with httpx.AsyncClient(trust_env=False, timeout=30) as outside:
            return await outside.request(options.pop("method", "GET"), url, **options)

    async def upload(
        self, *files: tuple[str, bytes], scope: str = "photos:editor", key: str = "", **fields: str
    ) -> httpx.Response:
        headers = {"Prefer": "wait=60", **({"Idempotency-Key": key} if key else {})}
        form = [("file", file) for file in files]
        return await self.ask(
            "POST", "/api/photos/upload", scope, files=form, data={"upid": "UNP-1978", **fields}, headers=headers
        )

    async def all(self) -> dict[str, dict[str, Any]]:
        """Every photo by its file's name, read in pages of two."""
        found: dict[str, dict[str, Any]] = {}
        path: str | None = "/api/photos?limit=2"
        while path:
            page = await self.ask("GET", path)
            found |= {photo["filename"]: photo for photo in page.json()["items"]}
            path = page.headers["link"].partition(">")[0].lstrip("<") if "link" in page.headers else None
        return found

    async def finished(self, task_id: UUID) -> None:
        """Wait for a task of photos."""
        task = await self._messages.wait(task_id, timeout=60)
        assert task is not None
        assert task.state == "completed"

    async def purge(self) -> None:
        """Do now what is done every night."""
        async with self._database.work() as work:
            task_id = await work.enqueue(PurgeDeleted())
        await self.finished(task_id)

    async def followed(self, photo_id: str) -> list[str]:
        """The events of a photo until its stream ends."""
        lines = (await self.ask("GET", f"/api/photos/{photo_id}/events", "photos:viewer")).text.splitlines()
        return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]

    async def objects(self) -> set[str]:
        """The keys of all objects of the service."""
        blobs = open_blobs(self._settings)
        try:
            return {stat.key async for stat in blobs.list("photos/")}
        finally:
            await blobs.close()


Environment = dict[str, str]


@pytest.fixture
def embedded() -> Environment:
    """SQLite and a folder."""
    return {}


@pytest.fixture
def grown(postgres_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """PostgreSQL and a bucket."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    bucket = s3_server.environment()
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)  # for the operator's look into the bucket
    return {**bucket, "TRENZA_DATABASE_URL": postgres_url, "TRENZA_BLOBS_URL": f"s3://{s3_server.bucket}/{uuid4().hex}"}


@pytest.fixture(params=["embedded", pytest.param("grown", marks=pytest.mark.xdist_group("s3"))])
def ground(request: pytest.FixtureRequest) -> Environment:
    """What the services stand on."""
    environment: Environment = request.getfixturevalue(request.param)
    return environment


@pytest.fixture(params=["monolith", "split"])
async def walk(request: pytest.FixtureRequest, tmp_path: Path, ground: Environment) -> AsyncIterator[Walk]:
    """A deployment of either shape, on either ground."""
    data_dir = tmp_path / "data"
    own = {"WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW": "127.0.0.1", "DELETED_RETENTION_DAYS": "0"}
    environment = {**ground, **{f"TRENZA_PHOTOS_{name}": value for name, value in own.items()}}
    deployment = split_deployment(tmp_path) if request.param == "split" else None
    settings = PlatformSettings(
        data_dir=data_dir,
        database_url=environment.get("TRENZA_DATABASE_URL"),
        blobs_url=environment.get("TRENZA_BLOBS_URL"),
    )
    async with (
        ServerProcess.running(data_dir, deployment=deployment, environment=environment) as server,
        httpx.AsyncClient(base_url=server.url, timeout=120, trust_env=False) as http,
    ):
        database = open_database("photos", database_url("photos", settings))
        messages = Messages(database, "photos", photos.handlers, photos.schedules, SystemClock(), settings)
        database.messages = messages
        yield Walk(http, settings, messages, database)
        await database.close()


async def test_the_walk_ends_in_the_same_state_everywhere(walk: Walk) -> None:
    receiver = Receiver()
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0) as hooks:
        callback = f"http://127.0.0.1:{hooks.sockets[0].getsockname()[1]}/hooks"
        await taken_in_every_way(walk, callback)
        await read_in_every_form(walk)
        await kept_apart_by_unit(walk)
        await under_maintenance(walk)
        await done_again(walk)
        await deleted_and_purged(walk)
        told = [await asyncio.wait_for(receiver.told.get(), 30) for _ in range(4)]
    # Each time that it was processed, in order, and then its deletion.
    assert [event["status"] for event in told if event["upid"] == "UNP-1978"] == ["completed", "completed", "deleted"]
    assert [event["status"] for event in told if event["upid"] == "UNP-2"] == ["completed"]
    found = await walk.all()
    assert {name: described(photo) for name, photo in found.items()} == END
    keys = {key for photo in found.values() for key in keys_of(photo)}
    assert await walk.objects() == keys


async def taken_in_every_way(walk: Walk, callback: str) -> None:
    """By a form, several at once with bad ones between them, straight into the store, and within JSON."""
    first = await walk.upload(("phone.jpg", PHONE), key="k-1", stage="antes", callback_url=callback)
    assert first.status_code == 201, first.text
    again = await walk.upload(("phone.jpg", PHONE), key="k-1", stage="antes", callback_url=callback)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (await walk.upload(("other name.jpg", PHONE))).status_code == 200
    files = [("norte ñ.png", NORTH), ("text.jpg", b"no picture"), ("cut.jpg", CUT_SHORT), ("twin.png", NORTH)]
    several = await walk.upload(*files, centro_gestor="NORTE", stage="durante")
    results = several.json()["results"]
    assert (several.status_code, [result["status"] for result in results]) == (207, [201, 400, 400, 200])
    assert results[3]["photo"]["id"] == results[0]["photo"]["id"]
    order = {"upid": "UNP-1978", "bytes": len(LARGE), "sha256": hashlib.sha256(LARGE).hexdigest(), "filename": "large.tif"}
    direct = (await walk.ask("POST", "/api/photos/uploads", "photos:editor", json=order)).json()
    complete = f"/api/photos/uploads/{direct['id']}/complete"
    assert (await walk.ask("POST", complete, "photos:editor")).json()["code"] == "UPLOAD_INCOMPLETE"
    put = await walk.follow_link(direct["url"], method="PUT", content=LARGE, headers=direct["headers"])
    assert put.status_code == 200, put.text
    completed = await walk.ask("POST", complete, "photos:editor")
    assert completed.status_code == 202, completed.text
    assert (await walk.followed(completed.json()["id"]))[-1] == "completed"
    body = {"upid": "UNP-2", "image_base64": base64.b64encode(INLINE).decode(), "filename": "in.bmp", "callback_url": callback}
    function = await walk.ask("POST", "/", "photos:editor", json=body)
    assert (function.status_code, function.json()["status"]) == (201, "completed"), function.text
    south = await walk.upload(("sur.webp", SOUTH), scope="photos:editor@SUR", location="3.1,-76.2", description="  Un muro ")
    assert (south.status_code, south.json()["centro_gestor"]) == (201, "SUR")


async def read_in_every_form(walk: Walk) -> None:
    """The versions as JPEG, WebP and AVIF, whole and in part, by route and by link; the gallery; the archive."""
    photo = (await walk.all())["phone.jpg"]
    path = f"/api/photos/{photo['id']}/medium"
    whole = await walk.ask("GET", path, "photos:public")
    assert Image.open(io.BytesIO(whole.content)).size == (1280, 960)
    assert (await walk.follow_link(photo["versions"]["medium"]["url"])).content == whole.content
    part = await walk.ask("GET", path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert (await walk.ask("GET", path, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304
    for accept, form in {"image/webp": "WEBP", "image/avif,image/webp;q=0.5": "AVIF", "image/*": "JPEG"}.items():
        asked = await walk.ask("GET", path, headers={"Accept": accept})
        assert Image.open(io.BytesIO(asked.content)).format == form
    original = await walk.follow_link(photo["original"]["url"])
    assert (original.content, "phone.jpg" in original.headers["content-disposition"]) == (PHONE, True)
    during = (await walk.ask("GET", "/api/projects/UNP-1978/photos?stage=durante&status=completed")).json()["items"]
    assert [photo["filename"] for photo in during] == ["norte ñ.png"]
    archive = await walk.ask("GET", "/api/projects/UNP-1978/photos.zip?version=original")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        assert opened.testzip() is None
        held = {name: opened.read(name) for name in opened.namelist()}
    assert {name: held.get(name) for name in ("phone.jpg", "norte ñ.png", "large.tif", "sur.webp")} == {
        "phone.jpg": PHONE,
        "norte ñ.png": NORTH,
        "large.tif": LARGE,
        "sur.webp": SOUTH,
    }


async def kept_apart_by_unit(walk: Walk) -> None:
    """Those of one unit see nothing of the others."""
    seen = (await walk.ask("GET", "/api/photos", "photos:viewer@SUR")).json()["items"]
    assert [(photo["filename"], photo["original"]["url"]) for photo in seen] == [("sur.webp", None)]
    other = (await walk.all())["norte ñ.png"]
    for method in ("GET", "DELETE"):
        assert (await walk.ask(method, f"/api/photos/{other['id']}", "photos:manager@SUR")).status_code == 404


async def under_maintenance(walk: Walk) -> None:
    """Uploads are turned away, reading goes on."""
    await walk.ask("PUT", "/api/photos/maintenance", json={"enabled": True, "retry_after_seconds": 7})
    refused = await walk.upload(("late.jpg", b"\xff\xd8\xff"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
    assert refused.json()["title"] == "Servicio en mantenimiento"
    assert len(await walk.all()) >= 5
    await walk.ask("PUT", "/api/photos/maintenance", json={"enabled": False})


async def done_again(walk: Walk) -> None:
    """All versions anew, and another try for the one that failed."""
    order = {"upid": "UNP-1978", "status": "completed", "versions": "all"}
    started = (await walk.ask("POST", "/api/photos/reprocess", "photos:manager", json=order)).json()
    assert started["matching"] == 4
    await walk.finished(UUID(started["task_id"]))
    for photo in (await walk.all()).values():
        if photo["upid"] == "UNP-1978" and photo["status"] != "failed":
            assert (await walk.followed(photo["id"]))[-1] == "completed"
    failed = (await walk.ask("GET", "/api/photos?status=failed")).json()["items"]
    assert [photo["filename"] for photo in failed] == ["cut.jpg"]
    retried = await walk.ask("POST", f"/api/photos/{failed[0]['id']}/retry", "photos:manager", headers={"Prefer": "wait=60"})
    assert (retried.status_code, retried.json()["code"]) == (400, "INVALID_IMAGE_FORMAT")
    assert retried.json()["photo"]["attempts"] == 2


async def deleted_and_purged(walk: Walk) -> None:
    """What is deleted is gone for everybody, and after its retention from the store."""
    path = f"/api/photos/{(await walk.all())['phone.jpg']['id']}"
    for _ in range(2):
        assert (await walk.ask("DELETE", path, "photos:manager")).status_code == 204
    assert (await walk.ask("GET", f"{path}/small")).status_code == 404
    await walk.purge()


def described(photo: dict[str, Any]) -> tuple[Any, ...]:
    """What is the same wherever it runs."""
    place = photo["location"] and tuple(round(photo["location"][name], 4) for name in ("latitude", "longitude"))
    versions = {name: (made["width"], made["height"]) for name, made in photo["versions"].items()}
    names = ("upid", "status", "stage", "media_type", "width", "height", "attempts", "centro_gestor", "description")
    return (*(photo[name] for name in names), place, versions)


def keys_of(photo: dict[str, Any]) -> set[str]:
    """The objects that a photo has at the end."""
    folder = f"photos/{photo['upid']}/{photo['id']}"
    extension = photo["filename"].rpartition(".")[2]
    return {f"{folder}/original.{extension}", *(f"{folder}/{name}.jpg" for name in photo["versions"])}


def boxed(width: int, height: int) -> dict[str, tuple[int, int]]:
    """The sizes of the versions of a picture that is smaller than the largest box."""
    sizes = {"thumbnail": (min(width, 320), min(height, 320))}
    for name in ("small", "medium", "large"):
        factor = min(1, BOXES[name] / max(width, height))
        sizes[name] = (round(width * factor), round(height * factor))
    return sizes


END = {
    "norte ñ.png": (
        "UNP-1978", "completed", "durante", "image/png", 900, 600, 2, "NORTE", None, None, boxed(900, 600),
    ),
    "cut.jpg": ("UNP-1978", "failed", "durante", "image/jpeg", 1200, 1600, 2, "NORTE", None, None, {}),
    "large.tif": ("UNP-1978", "completed", None, "image/tiff", 700, 500, 2, None, None, None, boxed(700, 500)),
    "sur.webp": (
        "UNP-1978", "completed", None, "image/webp", 600, 900, 2, "SUR", "Un muro", (3.1, -76.2), boxed(600, 900),
    ),
    "in.bmp": ("UNP-2", "completed", None, "image/bmp", 320, 320, 1, None, None, None, boxed(320, 320)),
}  # fmt: skip
"""All but the deleted one: UPID, state, stage, type, size, attempts, unit, description, place, versions."""
