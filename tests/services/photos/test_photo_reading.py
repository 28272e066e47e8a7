"""Reading over HTTP: records, lists with filters and cursors, galleries, versions with ETag and Range."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from trenza.services.images.contract import InvalidImageFormat

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

UNKNOWN = "01930000-0000-7000-8000-000000000000"
PHOTO = b"\xff\xd8\xff\xe0 a wall"


async def ids(platform: Platform, path: str, **parameters: str) -> list[str]:
    answer = await platform.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return [photo["id"] for photo in answer.json()["items"]]


@pytest.fixture
async def three(platform: Platform) -> list[str]:
    """Three photos, the oldest first: two of UP-1, one of UP-2; the last one has failed."""
    first = await platform.stored(b"1", stage="antes")
    second = await platform.stored(b"2", upid="UP-2", stage="despues")
    platform.engine.refusals.append(InvalidImageFormat("cut short"))
    third = (await platform.upload(PHOTO, stage="antes", wait=20)).json()["photo"]
    return [first["id"], second["id"], third["id"]]


async def test_a_photo_is_found_by_its_id(platform: Platform) -> None:
    photo = await platform.stored(description="muro", stage="durante")
    answer = await platform.get(f"/api/photos/{photo['id']}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-store"
    found = answer.json()
    assert found | {"original": 0, "versions": 0} == photo | {"original": 0, "versions": 0}
    assert found["versions"].keys() == photo["versions"].keys()


@pytest.mark.parametrize(("photo_id", "status"), [(UNKNOWN, 404), ("7", 404), ("..%2F..%2Fsecret", 404)])
async def test_what_is_no_photo_is_not_found(platform: Platform, photo_id: str, status: int) -> None:
    answer = await platform.get(f"/api/photos/{photo_id}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


# --- lists


@pytest.mark.parametrize(
    ("query", "field"),
    [("stagge=antes", "stagge"), ("stage=antes&stage=durante", "stage"), ("from=2026-02-01&to=2026-01-01", "from")],
)
@pytest.mark.parametrize("path", ["/api/photos", "/api/projects/UP-1/photos"])
async def test_a_query_that_cannot_be_meant_is_refused(platform: Platform, path: str, query: str, field: str) -> None:
    answer = await platform.get(f"{path}?{query}")
    assert answer.status_code == 422
    document = answer.json()
    assert field in (document.get("field"), *(error["field"] for error in document.get("errors", ())))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/api/photos/{UNKNOWN}"),
        ("GET", "/api/photos/{photo}/huge"),
        ("GET", "/api/projects/UP-1/photos.zip?version=huge"),
        ("GET", "/api/photos?limit=0"),
        ("GET", "/api/photos?cursor=x"),
        ("GET", "/api/projects/a.b/photos"),
        ("POST", "/api/photos/{photo}/retry"),
        ("POST", f"/api/photos/uploads/{UNKNOWN}/complete"),
        ("PUT", "/api/photos/upload"),
    ],
)
async def test_every_refusal_has_its_remedy_in_both_languages(platform: Platform, method: str, path: str) -> None:
    photo = await platform.stored()
    told = [
        (await platform.ask(method, path.format(photo=photo["id"]), headers={"Accept-Language": language})).json()
        for language in ("en", "es")
    ]
    assert all(problem["remedy"] and problem["detail"] for problem in told)
    assert told[0]["remedy"] != told[1]["remedy"]
    assert told[0]["detail"] != told[1]["detail"]


async def test_the_path_of_uploads_takes_no_get(platform: Platform) -> None:
    answer = await platform.get("/api/photos/upload")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    one = await platform.ask("PATCH", f"/api/photos/{UNKNOWN}")
    assert (one.status_code, one.headers["allow"]) == (405, "DELETE, GET")


async def test_a_version_is_given_only_while_it_is_the_one_insisted_on(platform: Platform) -> None:
    path = f"/api/photos/{(await platform.stored())['id']}/small"
    tag = (await platform.get(path)).headers["etag"]
    assert (await platform.get(path, headers={"If-Match": tag})).status_code == 200
    other = await platform.get(path, headers={"If-Match": '"another"'})
    assert (other.status_code, other.json()["code"], other.headers["etag"]) == (412, "PRECONDITION_FAILED", tag)
    assert (await platform.get(path, headers={"Range": "bytes=0-" + "9" * 24})).status_code == 206


async def test_lists_are_filtered_and_newest_first(platform: Platform, three: list[str]) -> None:
    first, second, third = three
    assert await ids(platform, "/api/photos") == [third, second, first]
    assert await ids(platform, "/api/photos", upid="UP-1") == [third, first]
    assert await ids(platform, "/api/photos", stage="antes", status="completed") == [first]
    assert await ids(platform, "/api/photos", status="failed") == [third]
    assert await ids(platform, "/api/photos", status="queued") == []
    assert await ids(platform, "/api/photos", upid="UP-3") == []
    assert await ids(platform, "/api/projects/UP-1/photos") == [third, first]
    assert await ids(platform, "/api/projects/UP-1/photos", status="completed") == [first]
    assert await ids(platform, "/api/projects/UP-3/photos") == []


async def test_lists_are_bounded_by_the_time_of_the_upload(platform: Platform, three: list[str]) -> None:
    _, second, third = three
    moment = (await platform.get(f"/api/photos/{second}")).json()["created_at"]
    assert await ids(platform, "/api/photos", **{"from": moment}) == [third, second]
    assert await ids(platform, "/api/photos", to=moment) == [three[0]]
    today, day = datetime.now(UTC).date(), timedelta(days=1)
    assert len(await ids(platform, "/api/photos", **{"from": str(today - day), "to": str(today + day)})) == 3
    assert await ids(platform, "/api/photos", to=str(today - 2 * day)) == []


async def test_pages_follow_each_other_without_gap_or_repetition(platform: Platform) -> None:
    stored = [(await platform.upload(PHOTO + bytes([n]))).json()["id"] for n in range(5)]
    seen: list[str] = []
    path = "/api/photos?limit=2&upid=UP-1"
    for expected in (2, 2, 1):
        answer = await platform.get(path)
        page = answer.json()
        assert len(page["items"]) == expected
        seen += [photo["id"] for photo in page["items"]]
        if expected == 2:
            path = f"/api/photos?limit=2&upid=UP-1&cursor={page['next_cursor']}"
            assert answer.headers["link"] == f'<{path}>; rel="next"'
            # What arrives meanwhile is newer than the cursor: it shifts nothing.
            await platform.upload(PHOTO + bytes([100 + len(seen)]))
    assert page["next_cursor"] is None
    assert seen == stored[::-1]


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


BAD_FILTERS = (
    {"stage": "later"},
    {"status": "deleted"},
    {"limit": "0"},
    {"limit": "201"},
    {"limit": "many"},
    {"from": "yesterday"},
    {"to": "31/05/2026"},
    {"cursor": "forged"},
    {"cursor": cursor_of(f'["2026-01-01T00:00:00","{UNKNOWN}"]')},
    {"cursor": cursor_of(f'["0001-01-01T00:00:00+14:00","{UNKNOWN}"]')},
)


async def test_a_bad_filter_is_named(platform: Platform) -> None:
    asked = [(path, bad, next(iter(bad))) for path in ("/api/photos", "/api/projects/UP-1/photos") for bad in BAD_FILTERS]
    asked += [("/api/photos", {"upid": "../x"}, "upid"), ("/api/projects/a%20b/photos", {}, "upid")]
    for path, parameters, field in asked:
        answer = await platform.get(path, params=parameters)
        assert answer.status_code == 422, (path, parameters, answer.text)
        problem = answer.json()
        named = [problem["field"]] if "field" in problem else [error["field"] for error in problem["errors"]]
        assert named == [field]


# --- versions


async def test_a_version_is_streamed_with_validators_and_ranges(platform: Platform) -> None:
    photo = await platform.stored()
    path = f"/api/photos/{photo['id']}/small"
    whole = await platform.get(path)
    assert whole.status_code == 200
    assert whole.text == f"small of photos/UP-1/{photo['id']}/original.jpg"
    assert whole.headers["content-type"] == "image/jpeg"
    assert whole.headers["cache-control"] == "private, max-age=3600"
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == photo["versions"]["small"]["bytes"]
    etag = whole.headers["etag"]
    part = await platform.get(path, headers={"Range": "bytes=0-4"})
    assert (part.status_code, part.text) == (206, "small")
    assert part.headers["content-range"].startswith("bytes 0-4/")
    unchanged = await platform.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    head = await platform.ask("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == etag
    assert (await platform.get(path, headers={"Range": "bytes=9999-"})).status_code == 416


async def test_the_original_is_untouched(platform: Platform) -> None:
    photo = await platform.stored(b"with all its metadata")
    answer = await platform.get(f"/api/photos/{photo['id']}/original")
    assert answer.status_code == 200
    assert answer.content.endswith(b"with all its metadata")
    assert "photo-0.jpg" in answer.headers["content-disposition"]


async def test_an_unknown_version_is_not_found(platform: Platform) -> None:
    photo = await platform.stored()
    for version in ("huge", "..%2Foriginal", "%2e%2e", "small.jpg", "../../../secret"):
        answer = await platform.get(f"/api/photos/{photo['id']}/{version}")
        assert answer.status_code == 404, version
    assert (await platform.get(f"/api/photos/{UNKNOWN}/small")).status_code == 404


async def test_a_version_that_is_being_made_is_a_conflict_that_will_pass(platform: Platform) -> None:
    platform.engine.gate.clear()
    photo: dict[str, Any] = (await platform.upload(PHOTO)).json()
    answer = await platform.get(f"/api/photos/{photo['id']}/small")
    assert answer.status_code == 409
    assert answer.json()["code"] == "VERSION_NOT_READY"
    assert int(answer.headers["retry-after"]) >= 1
    assert (await platform.get(f"/api/photos/{photo['id']}/huge")).status_code == 404
    assert (await platform.get(f"/api/photos/{photo['id']}/original")).content == PHOTO
    platform.engine.gate.set()
    await platform.settled(photo["id"])
    assert (await platform.get(f"/api/photos/{photo['id']}/small")).status_code == 200


async def test_a_version_of_a_failed_photo_is_a_conflict_that_stays(platform: Platform, three: list[str]) -> None:
    answer = await platform.get(f"/api/photos/{three[2]}/small")
    assert answer.status_code == 409
    assert answer.json()["photo_status"] == "failed"
    assert "retry-after" not in answer.headers


async def test_many_readers_see_whole_versions(platform: Platform) -> None:
    photo = await platform.stored()
    answers = await asyncio.gather(*(platform.get(f"/api/photos/{photo['id']}/large") for _ in range(30)))
    assert {answer.text for answer in answers} == {f"large of photos/UP-1/{photo['id']}/original.jpg"}


# --- what is told about it all


async def test_what_happened_is_counted(platform: Platform, three: list[str]) -> None:
    assert three
    metrics = (await platform.get("/metrics", scopes=("platform:viewer",))).text
    for name in ("photos_uploaded_total", "photos_completed_total", "photos_failed_total", "photo_processing_seconds_count"):
        value = next(line for line in metrics.splitlines() if line.startswith(f"{name} "))
        assert float(value.split()[1]) >= 1


async def test_every_route_is_documented(platform: Platform) -> None:
    document = (await platform.get("/openapi.json")).json()
    ours = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path == "/" or path.startswith(("/api/photos", "/api/projects"))
    }
    assert ours.keys() == {
        ("POST", "/api/photos/upload"),
        ("GET", "/api/photos"),
        ("GET", "/api/photos/{photo_id}"),
        ("DELETE", "/api/photos/{photo_id}"),
        ("POST", "/api/photos/{photo_id}/retry"),
        ("GET", "/api/photos/{photo_id}/{version}"),
        ("GET", "/api/projects/{upid}/photos"),
        ("GET", "/api/projects/{upid}/photos.zip"),
        ("GET", "/api/photos/{photo_id}/events"),
        ("GET", "/api/photos/maintenance"),
        ("PUT", "/api/photos/maintenance"),
        ("POST", "/api/photos/reprocess"),
        ("POST", "/api/photos/uploads"),
        ("POST", "/api/photos/uploads/{upload_id}/complete"),
        ("POST", "/"),
    }
    for operation in ours.values():
        assert operation["tags"] == ["photos"]
        assert operation["summary"]
        assert operation["description"]
        assert "application/problem+json" in operation["responses"]["401"]["content"]
    form = ours["POST", "/api/photos/upload"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "upid"]
