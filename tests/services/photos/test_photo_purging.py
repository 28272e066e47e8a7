"""Removing deleted photos after their retention, and objects that no record knows after a grace."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from trenza.chassis.blobs.identity import MARKER
from trenza.services.photos.tables import photos

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

PHOTO = b"\xff\xd8\xff\xe0 a wall"
DAY = 24 * 3600


async def deleted(platform: Platform, content: bytes, *, days_ago: int) -> str:
    """The folder of a photo that was deleted some days ago."""
    photo = await platform.stored(content)
    assert (await platform.ask("DELETE", f"/api/photos/{photo['id']}")).status_code == 204
    async with platform.app.state.assembly.databases["photos"].work() as work:
        moment = platform.app.state.assembly.clock.now() - timedelta(days=days_ago)
        await work.execute(update(photos).where(photos.c.id == UUID(photo["id"])).values(deleted_at=moment))
    return f"photos/UP-1/{photo['id']}"


async def records(platform: Platform) -> int:
    async with platform.app.state.assembly.databases["photos"].read() as connection:
        count: int = (await connection.execute(select(func.count()).select_from(photos))).scalar_one()
    return count


def age(platform: Platform, key: str, seconds: float = 2 * DAY) -> None:
    """Make an object as old as that."""
    path = platform.photos.blobs.local_path(key)
    assert path is not None
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_deleted_photos_go_after_their_retention(platform: Platform) -> None:
    long_ago = await deleted(platform, b"1", days_ago=31)
    lately = await deleted(platform, b"2", days_ago=29)
    there = await platform.stored(b"3")
    await platform.get(f"/api/photos/{there['id']}/small", headers={"Accept": "image/webp"})
    before = await platform.objects()
    assert await platform.photos.purge.deleted() == 1
    assert before - await platform.objects() == {key for key in before if key.startswith(long_ago)}
    assert len(await platform.objects(lately)) == 5
    assert await records(platform) == 2
    assert await platform.photos.purge.deleted() == 0


async def test_the_retention_is_a_setting(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_DELETED_RETENTION_DAYS", "7")
    async with start() as platform:
        await deleted(platform, b"1", days_ago=6)
        assert await platform.photos.purge.deleted() == 0
        await deleted(platform, b"2", days_ago=8)
        assert await platform.photos.purge.deleted() == 1


async def test_a_purge_that_was_cut_off_goes_on(platform: Platform) -> None:
    folder = await deleted(platform, b"1", days_ago=31)
    await platform.photos.blobs.delete(f"{folder}/original.jpg", f"{folder}/small.jpg")
    assert await platform.photos.purge.deleted() == 1
    assert await platform.objects() == set()
    assert await records(platform) == 0


async def test_objects_that_no_record_knows_are_swept_after_the_grace(platform: Platform) -> None:
    photo = await platform.stored()
    folder = f"photos/UP-1/{photo['id']}"
    gone = await deleted(platform, b"2", days_ago=1)  # its objects are kept for the retention
    await platform.get(f"/api/photos/{photo['id']}/small", headers={"Accept": "image/webp"})
    kept = await platform.objects()
    orphans = {
        "photos/UP-1/01930000-0000-7000-8000-000000000000/original.jpg",  # the crash before the commit
        f"{folder}/huge.jpg",  # a preset that is no more
        f"{folder}/small-9x9-q75.webp",
    }
    foreign = {"photos/UP-1/notes.txt", "other/file.txt"}
    fresh = "photos/UP-1/01930000-0000-7000-8000-000000000001/original.jpg"
    for key in (*orphans, *foreign, fresh):
        await platform.photos.blobs.put(key, b"x", media_type="image/jpeg")
    for key in (*orphans, *foreign, *kept):
        age(platform, key)
    assert await platform.photos.purge.orphans() == 3
    assert await platform.objects("") - {MARKER} == kept | foreign | {fresh}
    assert len(await platform.objects(gone)) == 5


async def test_an_empty_database_sweeps_nothing(platform: Platform) -> None:
    key = "photos/UP-1/01930000-0000-7000-8000-000000000000/original.jpg"
    await platform.photos.blobs.put(key, b"x", media_type="image/jpeg")
    age(platform, key)
    assert await platform.photos.purge.orphans() == 0
    assert await platform.objects() == {key}


async def test_what_is_not_processed_yet_is_left_alone(platform: Platform) -> None:
    platform.engine.gate.clear()
    photo = (await platform.upload(PHOTO)).json()
    key = f"photos/UP-1/{photo['id']}/small.jpg"  # of an attempt that was cut off
    await platform.photos.blobs.put(key, b"x", media_type="image/jpeg")
    for each in await platform.objects():
        age(platform, each)
    assert await platform.photos.purge.orphans() == 0
    platform.engine.gate.set()
    assert (await platform.settled(photo["id"]))["status"] == "completed"


async def upload_and_delete(platform: Platform, worker: int) -> None:
    """Upload photos and look at them; every third is deleted again."""
    for number in range(4):
        answer = await platform.upload(PHOTO + f"{worker} {number}".encode(), wait=20)
        assert answer.status_code in {201, 202}, answer.text  # 202: made anew before it could be answered
        path = f"/api/photos/{answer.json()['id']}"
        await platform.get(f"{path}/small", headers={"Accept": "image/webp"})
        if number % 3 == 0:
            await platform.ask("DELETE", path)


async def clean(platform: Platform, ended: asyncio.Event) -> None:
    """Sweep and purge again and again. What has a record counts as old: nothing but its record protects it."""
    while not ended.is_set():
        for photo in (await platform.get("/api/photos?limit=200")).json()["items"]:
            for key in await platform.objects(f"photos/UP-1/{photo['id']}"):
                with suppress(FileNotFoundError):  # purged meanwhile
                    age(platform, key)
        await platform.photos.purge.orphans()
        await platform.photos.purge.deleted()
        await asyncio.sleep(0.02)  # a breath, not a wait: without it, the loop would be all that this process does


async def make_anew(platform: Platform, ended: asyncio.Event) -> None:
    """Have all versions made anew, four times a second."""
    while not ended.is_set():
        await platform.ask("POST", "/api/photos/reprocess", json={"versions": "all"})
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.25)


async def test_nothing_that_lives_is_swept_or_purged_while_all_goes_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_DELETED_RETENTION_DAYS", "0")
    async with start() as platform:
        ended = asyncio.Event()
        others = [asyncio.create_task(clean(platform, ended)), asyncio.create_task(make_anew(platform, ended))]
        await asyncio.gather(*(upload_and_delete(platform, worker) for worker in range(2)))
        ended.set()
        await asyncio.gather(*others)
        items = (await platform.get("/api/photos?limit=200")).json()["items"]
        assert len(items) == 4
        for item in items:
            photo = await platform.settled(item["id"])
            for version in ("original", *photo["versions"]):
                assert (await platform.get(f"/api/photos/{photo['id']}/{version}")).status_code == 200
        await platform.photos.purge.deleted()
        assert {key.split("/")[2] for key in await platform.objects()} == {item["id"] for item in items}
