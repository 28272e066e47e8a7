"""What becomes of a photo after its upload: engine down, refusals, retries, deletion meanwhile, restarts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from trenza.services.images.contract import ImageTooLarge, InvalidImageFormat, Location, ProcessingFailed, ProcessingTimeout
from trenza.services.photos.contract import PhotoCompleted, PhotoDeleted, PhotoFailed

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

    from trenza.chassis.settings import PlatformSettings

PHOTO = b"\xff\xd8\xff\xe0 a wall"


async def failed_photo(platform: Platform) -> dict[str, Any]:
    platform.engine.refusals.append(InvalidImageFormat("The image is cut short."))
    answer = await platform.upload(PHOTO, wait=20)
    assert answer.status_code == 400
    photo: dict[str, Any] = answer.json()["photo"]
    return photo


# --- completed


async def test_what_the_camera_noted_fills_the_gaps(platform: Platform) -> None:
    platform.engine.taken_at = datetime(2026, 5, 31, 9, 30)  # noqa: DTZ001 - cameras seldom tell their zone
    platform.engine.location = Location(latitude=3.45, longitude=-76.53)
    photo = await platform.stored()
    assert photo["taken_at"] == "2026-05-31T09:30:00Z"
    assert photo["location"] == {"latitude": 3.45, "longitude": -76.53}
    event = await platform.diary.of(PhotoCompleted)
    assert isinstance(event, PhotoCompleted)
    assert event.photo_id == UUID(photo["id"])
    assert event.taken_at == datetime(2026, 5, 31, 9, 30, tzinfo=UTC)
    assert event.location == platform.engine.location
    assert (event.width, event.height) == (3000, 4000)
    assert [version.name for version in event.versions] == ["thumbnail", "small", "medium", "large"]


async def test_a_zoneless_camera_is_in_the_configured_zone(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_TIMEZONE", "America/Bogota")
    async with start() as platform:
        platform.engine.taken_at = datetime(2026, 5, 31, 9, 30)  # noqa: DTZ001 - cameras seldom tell their zone
        assert (await platform.stored())["taken_at"] == "2026-05-31T14:30:00Z"


async def test_the_versions_follow_the_presets(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_PRESETS", '[{"name": "tiny", "width": 16, "height": 16, "fit": "cover", "quality": 50}]')
    async with start() as platform:
        photo = await platform.stored()
        assert list(photo["versions"]) == ["tiny"]
        assert photo["versions"]["tiny"]["width"] == 16
        assert (await platform.get(f"/api/photos/{photo['id']}/large")).status_code == 404


# --- the engine is down


async def test_uploads_wait_for_an_engine_that_is_down(platform: Platform) -> None:
    platform.engine.down = True
    answer = await platform.upload(PHOTO, wait=1)
    assert answer.status_code == 202
    photo = answer.json()
    assert photo["status"] in {"queued", "processing"}
    assert photo["width"] is None
    assert photo["media_type"] == "image/jpeg"
    assert platform.engine.asked.is_set()
    platform.engine.down = False
    photo = await platform.settled(photo["id"])
    assert photo["status"] == "completed"
    assert photo["attempts"] == 1


async def test_what_does_not_begin_like_a_photo_is_refused_even_then(platform: Platform) -> None:
    platform.engine.down = True
    answer = await platform.upload(b"%PDF-1.7")
    assert answer.status_code == 400
    assert answer.json()["code"] == "INVALID_IMAGE_FORMAT"
    assert await platform.objects() == set()


async def test_a_photo_that_waits_survives_a_restart(start: Start) -> None:
    async with start() as platform:
        platform.engine.down = True
        photo = (await platform.upload(PHOTO)).json()
    async with start() as platform:
        assert (await platform.settled(photo["id"]))["status"] == "completed"


async def test_a_photo_in_the_middle_of_processing_survives_a_restart(start: Start) -> None:
    async with start() as platform:
        platform.engine.gate.clear()
        photo = (await platform.upload(PHOTO)).json()
        await platform.engine.asked.wait()
        assert (await platform.get(f"/api/photos/{photo['id']}")).json()["status"] == "processing"
        platform.app.state.readiness.hurry()  # SIGTERM, and no patience
    async with start() as platform:
        photo = await platform.settled(photo["id"])
        assert photo["status"] == "completed"
        assert photo["attempts"] == 2


# --- failed


@pytest.mark.parametrize(
    ("refusal", "status"),
    [(InvalidImageFormat("The image is cut short."), 400), (ImageTooLarge("It would be too large."), 413)],
)
async def test_a_refused_image_fails_at_once(platform: Platform, refusal: Any, status: int) -> None:
    platform.engine.refusals.append(refusal)
    answer = await platform.upload(PHOTO, wait=20)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["detail"]) == (refusal.code, refusal.detail)
    photo = (await platform.get(f"/api/photos/{problem['photo']['id']}")).json()
    assert photo == problem["photo"] | {"original": photo["original"]}
    assert photo["status"] == "failed"
    assert photo["attempts"] == 1
    assert photo["error"] == {"code": refusal.code, "detail": refusal.detail}
    event = await platform.diary.of(PhotoFailed)
    assert isinstance(event, PhotoFailed)
    assert event.photo_id == UUID(photo["id"])
    assert event.failure.code == refusal.code


async def test_a_photo_that_takes_too_long_is_not_tried_again(platform: Platform) -> None:
    platform.engine.refusals += [ProcessingTimeout("too long")]
    answer = await platform.upload(PHOTO, wait=30)
    assert answer.status_code == ProcessingTimeout.status
    assert answer.json()["photo"]["attempts"] == 1
    assert answer.json()["field"] == "file"
    assert answer.json()["remedy"].startswith("scale it down")


async def test_an_engine_that_stumbles_is_asked_three_times(platform: Platform) -> None:
    refusal = ProcessingFailed
    platform.engine.refusals += [refusal("once"), refusal("twice")]
    photo = (await platform.upload(PHOTO, wait=30)).json()
    assert photo["status"] == "completed"
    assert photo["attempts"] == 3
    platform.engine.refusals += [refusal("once"), refusal("twice"), refusal("three times")]
    answer = await platform.upload(PHOTO + b"2", wait=30)
    assert answer.status_code == refusal.status
    assert answer.json()["photo"]["error"] == {"code": refusal.code, "detail": "three times"}
    assert answer.json()["photo"]["attempts"] == 3


async def test_a_failed_photo_can_be_retried(platform: Platform) -> None:
    photo = await failed_photo(platform)
    answer = await platform.ask("POST", f"/api/photos/{photo['id']}/retry")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/photos/{photo['id']}"
    assert answer.json()["status"] == "queued"
    assert answer.json()["error"] is None
    photo = await platform.settled(photo["id"])
    assert photo["status"] == "completed"
    assert photo["attempts"] == 2


async def test_a_retry_can_be_waited_for(platform: Platform) -> None:
    photo = await failed_photo(platform)
    path = f"/api/photos/{photo['id']}/retry"
    platform.engine.refusals.append(InvalidImageFormat("Still cut short."))
    answer = await platform.ask("POST", path, headers={"Prefer": "wait=20"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "Still cut short."
    answer = await platform.ask("POST", path, headers={"Prefer": "wait=20"})
    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=20"


async def test_only_a_failed_photo_can_be_retried(platform: Platform) -> None:
    photo = await platform.stored()
    answer = await platform.ask("POST", f"/api/photos/{photo['id']}/retry")
    assert answer.status_code == 409
    assert answer.json()["code"] == "NOT_RETRYABLE"
    assert answer.json()["photo_status"] == "completed"
    unknown = "01930000-0000-7000-8000-000000000000"
    assert (await platform.ask("POST", f"/api/photos/{unknown}/retry")).status_code == 404


# --- deleted


async def test_a_deleted_photo_is_gone(platform: Platform) -> None:
    photo = await platform.stored()
    path = f"/api/photos/{photo['id']}"
    for _ in range(2):
        answer = await platform.ask("DELETE", path)
        assert answer.status_code == 204
        assert answer.content == b""
    for gone in (path, f"{path}/small", f"{path}/original"):
        answer = await platform.get(gone)
        assert answer.status_code == 404
        assert answer.json()["code"] == "PHOTO_NOT_FOUND"
    assert (await platform.ask("POST", f"{path}/retry")).status_code == 404
    assert (await platform.get("/api/photos")).json()["items"] == []
    assert (await platform.get("/api/projects/UP-1/photos")).json()["items"] == []
    event = await platform.diary.of(PhotoDeleted)
    assert isinstance(event, PhotoDeleted)
    assert (event.photo_id, event.upid, event.deleted_by) == (UUID(photo["id"]), "UP-1", "ana")


async def test_what_never_was_cannot_be_deleted(platform: Platform) -> None:
    answer = await platform.ask("DELETE", "/api/photos/01930000-0000-7000-8000-000000000000")
    assert answer.status_code == 404


async def test_versions_of_a_photo_that_is_deleted_meanwhile_do_not_stay(start: Start, settings: PlatformSettings) -> None:
    async with start() as platform:
        platform.engine.gate.clear()
        photo = (await platform.upload(PHOTO)).json()
        await platform.engine.asked.wait()
        assert (await platform.ask("DELETE", f"/api/photos/{photo['id']}")).status_code == 204
        platform.engine.gate.set()
    # Stopping waited for the handler.
    assert platform.engine.rendered
    folder = settings.data_dir / "blobs" / "photos"
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")] == [f"UP-1/{photo['id']}/original.jpg"]


async def test_a_photo_that_is_deleted_while_it_waits_is_not_processed(platform: Platform) -> None:
    platform.engine.down = True
    photo = (await platform.upload(PHOTO, wait=1)).json()
    record = await platform.photos.get_photo(photo_id=UUID(photo["id"]))
    assert (await platform.ask("DELETE", f"/api/photos/{photo['id']}")).status_code == 204
    platform.engine.down = False
    task = await platform.app.state.assembly.messages["photos"].wait(record.render_task, timeout=20)
    assert task.state == "completed"
    assert platform.engine.rendered == []
