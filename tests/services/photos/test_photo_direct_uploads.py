"""Direct uploads: asked for, put, completed, and swept when nobody completes them."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import update

from trenza.services.photos.tables import uploads

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

PATH = "/api/photos/uploads"
PHOTO = b"\xff\xd8\xff\xe0 a wall"
DIGEST = hashlib.sha256(PHOTO).hexdigest()


async def asked_for(platform: Platform, **fields: Any) -> dict[str, Any]:
    body = {"upid": "UP-1", "filename": "muro.jpg", "bytes": len(PHOTO), **fields}
    answer = await platform.ask("POST", PATH, json=body)
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


async def put(platform: Platform, upload: dict[str, Any], content: bytes = PHOTO) -> None:
    answer = await platform.http.request(upload["method"], upload["url"], content=content, headers=upload["headers"])
    assert answer.status_code == 200, answer.text


async def complete(platform: Platform, upload: dict[str, Any], **options: Any) -> Any:
    return await platform.ask("POST", f"{PATH}/{upload['id']}/complete", **options)


async def test_what_was_put_becomes_a_photo(platform: Platform) -> None:
    upload = await asked_for(platform, sha256=DIGEST.upper(), stage="durante", location="3.4,-76.5")
    assert upload.keys() == {"id", "method", "url", "expires_at", "headers"}
    await put(platform, upload)
    answer = await complete(platform, upload, headers={"Prefer": "wait=20"})
    assert answer.status_code == 201, answer.text
    photo = answer.json()
    assert (photo["status"], photo["stage"], photo["filename"], photo["sha256"]) == ("completed", "durante", "muro.jpg", DIGEST)
    assert photo["location"] == {"latitude": 3.4, "longitude": -76.5}
    assert await platform.objects("uploads") == set()
    again = await complete(platform, upload)
    assert again.status_code == 200
    assert again.json()["id"] == photo["id"]


async def test_the_same_bytes_give_the_photo_that_is_there(platform: Platform) -> None:
    photo = (await platform.upload(PHOTO, wait=20)).json()
    upload = await asked_for(platform)
    await put(platform, upload)
    answer = await complete(platform, upload)
    assert (answer.status_code, answer.json()["id"]) == (200, photo["id"])
    assert len(await platform.objects("photos")) == 5


@pytest.mark.parametrize(
    ("promise", "content", "expected"),
    [
        ({}, None, (409, "UPLOAD_INCOMPLETE", "url")),
        ({"sha256": "0" * 64}, PHOTO, (422, "UPLOAD_MISMATCH", "sha256")),
        ({"bytes": 6}, b"%PDF-1", (400, "INVALID_IMAGE_FORMAT", "file")),
    ],
)
async def test_what_is_not_what_was_promised_is_refused_and_can_be_put_again(
    platform: Platform, promise: dict[str, Any], content: bytes | None, expected: tuple[int, str, str | None]
) -> None:
    upload = await asked_for(platform, **promise)
    if content is not None:
        await put(platform, upload, content)
    answer = await complete(platform, upload)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == expected
    assert await platform.objects("photos") == set()
    if promise == {}:
        await put(platform, upload)
        assert (await complete(platform, upload)).status_code == 202


@pytest.mark.parametrize("content", [PHOTO + b"!", PHOTO[:-1]])
async def test_the_link_takes_no_more_and_no_less_than_was_promised(platform: Platform, content: bytes) -> None:
    upload = await asked_for(platform)
    answer = await platform.http.put(upload["url"], content=content)
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (422, "WRONG_LENGTH", len(PHOTO))
    assert await platform.objects("uploads") == set()
    await put(platform, upload)
    assert (await complete(platform, upload)).status_code == 202


async def test_what_a_store_took_beyond_the_promise_is_refused(platform: Platform) -> None:
    """A bucket takes it, where the credentials of an instance's role sign the link: those cannot sign a length."""
    upload = await asked_for(platform)
    await platform.photos.blobs.put(f"uploads/photos/{upload['id']}", PHOTO + b"!", media_type="application/octet-stream")
    answer = await complete(platform, upload)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "UPLOAD_MISMATCH", "bytes")


