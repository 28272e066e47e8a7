"""A project's photos as one archive."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from trenza.services.photos.settings import ORIGINAL

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

PATH = "/api/projects/UP-1/photos.zip"
PHOTO = b"\xff\xd8\xff\xe0 a wall"


async def opened(platform: Platform, query: str = "") -> zipfile.ZipFile:
    answer = await platform.get(PATH + query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


async def upload(platform: Platform, name: str, content: bytes, stage: str = "antes") -> None:
    files = {"file": (name, content)}
    data = {"upid": "UP-1", "stage": stage}
    answer = await platform.ask("POST", "/api/photos/upload", files=files, data=data, headers={"Prefer": "wait=20"})
    assert answer.status_code == 201, answer.text


async def test_an_archive_holds_the_version_of_each_photo(platform: Platform) -> None:
    await upload(platform, "muro.png", PHOTO)
    await upload(platform, "Muro.jpg", PHOTO + b"2", "despues")
    await upload(platform, "techo.jpg", PHOTO + b"3")
    await platform.stored(upid="UP-2")
    archive = await opened(platform)
    assert archive.namelist() == ["techo.jpg", "Muro.jpg", "muro-2.jpg"]
    assert archive.read("techo.jpg").startswith(b"large of photos/UP-1/")
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert (await opened(platform, "?stage=despues&version=small")).read("Muro.jpg").startswith(b"small of ")


async def test_originals_are_for_editors(platform: Platform) -> None:
    await upload(platform, "muro.jpg", PHOTO)
    assert (await opened(platform, f"?version={ORIGINAL}")).read("muro.jpg") == PHOTO
    assert (await platform.get(f"{PATH}?version={ORIGINAL}", scopes=("photos:viewer",))).status_code == 403
    assert (await platform.get(PATH, scopes=("photos:viewer",))).status_code == 200


async def test_a_photo_without_versions_is_left_out(platform: Platform) -> None:
    platform.engine.gate.clear()
    assert (await platform.upload(PHOTO)).status_code == 202
    assert (await opened(platform)).namelist() == []
    assert len((await opened(platform, "?version=original")).namelist()) == 1
    platform.engine.gate.set()


async def test_an_archive_has_more_than_a_page(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    from trenza.services.photos.routes import archiving  # noqa: PLC0415 - the page is made small, so that ten photos are three

    monkeypatch.setattr(archiving, "MAX_PAGE", 4)
    await platform.upload(*(PHOTO + bytes([n]) for n in range(10)), wait=20)
    assert len((await opened(platform)).namelist()) == 10


@pytest.mark.parametrize(("path", "status"), [(f"{PATH}?version=huge", 404), ("/api/projects/a..b/photos.zip", 422)])
async def test_what_cannot_be_is_refused(platform: Platform, path: str, status: int) -> None:
    assert (await platform.get(path)).status_code == status


async def test_a_lost_object_breaks_the_archive(platform: Platform) -> None:
    photo = await platform.stored()
    await platform.photos.blobs.delete(f"photos/UP-1/{photo['id']}/large.jpg")
    with pytest.raises(RuntimeError, match="response already started"):
        await platform.get(PATH)
