"""Roles that are held for an organisation unit alone: what they see, and where they upload."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

PHOTO = b"\xff\xd8\xff\xe0 a wall"
NORTH = ("photos:manager@NORTE",)


async def test_others_photos_are_not_there(platform: Platform) -> None:
    ours = await platform.stored(b"1", centro_gestor="NORTE")
    theirs = await platform.stored(b"2", centro_gestor="SUR")
    nobodys = await platform.stored(b"3")
    assert (ours["centro_gestor"], nobodys["centro_gestor"]) == ("NORTE", None)
    for photo in (theirs, nobodys):
        path = f"/api/photos/{photo['id']}"
        for method, route in (("GET", path), ("GET", f"{path}/small"), ("GET", f"{path}/original"), ("GET", f"{path}/events")):
            answer = await platform.ask(method, route, scopes=NORTH)
            assert (answer.status_code, answer.json()["code"]) == (404, "PHOTO_NOT_FOUND"), route
        for method, route in (("POST", f"{path}/retry"), ("DELETE", path)):
            assert (await platform.ask(method, route, scopes=NORTH)).status_code == 404
        assert (await platform.get(path)).status_code == 200
    path = f"/api/photos/{ours['id']}"
    for route in (path, f"{path}/small", f"{path}/original", f"{path}/events"):
        assert (await platform.get(route, scopes=NORTH)).status_code == 200
    for _ in range(2):  # deleting again changes nothing, for them as for those who may delete everything
        assert (await platform.ask("DELETE", path, scopes=NORTH)).status_code == 204
    assert (await platform.ask("DELETE", path, scopes=("photos:manager@SUR",))).status_code == 404


async def test_lists_and_archives_hold_ones_own(platform: Platform) -> None:
    ours = await platform.stored(b"1", centro_gestor="NORTE")
    theirs = await platform.stored(b"2", centro_gestor="SUR")
    await platform.stored(b"3")
    for path in ("/api/photos", "/api/projects/UP-1/photos"):
        seen = (await platform.get(path, scopes=NORTH)).json()["items"]
        assert [photo["id"] for photo in seen] == [ours["id"]]
        assert (await platform.get(f"{path}?centro_gestor=SUR", scopes=NORTH)).json()["items"] == []
        assert [photo["id"] for photo in (await platform.get(f"{path}?centro_gestor=SUR")).json()["items"]] == [theirs["id"]]
        assert len((await platform.get(path, scopes=("photos:viewer@NORTE", "photos:viewer@SUR"))).json()["items"]) == 2
    archive = await platform.get("/api/projects/UP-1/photos.zip", scopes=NORTH)
    assert len(zipfile.ZipFile(io.BytesIO(archive.content)).namelist()) == 1


async def test_uploads_are_for_ones_own_unit(platform: Platform) -> None:
    async def upload(content: bytes, scopes: tuple[str, ...], **fields: str) -> tuple[int, str | None]:
        answer = await platform.ask(
            "POST", "/api/photos/upload", scopes=scopes, files={"file": ("a.jpg", content)}, data={"upid": "UP-1", **fields}
        )
        return answer.status_code, answer.json().get("centro_gestor") or answer.json().get("code")

    assert await upload(PHOTO, ("photos:editor@NORTE",)) == (202, "NORTE")
    assert await upload(PHOTO + b"2", ("photos:editor@NORTE",), centro_gestor="NORTE") == (202, "NORTE")
    assert await upload(PHOTO + b"3", ("photos:editor@NORTE",), centro_gestor="SUR") == (403, "UNIT_FORBIDDEN")
    both = ("photos:editor@NORTE", "photos:editor@SUR")
    assert await upload(PHOTO + b"4", both) == (422, "INVALID_FIELD")
    assert await upload(PHOTO + b"5", both, centro_gestor="SUR") == (202, "SUR")
    assert await upload(PHOTO + b"6", ("photos:admin",), centro_gestor="no spaces") == (422, "INVALID_FIELD")
    # The same bytes are another photo to those who must not know of the first.
    assert await upload(PHOTO, ("photos:editor@SUR",)) == (202, "SUR")
    assert await upload(PHOTO, ("photos:editor@NORTE",)) == (200, "NORTE")


async def test_what_one_unit_was_answered_is_not_answered_to_another(platform: Platform) -> None:
    north, south = ("photos:editor@NORTE",), ("photos:editor@SUR",)  # of one and the same subject
    key = {"Idempotency-Key": "k-1"}

    async def upload(scopes: tuple[str, ...]) -> dict[str, str]:
        files, data = {"file": ("a.jpg", PHOTO)}, {"upid": "UP-1"}
        answer = await platform.ask("POST", "/api/photos/upload", scopes=scopes, files=files, data=data, headers=key)
        assert answer.status_code == 202
        body: dict[str, str] = answer.json()
        return body

    ours, theirs = await upload(north), await upload(south)
    assert (ours["centro_gestor"], theirs["centro_gestor"]) == ("NORTE", "SUR")
    assert (await upload(north))["id"] == ours["id"]

    order = {"upid": "UP-1", "bytes": len(PHOTO) + 1}
    made = (await platform.ask("POST", "/api/photos/uploads", json=order, scopes=north)).json()
    await platform.http.put(made["url"], content=PHOTO + b"1")
    complete = f"/api/photos/uploads/{made['id']}/complete"
    for status in (404, 404):
        refused = await platform.ask("POST", complete, scopes=south)
        assert (refused.status_code, refused.json()["code"]) == (status, "UPLOAD_NOT_FOUND")
    assert (await platform.ask("POST", complete, scopes=north)).status_code == 202
    assert (await platform.ask("POST", complete, scopes=south)).status_code == 404


async def test_so_are_the_other_ways_to_upload(platform: Platform) -> None:
    scopes = ("photos:editor@NORTE",)
    order = {"upid": "UP-1", "bytes": len(PHOTO)}
    assert (
        await platform.ask("POST", "/api/photos/uploads", json=order | {"centro_gestor": "SUR"}, scopes=scopes)
    ).status_code == 403
    upload = (await platform.ask("POST", "/api/photos/uploads", json=order, scopes=scopes)).json()
    await platform.http.put(upload["url"], content=PHOTO)
    done = await platform.ask("POST", f"/api/photos/uploads/{upload['id']}/complete", scopes=scopes)
    assert done.json()["centro_gestor"] == "NORTE"
    body = {"upid": "UP-1", "image_base64": base64.b64encode(PHOTO + b"2").decode()}
    assert (await platform.ask("POST", "/", json=body | {"centro_gestor": "SUR"}, scopes=scopes)).status_code == 403
    made = (await platform.ask("POST", "/", json=body, scopes=scopes)).json()
    assert (await platform.get(f"/api/photos/{made['photo_id']}")).json()["centro_gestor"] == "NORTE"


async def test_a_viewer_of_all_may_be_an_editor_of_one(platform: Platform) -> None:
    ours = await platform.stored(b"1", centro_gestor="NORTE")
    theirs = await platform.stored(b"2", centro_gestor="SUR")
    scopes = ("photos:viewer", "photos:editor@NORTE")
    for photo, given in ((ours, True), (theirs, False)):
        answer = await platform.get(f"/api/photos/{photo['id']}", scopes=scopes)
        assert (answer.json()["original"]["url"] is not None) is given
        status = (await platform.get(f"/api/photos/{photo['id']}/original", scopes=scopes)).status_code
        assert status == (200 if given else 403)
    archive = await platform.get("/api/projects/UP-1/photos.zip?version=original", scopes=scopes)
    assert len(zipfile.ZipFile(io.BytesIO(archive.content)).namelist()) == 1


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/photos/reprocess"), ("PUT", "/api/photos/maintenance")])
async def test_what_concerns_all_is_not_for_one_unit(platform: Platform, method: str, path: str) -> None:
    scopes = ("photos:admin@NORTE",)
    assert (await platform.ask(method, path, scopes=scopes, json={"enabled": True})).status_code == 403


@pytest.mark.parametrize("scope", ["photos:viewer@", "photos:boss@NORTE", "photos@NORTE", "photos:viewer@a@b", "@NORTE"])
async def test_a_malformed_restriction_permits_nothing(platform: Platform, scope: str) -> None:
    assert (await platform.get("/api/photos", scopes=(scope,))).status_code == 403
