"""Who may do what: every route without a token, with too little, and with just enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trenza.services.images.contract import InvalidImageFormat

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

PHOTO = b"\xff\xd8\xff\xe0 a wall"
LADDER = ("public", "viewer", "editor", "manager", "admin")
NEEDED = {
    ("GET", "/api/photos/{id}/small"): ("public", 200),
    ("HEAD", "/api/photos/{id}/small"): ("public", 200),
    ("GET", "/api/photos"): ("viewer", 200),
    ("GET", "/api/photos/{id}"): ("viewer", 200),
    ("GET", "/api/photos/{id}/events"): ("viewer", 200),
    ("GET", "/api/projects/UP-1/photos"): ("viewer", 200),
    ("GET", "/api/projects/UP-1/photos.zip"): ("viewer", 200),
    ("GET", "/api/projects/UP-1/photos.zip?version=original"): ("editor", 200),
    ("GET", "/api/photos/{id}/original"): ("editor", 200),
    ("HEAD", "/api/photos/{id}/original"): ("editor", 200),
    ("POST", "/api/photos/upload"): ("editor", 415),  # past the door, and refused for having no form
    ("POST", "/api/photos/{id}/retry"): ("manager", 409),
    ("DELETE", "/api/photos/{id}"): ("manager", 204),
    ("GET", "/api/photos/maintenance"): ("viewer", 200),
    ("POST", "/"): ("editor", 415),  # past the door, and refused for being no JSON
    ("POST", "/api/photos/uploads"): ("editor", 422),
    ("POST", "/api/photos/uploads/01930000-0000-7000-8000-000000000000/complete"): ("editor", 404),
    ("POST", "/api/photos/reprocess"): ("manager", 422),
    ("PUT", "/api/photos/maintenance"): ("admin", 422),  # past the door, and refused for saying nothing
}


@pytest.mark.parametrize(("method", "template"), NEEDED)
async def test_a_route_opens_from_its_role_upwards(platform: Platform, method: str, template: str) -> None:
    photo = await platform.stored()
    path = template.replace("{id}", photo["id"])
    needed, status = NEEDED[method, template]

    nobody = await platform.http.request(method, path)
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    forged = await platform.http.request(method, path, headers={"Authorization": "Bearer not.a.token"})
    assert forged.status_code == 401
    for scopes in [(f"photos:{role}",) for role in LADDER[: LADDER.index(needed)]] + [
        ("images:admin", "platform:admin"),
        ("photos",),
    ]:
        refused = await platform.ask(method, path, scopes=scopes)
        assert refused.status_code == 403, scopes
    allowed = await platform.ask(method, path, scopes=(f"photos:{needed}",))
    assert allowed.status_code == status
    if method != "DELETE":
        assert (await platform.ask(method, path, scopes=("photos:admin",))).status_code == status


async def test_links_to_originals_are_for_editors(platform: Platform) -> None:
    photo = await platform.stored()
    for path in (f"/api/photos/{photo['id']}", "/api/photos", "/api/projects/UP-1/photos"):
        for role, given in (("viewer", False), ("editor", True)):
            answer = (await platform.get(path, scopes=(f"photos:{role}",))).json()
            [found] = answer.get("items", [answer])
            assert (found["original"]["url"] is not None) is given
            assert found["versions"]["small"]["url"]


async def test_a_link_opens_its_object_and_no_other(platform: Platform) -> None:
    photo = await platform.stored()
    link = photo["versions"]["small"]["url"]
    assert (await platform.http.get(link)).status_code == 200
    assert (await platform.http.get(link.replace("/small.jpg", "/original.jpg"))).status_code in {401, 403}
    assert (await platform.http.get(link.split("?")[0])).status_code in {401, 403}
    assert (await platform.http.get(link.replace("expires=", "expires=9"))).status_code in {401, 403}


async def test_refusals_tell_nothing_of_the_inside(platform: Platform) -> None:
    platform.engine.refusals.append(InvalidImageFormat("The image is cut short."))
    answers = [
        await platform.upload(PHOTO, wait=20),
        await platform.upload(b"text"),
        await platform.get("/api/photos/01930000-0000-7000-8000-000000000000"),
        await platform.get("/api/photos?cursor=x"),
    ]
    for answer in answers:
        assert answer.status_code >= 400
        for secret in (str(platform.settings.data_dir), "Traceback", "sqlite", "asyncpg", "SELECT"):
            assert secret not in answer.text.replace(answer.json().get("photo", {}).get("original", {}).get("url") or "-", "")
