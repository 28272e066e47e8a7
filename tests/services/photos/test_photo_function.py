"""The function URL: a photo within JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from trenza.services.images.contract import InvalidImageFormat

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

PHOTO = b"\xff\xd8\xff\xe0 a wall"
ENCODED = base64.b64encode(PHOTO).decode()
BYTES = PHOTO + bytes(range(0xF0, 0x100)) + b"\xfb\xef"
TEXT = base64.b64encode(BYTES).decode()


async def call(platform: Platform, **body: Any) -> Any:
    return await platform.ask("POST", "/", json={"upid": "UP-1", "image_base64": ENCODED, **body})


async def test_it_answers_with_the_versions(platform: Platform) -> None:
    answer = await call(platform, stage="antes", location={"latitude": 3.4, "longitude": -76.5}, filename="muro.jpg")
    assert answer.status_code == 201, answer.text
    result = answer.json()
    assert result.keys() == {"photo_id", "upid", "status", "versions"}
    assert (result["upid"], result["status"]) == ("UP-1", "completed")
    assert list(result["versions"]) == ["thumbnail", "small", "medium", "large"]
    assert (await platform.http.get(result["versions"]["small"]["url"])).status_code == 200
    photo = (await platform.get(answer.headers["location"])).json()
    assert (photo["stage"], photo["filename"], photo["location"]["latitude"]) == ("antes", "muro.jpg", 3.4)
    assert (await platform.http.get(photo["original"]["url"] or "")).content == PHOTO
    again = await call(platform, image_base64=f"data:image/jpeg;base64,{ENCODED}")
    assert again.status_code == 200
    assert again.json()["photo_id"] == result["photo_id"]


async def test_it_answers_at_once_when_asked_to(platform: Platform) -> None:
    platform.engine.gate.clear()
    body = {"upid": "UP-1", "image_base64": ENCODED}
    answer = await platform.ask("POST", "/", json=body, headers={"Prefer": "wait=0"})
    assert answer.status_code == 202
    assert answer.json()["versions"] == {}
    platform.engine.gate.set()
    assert (await platform.settled(answer.json()["photo_id"]))["status"] == "completed"


async def test_a_failure_is_told_as_a_problem(platform: Platform) -> None:
    platform.engine.refusals.append(InvalidImageFormat("The image is cut short."))
    answer = await call(platform)
    assert answer.status_code == 400
    assert answer.json()["code"] == "INVALID_IMAGE_FORMAT"


async def test_a_large_body_is_sent_to_the_direct_upload(platform: Platform) -> None:
    answer = await call(platform, image_base64="A" * 4_718_592)
    assert answer.status_code == 413
    assert answer.json()["limit"] == 4_718_592
    assert "POST /api/photos/uploads" in answer.json()["remedy"]
    fits = await call(platform, image_base64="/9j/" + "A" * 4_718_000)
    assert fits.status_code == 201


@pytest.mark.parametrize(
    "written",
    [
        f"DATA:image/jpeg;BASE64,{TEXT}",
        TEXT.rstrip("="),
        TEXT.replace("+", "-").replace("/", "_"),
        "\r\n".join(TEXT[at : at + 8] for at in range(0, len(TEXT), 8)),
    ],
)
async def test_base64_is_read_as_clients_write_it(platform: Platform, written: str) -> None:
    assert {"+", "/", "="} <= set(TEXT)
    answer = await call(platform, image_base64=written)
    assert answer.status_code == 201, answer.text
    photo = (await platform.get(answer.headers["location"])).json()
    assert photo["sha256"] == hashlib.sha256(BYTES).hexdigest()


async def test_the_same_key_is_the_same_call(platform: Platform) -> None:
    answers = [
        await platform.ask("POST", "/", json={"upid": "UP-1", "image_base64": ENCODED}, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image_base64": "%%%"}, "INVALID_BASE64"),
        ({"image_base64": "abcde"}, "INVALID_BASE64"),
        ({"image_base64": ""}, "INVALID_BASE64"),
        ({"image_base64": "data:image/svg+xml,<svg/>"}, "INVALID_BASE64"),
        ({"upid": "../x"}, "INVALID_UPID"),
        ({"image_base64": None}, "INVALID_REQUEST"),
        ({"stge": "antes"}, "INVALID_REQUEST"),
        ({"stage": "later"}, "INVALID_FIELD"),
    ],
)
async def test_what_is_wrong_is_named(platform: Platform, body: dict[str, Any], code: str) -> None:
    answer = await call(platform, **body)
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    if code == "INVALID_REQUEST":
        assert answer.json()["errors"][0]["field"].endswith(next(iter(body)))


async def test_a_file_that_is_no_photo_is_named_by_its_field(platform: Platform) -> None:
    answer = await call(platform, image_base64=base64.b64encode(b"a text").decode())
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "INVALID_IMAGE_FORMAT", "image_base64")


async def test_it_is_under_maintenance_too(platform: Platform) -> None:
    await platform.ask("PUT", "/api/photos/maintenance", json={"enabled": True})
    assert (await call(platform)).status_code == 503


@pytest.mark.parametrize(
    "declared", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "", None]
)
async def test_what_is_not_declared_as_json_is_not_read(platform: Platform, declared: str | None) -> None:
    body = json.dumps({"upid": "UP-1", "image_base64": ENCODED}).encode()
    headers = {} if declared is None else {"Content-Type": declared}
    answer = await platform.ask("POST", "/", content=body, headers=headers)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (415, "JSON_EXPECTED", "Content-Type")


@pytest.mark.parametrize("declared", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.photo+json"])
async def test_json_is_known_by_every_way_to_declare_it(platform: Platform, declared: str) -> None:
    body = json.dumps({"upid": "UP-1", "image_base64": ENCODED}).encode()
    assert (await platform.ask("POST", "/", content=body, headers={"Content-Type": declared})).status_code == 201


@pytest.mark.parametrize("field", ["description", "filename", "stage"])
async def test_nul_is_refused_by_name(platform: Platform, field: str) -> None:
    for answer in (
        await call(platform, **{field: "a\0b"}),
        await platform.ask("POST", "/api/photos/uploads", json={"upid": "UP-1", "bytes": 9, field: "a\0b"}),
    ):
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert "NUL" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "place", [{"latitude": "1.5", "longitude": 2.0}, {"latitude": 1.5, "longitude": "2"}, {"latitude": True, "longitude": 2.0}]
)
async def test_a_place_is_made_of_numbers(platform: Platform, place: dict[str, Any]) -> None:
    for answer in (
        await call(platform, location=place),
        await platform.ask("POST", "/api/photos/uploads", json={"upid": "UP-1", "bytes": 9, "location": place}),
        await platform.upload(PHOTO, location=json.dumps(place)),
    ):
        assert answer.status_code == 422
        assert answer.json()["field"].startswith("location")
    assert (await call(platform, location={"latitude": 1, "longitude": 2.5})).status_code == 201
