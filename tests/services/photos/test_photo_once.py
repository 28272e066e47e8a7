"""Each photo once: duplicates, races, idempotency keys, and failures in the middle of an upload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from trenza.chassis.blobs import Blobs, BlobStat, BlobsUnavailable
from trenza.chassis.data import Database, DatabaseUnavailable, UnitOfWork
from trenza.services.images.contract import InvalidImageFormat
from trenza.services.photos.messages import ForgetAnswers

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

PHOTO = b"\xff\xd8\xff\xe0 a wall"


class FullDisk:
    """An object store without room for one certain file."""

    def __init__(self, blobs: Blobs, content: bytes) -> None:
        self._blobs = blobs
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def put_file(self, key: str, path: Path, *, media_type: str) -> BlobStat:
        if await asyncio.to_thread(path.read_bytes) == self._content:
            raise BlobsUnavailable("there is no space left")
        return await self._blobs.put_file(key, path, media_type=media_type)


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


# --- duplicates


async def test_the_same_bytes_under_the_same_upid_are_the_same_photo(platform: Platform) -> None:
    first = await platform.stored()
    again = await platform.upload(b"\xff\xd8\xff\xe0\x00\x10JFIF", description="another text")
    assert again.status_code == 200
    assert again.json()["id"] == first["id"]
    assert again.json()["description"] is None
    elsewhere = await platform.upload(b"\xff\xd8\xff\xe0\x00\x10JFIF", upid="UP-2")
    assert elsewhere.status_code == 202
    assert elsewhere.json()["id"] != first["id"]


async def test_a_deleted_photo_can_be_uploaded_anew(platform: Platform) -> None:
    first = await platform.stored()
    assert (await platform.ask("DELETE", f"/api/photos/{first['id']}")).status_code == 204
    assert (await platform.stored())["id"] != first["id"]


async def test_a_failed_photo_comes_back_as_it_is(platform: Platform) -> None:
    platform.engine.refusals.append(InvalidImageFormat("The image is cut short."))
    failed = problem_of(await platform.upload(PHOTO, wait=20), 400, "INVALID_IMAGE_FORMAT")
    for wait in (20, None):
        answer = await platform.upload(PHOTO, wait=wait)
        again = problem_of(answer, 400, "INVALID_IMAGE_FORMAT")
        assert again["photo"]["id"] == failed["photo"]["id"]
        assert again["photo"]["status"] == "failed"
        assert answer.headers["location"] == f"/api/photos/{failed['photo']['id']}"


async def test_the_same_bytes_twice_in_one_request_are_the_photo_of_the_first(platform: Platform) -> None:
    for number in range(5):
        content = PHOTO + bytes([number])
        results = (await platform.upload(content, content, content)).json()["results"]
        assert [result["status"] for result in results] == [202, 200, 200]
        assert {result["photo"]["filename"] for result in results} == {"photo-0.jpg"}
        assert len({result["photo"]["id"] for result in results}) == 1


async def test_twenty_identical_uploads_at_once_make_one_photo(platform: Platform) -> None:
    answers = await asyncio.gather(*(platform.upload(PHOTO, wait=20) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await platform.objects()) == 5
    assert len(platform.engine.rendered) == 1


# --- idempotency keys


async def test_an_idempotency_key_repeats_the_answer(platform: Platform) -> None:
    async def upload(content: bytes, upid: str = "UP-1") -> Any:
        headers = {"Idempotency-Key": "key-1"}
        return await platform.ask(
            "POST", "/api/photos/upload", files={"file": ("a.jpg", content)}, data={"upid": upid}, headers=headers
        )

    first = await upload(PHOTO)
    again = await upload(PHOTO)
    assert first.status_code == again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    problem_of(await upload(PHOTO + b"2"), 422, "IDEMPOTENCY_KEY_REUSED")
    problem_of(await upload(PHOTO, "UP-2"), 422, "IDEMPOTENCY_KEY_REUSED")
    assert len((await platform.get("/api/photos")).json()["items"]) == 1


async def test_a_refused_upload_frees_its_idempotency_key(platform: Platform) -> None:
    headers = {"Idempotency-Key": "key-1"}
    for _ in range(2):
        answer = await platform.ask(
            "POST", "/api/photos/upload", files={"file": ("a.jpg", b"text")}, data={"upid": "UP-1"}, headers=headers
        )
        problem_of(answer, 400, "INVALID_IMAGE_FORMAT")


async def test_a_key_is_free_again_when_one_of_its_files_met_a_fault_of_ours(platform: Platform) -> None:
    headers = {"Idempotency-Key": "key-1"}
    files = [("file", (f"{number}.jpg", PHOTO + bytes([number]))) for number in range(2)]
    blobs: Any = platform.photos.uploads._blobs
    platform.photos.uploads._blobs = FullDisk(blobs, PHOTO + bytes([1]))  # type: ignore[assignment]  # a disk that is full for one file
    first = await platform.ask("POST", "/api/photos/upload", files=files, data={"upid": "UP-1"}, headers=headers)
    assert [result["status"] for result in first.json()["results"]] == [202, 503]
    platform.photos.uploads._blobs = blobs
    for replayed, statuses in ((None, [200, 202]), ("true", [200, 202])):
        again = await platform.ask("POST", "/api/photos/upload", files=files, data={"upid": "UP-1"}, headers=headers)
        assert [result["status"] for result in again.json()["results"]] == statuses
        assert again.headers.get("idempotency-replayed") == replayed


async def test_retries_and_reprocessing_take_a_key_too(platform: Platform) -> None:
    platform.engine.refusals.append(InvalidImageFormat("The image is cut short."))
    failed = problem_of(await platform.upload(PHOTO, wait=20), 400, "INVALID_IMAGE_FORMAT")["photo"]
    path = f"/api/photos/{failed['id']}/retry"
    first, again = [await platform.ask("POST", path, headers={"Idempotency-Key": "k", "Prefer": "wait=20"}) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)  # without the key, the second would be a 409
    assert again.json() == first.json()
    orders = [
        await platform.ask("POST", "/api/photos/reprocess", json={"versions": "all"}, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert orders[0].json() == orders[1].json()
    assert orders[1].headers["idempotency-replayed"] == "true"
    other = await platform.ask("POST", "/api/photos/reprocess", json={}, headers={"Idempotency-Key": "k"})
    problem_of(other, 422, "IDEMPOTENCY_KEY_REUSED")


async def test_answers_are_forgotten_when_their_keys_expire(platform: Platform) -> None:
    headers = {"Idempotency-Key": "key-1"}
    await platform.ask("POST", "/api/photos/upload", files={"file": ("a.jpg", PHOTO)}, data={"upid": "UP-1"}, headers=headers)
    database: Database = platform.app.state.assembly.databases["photos"]
    count = sa.text("SELECT count(*) FROM idempotency_keys")
    async with database.work() as work:
        assert (await work.execute(count)).scalar_one() == 1
        await work.execute(sa.text("UPDATE idempotency_keys SET expires_at = '2000-01-01 00:00:00.000000'"))
        task_id = await work.enqueue(ForgetAnswers())
    state = await platform.app.state.assembly.messages["photos"].wait(task_id, timeout=20)
    assert state.state == "completed"
    async with database.read() as connection:
        assert (await connection.execute(count)).scalar_one() == 0


# --- storage and database that fail in the middle


class LosesConnections:
    """A database whose connection is lost, before or after the commit of a unit of work."""

    def __init__(self, database: Database, *, after_commit: bool) -> None:
        self._database = database
        self._after_commit = after_commit
        self.read = database.read

    @asynccontextmanager
    async def work(self) -> AsyncIterator[UnitOfWork]:
        async with self._database.work() as work:
            yield work
            if not self._after_commit:
                raise DatabaseUnavailable("connection lost")
        raise DatabaseUnavailable("connection lost")


@pytest.mark.parametrize("after_commit", [False, True])
async def test_the_original_stays_exactly_when_its_record_does(platform: Platform, *, after_commit: bool) -> None:
    uploads: Any = platform.photos.uploads
    uploads._database = LosesConnections(uploads._database, after_commit=after_commit)
    problem_of(await platform.upload(PHOTO), 503, "DATABASE_UNAVAILABLE")
    recorded = (await platform.get("/api/photos")).json()["items"]
    assert len(recorded) == int(after_commit)
    if after_commit:
        assert (await platform.settled(recorded[0]["id"]))["status"] == "completed"
        assert (await platform.get(f"/api/photos/{recorded[0]['id']}/original")).content == PHOTO
    else:
        assert await platform.objects() == set()
