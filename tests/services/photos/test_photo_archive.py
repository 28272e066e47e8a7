"""A project's photos as one archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from trenza.chassis.blobs import BlobsUnavailable
from trenza.services.images.contract import InvalidImageFormat
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
    await upload(platform, "muro.jpg", PHOTO)
    platform.engine.gate.clear()
    assert (await platform.upload(PHOTO + b"2")).status_code == 202
    assert (await opened(platform)).namelist() == ["muro.jpg"]
    assert len((await opened(platform, "?version=original")).namelist()) == 2
    platform.engine.gate.set()


async def test_an_archive_of_nothing_is_refused(platform: Platform) -> None:
    await upload(platform, "muro.jpg", PHOTO)
    for path, scopes in (
        ("/api/projects/UP-2/photos.zip", ("photos:viewer",)),
        (f"{PATH}?stage=durante", ("photos:viewer",)),
        (PATH, ("photos:viewer@NORTE",)),
    ):
        answer = await platform.get(path, scopes=scopes)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["field"]) == (404, "NO_PHOTOS", "upid")
        assert problem["limit"]
        assert problem["remedy"]
        spanish = (await platform.get(path, scopes=scopes, headers={"Accept-Language": "es"})).json()
        assert "ninguna foto" in spanish["detail"]


async def test_an_archive_of_photos_without_versions_is_not_ready(platform: Platform) -> None:
    platform.engine.gate.clear()
    assert (await platform.upload(PHOTO)).status_code == 202
    answer = await platform.get(PATH)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (409, "VERSION_NOT_READY", "version")
    assert "original" in problem["limit"]
    assert answer.headers["retry-after"] == "1"
    assert len((await opened(platform, "?version=original")).namelist()) == 1
    platform.engine.gate.set()


async def test_an_archive_of_failed_photos_is_not_ready_either(platform: Platform) -> None:
    platform.engine.refusals.append(InvalidImageFormat("cut short"))
    await platform.upload(PHOTO, wait=20)
    answer = await platform.get(PATH, headers={"Accept-Language": "es"})
    assert (answer.status_code, answer.json()["code"]) == (409, "VERSION_NOT_READY")
    assert "retry-after" not in answer.headers
    assert "Ninguna de las fotos" in answer.json()["detail"]


async def test_an_archive_has_more_than_a_page(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    from trenza.services.photos.routes import archiving  # noqa: PLC0415 - the page is made small, so that ten photos are three

    monkeypatch.setattr(archiving, "MAX_PAGE", 4)
    await platform.upload(*(PHOTO + bytes([n]) for n in range(10)), wait=20)
    assert len((await opened(platform)).namelist()) == 10


@pytest.mark.parametrize(("path", "status"), [(f"{PATH}?version=huge", 404), ("/api/projects/a..b/photos.zip", 422)])
async def test_what_cannot_be_is_refused(platform: Platform, path: str, status: int) -> None:
    assert (await platform.get(path)).status_code == status


async def lose(platform: Platform, name: str) -> str:
    """Remove the large version of a photo behind the service's back; its id."""
    photos = (await platform.get("/api/projects/UP-1/photos")).json()["items"]
    photo_id: str = next(photo["id"] for photo in photos if photo["filename"] == name)
    await platform.photos.blobs.delete(f"photos/UP-1/{photo_id}/large.jpg")
    return photo_id


@pytest.mark.parametrize(("language", "note"), [("en", "missing.txt"), ("es-CO", "faltan.txt")])
async def test_a_lost_object_is_left_out_and_the_archive_says_so(platform: Platform, language: str, note: str) -> None:
    for number, name in enumerate(("muro.jpg", "techo.jpg", "suelo.jpg")):
        await upload(platform, name, PHOTO + bytes([number]))
    lost = await lose(platform, "techo.jpg")
    with capture_logs() as logged:
        answer = await platform.get(PATH, headers={"Accept-Language": language})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert archive.namelist() == ["suelo.jpg", "muro.jpg", note]
    assert f"{lost}  techo.jpg\n" in archive.read(note).decode()
    (line,) = [line for line in logged if line["event"] == "photos missing from an archive"]
    assert line["log_level"] == "warning"
    assert lost in line["ids"]


async def test_an_archive_whose_objects_are_all_lost_holds_the_note(platform: Platform) -> None:
    await upload(platform, "missing.txt", PHOTO)
    await lose(platform, "missing.txt")
    assert (await opened(platform)).namelist() == ["missing.txt"]


async def test_an_object_that_breaks_off_breaks_the_archive(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await upload(platform, "muro.jpg", PHOTO)

    async def stream(_key: str) -> AsyncIterator[bytes]:
        yield b"the beginning"
        raise BlobsUnavailable("the disk is gone")

    monkeypatch.setattr(platform.photos.blobs, "stream", stream)
    with pytest.raises(RuntimeError, match="response already started"):
        await platform.get(PATH)
