"""Uploads over HTTP: one file and several, waits, duplicates, refusals and idempotency keys."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from trenza.services.photos.contract import PhotoUploaded

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

PHOTO = b"\xff\xd8\xff\xe0 a wall"
MEMBERS = {
    *("id", "upid", "status", "stage", "filename", "media_type", "bytes", "width", "height", "sha256", "taken_at", "location"),
    "centro_gestor",
    *("description", "uploaded_by", "created_at", "completed_at", "attempts", "error", "original", "versions"),
}
PROBLEM = "application/problem+json"


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert {"type", "title", "detail", "instance", "correlation_id"} <= problem.keys()
    return problem


@pytest.mark.parametrize("wait", [-5, 1.5])
async def test_a_wait_that_is_no_number_of_seconds_is_passed_over_and_not_confirmed(platform: Platform, wait: Any) -> None:
    platform.engine.gate.clear()
    answer = await platform.upload(PHOTO, wait=wait)
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_an_upload_is_answered_before_it_is_processed(platform: Platform) -> None:
    platform.engine.gate.clear()
    answer = await platform.upload(PHOTO, stage="antes", description=" muro norte ")
    assert answer.status_code == 202
    photo = answer.json()
    assert photo.keys() == MEMBERS
    assert answer.headers["location"] == f"/api/photos/{photo['id']}"
    assert "preference-applied" not in answer.headers
    assert photo["status"] == "queued"
    assert photo["upid"] == "UP-1"
    assert photo["stage"] == "antes"
    assert photo["description"] == "muro norte"
    assert photo["filename"] == "photo-0.jpg"
    assert photo["media_type"] == "image/jpeg"
    assert (photo["width"], photo["height"]) == (4000, 3000)
    assert photo["bytes"] == len(PHOTO)
    assert photo["sha256"] == hashlib.sha256(PHOTO).hexdigest()
    assert photo["uploaded_by"] == "ana"
    assert photo["attempts"] == 0
    assert photo["versions"] == {}
    assert photo["completed_at"] is photo["error"] is photo["taken_at"] is photo["location"] is None
    platform.engine.gate.set()
    assert (await platform.settled(photo["id"]))["status"] == "completed"


async def test_a_waiting_upload_is_answered_with_the_versions(platform: Platform) -> None:
    answer = await platform.upload(PHOTO, wait=20)
    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=20"
    photo = answer.json()
    assert photo["status"] == "completed"
    assert photo["attempts"] == 1
    assert (photo["width"], photo["height"]) == (3000, 4000)
    assert photo["completed_at"] >= photo["created_at"]
    assert list(photo["versions"]) == ["thumbnail", "small", "medium", "large"]
    assert photo["versions"]["medium"].keys() == {"url", "width", "height", "bytes", "media_type"}
    for name, version in photo["versions"].items():
        linked = await platform.http.get(version["url"])  # no token: the link is signed
        assert linked.status_code == 200
        assert linked.text.startswith(f"{name} of photos/UP-1/{photo['id']}/original.jpg")
    assert (await platform.http.get(photo["original"]["url"])).content == PHOTO


async def test_a_wait_that_ends_too_early_answers_202(platform: Platform) -> None:
    platform.engine.gate.clear()
    answer = await platform.upload(PHOTO, wait=1)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert answer.json()["status"] in {"queued", "processing"}
    platform.engine.gate.set()
    assert (await platform.settled(answer.json()["id"]))["status"] == "completed"


async def test_objects_lie_where_the_specification_says(platform: Platform) -> None:
    photo = await platform.stored(upid="UNP-1978")
    folder = f"photos/UNP-1978/{photo['id']}"
    names = {"original.jpg", "thumbnail.jpg", "small.jpg", "medium.jpg", "large.jpg"}
    assert await platform.objects() == {f"{folder}/{name}" for name in names}


async def test_others_are_told_of_an_upload(platform: Platform) -> None:
    photo = await platform.stored(stage="durante")
    event = await platform.diary.of(PhotoUploaded)
    assert isinstance(event, PhotoUploaded)
    assert event.photo_id == UUID(photo["id"])
    assert (event.upid, event.stage, event.sha256, event.uploaded_by) == ("UP-1", "durante", photo["sha256"], "ana")


# --- several files


async def test_several_files_get_one_result_each_in_their_order(platform: Platform) -> None:
    answer = await platform.upload(PHOTO, b"hello", PHOTO + b"2", PHOTO, wait=20)
    assert answer.status_code == 207
    assert answer.headers["preference-applied"] == "wait=20"
    results = answer.json()["results"]
    assert [result["filename"] for result in results] == ["photo-0.jpg", "photo-1.jpg", "photo-2.jpg", "photo-3.jpg"]
    assert [result["status"] for result in (results[1], results[2])] == [400, 201]
    # The first and the last are the same bytes: whichever was faster made the photo.
    assert {results[0]["status"], results[3]["status"]} == {200, 201}
    assert results[0]["photo"]["id"] == results[3]["photo"]["id"]
    assert results[1].keys() == {"filename", "status", "problem"}
    assert results[1]["problem"]["code"] == "INVALID_IMAGE_FORMAT"
    assert results[2].keys() == {"filename", "status", "photo"}
    assert results[2]["photo"]["status"] == "completed"
    assert results[2]["photo"].keys() == MEMBERS
    assert len((await platform.get("/api/photos")).json()["items"]) == 2


async def test_a_file_over_the_limit_does_not_spoil_the_others(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_MAX_FILE_BYTES", "100")
    async with start() as limited:
        results = (await limited.upload(PHOTO + bytes(200), PHOTO, wait=20)).json()["results"]
        assert [result["status"] for result in results] == [413, 201]
        assert results[0]["problem"]["code"] == "FILE_TOO_LARGE"
        assert results[0]["problem"]["limit"] == 100
        problem_of(await limited.upload(PHOTO + bytes(300)), 413, "FILE_TOO_LARGE")


async def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_MAX_FILES", "2")
    async with start() as limited:
        problem = problem_of(await limited.upload(PHOTO, PHOTO, PHOTO), 413, "TOO_MANY_FILES")
        assert problem["limit"] == 2
        assert await limited.objects() == set()


# --- refusals


BAD_FIELDS = (
    ({"upid": ""}, "INVALID_UPID"),
    ({"upid": "../../etc"}, "INVALID_UPID"),
    ({"upid": "x" * 65}, "INVALID_UPID"),
    ({"stage": "later"}, "INVALID_FIELD"),
    ({"description": "x" * 2001}, "INVALID_FIELD"),
    ({"taken_at": "yesterday"}, "INVALID_FIELD"),
    ({"location": "91,0"}, "INVALID_FIELD"),
    ({"location": "here"}, "INVALID_FIELD"),
    ({"callback_url": "ftp://example.org/hook"}, "INVALID_FIELD"),
    ({"stge": "antes"}, "INVALID_FIELD"),
)


async def test_a_bad_field_is_named_with_its_limit_and_remedy(platform: Platform) -> None:
    for fields, code in BAD_FIELDS:
        answer = await platform.ask(
            "POST", "/api/photos/upload", files={"file": ("a.jpg", PHOTO)}, data={"upid": "UP-1", **fields}
        )
        problem = problem_of(answer, 422, code)
        assert problem["field"] == next(iter(fields))
        assert problem["limit"]
        assert problem["remedy"]
        spanish = await platform.ask(
            "POST",
            "/api/photos/upload",
            files={"file": ("a.jpg", PHOTO)},
            data={"upid": "UP-1", **fields},
            headers={"Accept-Language": "es"},
        )
        assert spanish.json()["field"] == problem["field"]
        assert spanish.json()["detail"] != problem["detail"]
        assert spanish.json()["remedy"] != problem["remedy"]
    assert await platform.objects() == set()


async def test_a_refusal_is_told_in_spanish_to_those_who_prefer_it(platform: Platform) -> None:
    files = {"file": ("a.jpg", PHOTO)}
    headers = {"Accept-Language": "es-CO"}
    answer = await platform.ask("POST", "/api/photos/upload", files=files, data={"upid": "UP-1", "stage": "x"}, headers=headers)
    problem = problem_of(answer, 422, "INVALID_FIELD")
    assert problem["title"] == "Campo no válido"
    assert "stage" in problem["detail"]


async def test_a_file_without_a_file_name_is_told_what_to_say(platform: Platform) -> None:
    form = {"upid": (None, "UP-1"), "file": (None, "what is in the file")}
    problem = (await platform.ask("POST", "/api/photos/upload", files=form)).json()
    assert (problem["code"], problem["field"], problem["limit"]) == ("INVALID_FIELD", "file", 'filename="…"')
    assert 'filename="…"' in problem["remedy"]
    spanish = (await platform.ask("POST", "/api/photos/upload", files=form, headers={"Accept-Language": "es"})).json()
    assert 'indique filename="…"' in spanish["remedy"]


async def test_a_form_without_a_file_is_refused(platform: Platform) -> None:
    answer = await platform.ask("POST", "/api/photos/upload", files={"upid": (None, "UP-1")})
    assert problem_of(answer, 422, "FILE_MISSING")["field"] == "file"
    answer = await platform.ask("POST", "/api/photos/upload", files={"photo": ("a.jpg", PHOTO)}, data={"upid": "UP-1"})
    assert problem_of(answer, 422, "INVALID_FIELD")["field"] == "photo"
    answer = await platform.ask("POST", "/api/photos/upload", json={"upid": "UP-1"})
    assert answer.status_code == 415


@pytest.mark.parametrize("content", [b"hello", b"", b"%PDF-1.7 not a photo"])
async def test_what_is_no_image_is_refused_and_not_kept(platform: Platform, content: bytes) -> None:
    problem = problem_of(await platform.upload(content), 400, "INVALID_IMAGE_FORMAT")
    assert problem["field"] == "file"
    assert await platform.objects() == set()
    assert (await platform.get("/api/photos")).json()["items"] == []


async def test_what_the_uploader_says_wins_over_the_camera(platform: Platform) -> None:
    answer = await platform.upload(
        PHOTO, wait=20, taken_at="2026-05-31T10:00:00-05:00", location='{"latitude": 3.45, "longitude": -76.53}'
    )
    photo = answer.json()
    assert photo["taken_at"] == "2026-05-31T15:00:00Z"
    assert photo["location"] == {"latitude": 3.45, "longitude": -76.53}


async def test_file_names_are_kept_without_their_paths(platform: Platform) -> None:
    files = {"file": (r"C:\fotos\Año 1.jpg", PHOTO)}
    answer = await platform.ask("POST", "/api/photos/upload", files=files, data={"upid": "UP-1"})
    assert answer.json()["filename"] == "Año 1.jpg"
