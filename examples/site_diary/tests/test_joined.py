"""The diary beside a double of photos, and by itself as before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from site_diary.joined import service
from site_diary.main import app
from trenza import uuid7
from trenza.chassis.testing import RunningServices, run_services, stand_in
from trenza.services.photos.contract import Photo, PhotoCompleted, PhotoFilter, PhotoPage, PhotoPosition, Photos

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENTRIES = "/diary/projects/UP-1/entries"


class SomePhotos(Photos):
    """Photos of one project."""

    def __init__(self) -> None:
        self.known: list[Photo] = []

    async def list_photos(
        self,
        *,
        matching: PhotoFilter | None = None,
        after: PhotoPosition | None = None,  # noqa: ARG002 - the first page is the only one
        limit: int = 50,
    ) -> PhotoPage:
        wanted = matching or PhotoFilter()
        return PhotoPage(photos=tuple(photo for photo in self.known if photo.upid == wanted.upid)[:limit])

    async def get_photo(self, *, photo_id: UUID) -> Photo:
        raise NotImplementedError

    async def delete_photo(self, *, photo_id: UUID) -> None:
        raise NotImplementedError

    async def retry_photo(self, *, photo_id: UUID) -> Photo:
        raise NotImplementedError


def completed() -> Photo:
    return Photo(
        id=uuid7(),
        upid="UP-1",
        status="completed",
        filename="a.jpg",
        media_type="image/jpeg",
        bytes=9,
        sha256="0" * 64,
        uploaded_by="ana",
        created_at=NOW,
        original_key="photos/a.jpg",
        render_task=uuid7(),
    )


@pytest.fixture(autouse=True)
def diary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_DIARY_FILE", str(tmp_path / "diary.sqlite3"))


@pytest.fixture
def photos() -> SomePhotos:
    return SomePhotos()


@pytest.fixture
async def running(tmp_path: Path, photos: SomePhotos) -> AsyncIterator[RunningServices]:
    async with run_services(service, stand_in(photos), data_dir=tmp_path / "data") as services:
        yield services


async def test_editors_write_and_viewers_read(running: RunningServices) -> None:
    entry = {"text": " The cellar is dry. "}
    assert (await running.ask("POST", ENTRIES, json=entry)).status_code == 401
    assert (await running.ask("POST", ENTRIES, "diary:viewer", json=entry)).json()["scope"] == "diary:editor"
    written = await running.ask("POST", ENTRIES, "diary:editor", json=entry)
    assert (written.status_code, [line["text"] for line in written.json()]) == (201, ["The cellar is dry."])
    assert (await running.ask("GET", ENTRIES)).status_code == 401
    assert (await running.ask("GET", ENTRIES, "diary:viewer")).json() == written.json()
    assert (await running.ask("GET", "/diary/ping")).json() == {"status": "ok"}


async def test_its_errors_are_its_own(running: RunningServices) -> None:
    unknown = await running.ask("GET", ENTRIES, "diary:viewer")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "nobody has written about this project"})
    empty = await running.ask("POST", ENTRIES, "diary:editor", json={"text": " "})
    assert (empty.status_code, empty.json()) == (400, {"error": "write something"})


async def test_a_completed_photo_is_written_down_once(running: RunningServices) -> None:
    event = PhotoCompleted(photo_id=uuid7(), upid="UP-1", width=1500, height=2000, completed_at=NOW, versions=())
    for _ in range(2):
        await running.publish(event)
    await running.settled()
    lines = (await running.ask("GET", ENTRIES, "diary:viewer")).json()
    assert [line["text"] for line in lines] == ["A photo of 1500 x 2000 pixels was taken."]


async def test_it_asks_photos(running: RunningServices, photos: SomePhotos) -> None:
    photos.known += [completed(), completed()]
    answer = await running.ask("GET", "/diary/projects/UP-1/photos", "diary:viewer")
    assert answer.json() == {"photos": 2}


async def test_its_operations_are_in_the_document_of_the_platform(running: RunningServices) -> None:
    document = (await running.ask("GET", "/openapi.json")).json()
    read, write = (document["paths"]["/diary/projects/{project}/entries"][method] for method in ("get", "post"))
    assert read["security"] == write["security"] == [{"Bearer": []}]
    assert write["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/diary.NewEntry"}
    assert "security" not in document["paths"]["/diary/ping"]["get"]


async def test_alone_it_is_what_it_was() -> None:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://alone") as client,
    ):
        written = await client.post("/projects/UP-1/entries", json={"text": "Rain."})
        assert written.status_code == 201
        assert [line["text"] for line in (await client.get("/projects/UP-1/entries")).json()] == ["Rain."]