async def test_the_link_takes_one_file_from_whoever_holds_it(platform: Platform) -> None:
    upload, other = await asked_for(platform), await asked_for(platform)
    forged = upload["url"].replace(upload["id"], other["id"])
    assert (await platform.http.put(forged, content=PHOTO)).status_code == 403
    assert (await platform.http.get(upload["url"])).status_code == 403


async def test_the_link_of_a_completed_upload_takes_nothing_more(platform: Platform) -> None:
    upload = await asked_for(platform)
    await put(platform, upload)
    await put(platform, upload)  # until then a broken transfer can be repeated
    assert (await complete(platform, upload)).status_code == 202
    late = await platform.http.put(upload["url"], content=PHOTO)
    assert late.headers["content-type"] == "application/problem+json"
    assert (late.status_code, late.json()["code"]) == (409, "UPLOAD_COMPLETED")
    assert await platform.objects("uploads") == set()
    spanish = await platform.http.put(upload["url"], content=PHOTO, headers={"Accept-Language": "es"})
    assert spanish.json()["title"] == "Subida completada"
    assert (await complete(platform, upload)).status_code == 200


async def test_an_upload_is_its_askers_own(platform: Platform) -> None:
    upload = await asked_for(platform)
    await put(platform, upload)
    stranger = platform.token("photos:editor", subject="berta")
    answer = await platform.http.post(f"{PATH}/{upload['id']}/complete", headers={"Authorization": f"Bearer {stranger}"})
    assert (answer.status_code, answer.json()["code"]) == (404, "UPLOAD_NOT_FOUND")


async def test_the_same_key_gives_the_same_link(platform: Platform) -> None:
    body = {"upid": "UP-1", "bytes": len(PHOTO)}
    first, second = [await platform.ask("POST", PATH, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert first.json() == second.json()


async def test_a_file_over_the_limit_is_refused_before_it_is_sent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_MAX_FILE_BYTES", "100")
    async with start() as limited:
        answer = await limited.ask("POST", PATH, json={"upid": "UP-1", "bytes": 101})
        assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (413, "FILE_TOO_LARGE", 100)


@pytest.mark.parametrize("field", ["description", "filename", "callback_url"])
async def test_half_a_character_is_refused(platform: Platform, field: str) -> None:
    order = b'{"upid": "UP-1", "bytes": 5, "' + field.encode() + b'": "a \\ud800 b"}'
    answer = await platform.ask("POST", "/api/photos/uploads", content=order, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert "surrogate" in answer.text


async def test_abandoned_uploads_are_swept(platform: Platform) -> None:
    abandoned, fresh = await asked_for(platform), await asked_for(platform)
    await put(platform, abandoned)
    await put(platform, fresh)
    assert await platform.photos.direct_uploads.sweep() == 0
    async with platform.app.state.assembly.databases["photos"].work() as work:
        long_ago = platform.app.state.assembly.clock.now() - timedelta(hours=2)
        await work.execute(update(uploads).where(uploads.c.id == UUID(abandoned["id"])).values(expires_at=long_ago))
    assert await platform.photos.direct_uploads.sweep() == 1
    assert await platform.objects("uploads") == {f"uploads/photos/{fresh['id']}"}
    assert (await complete(platform, abandoned)).status_code == 404
    assert (await complete(platform, fresh)).status_code == 202


async def test_no_link_is_given_during_maintenance(platform: Platform) -> None:
    upload = await asked_for(platform)
    await platform.ask("PUT", "/api/photos/maintenance", json={"enabled": True})
    assert (await platform.ask("POST", PATH, json={"upid": "UP-1", "bytes": 1})).status_code == 503
    assert (await complete(platform, upload)).status_code == 503
