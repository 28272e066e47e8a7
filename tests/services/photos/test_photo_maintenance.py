"""The maintenance mode: uploads are turned away everywhere, reading goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

PATH = "/api/photos/maintenance"
PHOTO = b"\xff\xd8\xff\xe0 a wall"


async def test_uploads_are_turned_away_and_reading_goes_on(platform: Platform) -> None:
    photo = await platform.stored()
    assert (await platform.get(PATH)).json() == {
        "enabled": False,
        "retry_after_seconds": 300,
        "message": None,
        "changed_at": None,
        "changed_by": None,
    }
    switched = await platform.ask("PUT", PATH, json={"enabled": True, "retry_after_seconds": 90, "message": " Volvemos a las 6 "})
    assert switched.status_code == 200
    assert (await platform.get(PATH)).json() == switched.json()
    assert switched.json()["changed_by"] == "ana"

    refused = await platform.upload(PHOTO)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "90"
    problem = refused.json()
    assert problem["title"] == "Servicio en mantenimiento"
    assert problem["code"] == "UNDER_MAINTENANCE"
    assert problem["message"] == "Volvemos a las 6"
    spanish = await platform.ask("POST", "/api/photos/upload", headers={"Accept-Language": "es"})
    assert spanish.json()["detail"].endswith("Vuelva a intentarlo en 90 s.")

    for path in (f"/api/photos/{photo['id']}", "/api/photos", f"/api/photos/{photo['id']}/small"):
        assert (await platform.get(path)).status_code == 200
    await platform.ask("PUT", PATH, json={"enabled": False})
    assert (await platform.upload(PHOTO, wait=20)).status_code == 201


async def test_it_outlives_the_process(start: Start) -> None:
    async with start() as platform:
        assert (await platform.ask("PUT", PATH, json={"enabled": True})).json()["message"] is None
    async with start() as platform:
        refused = await platform.upload(PHOTO)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "300"
        assert "message" not in refused.json()


@pytest.mark.parametrize(
    "order",
    [{}, {"enabled": True, "retry_after_seconds": 0}, {"enabled": True, "message": ""}, {"enabled": True, "mesage": "x"}],
)
async def test_a_wrong_order_changes_nothing(platform: Platform, order: dict[str, Any]) -> None:
    refused = await platform.ask("PUT", PATH, json=order)
    assert refused.status_code == 422
    assert refused.json()["errors"]
    assert (await platform.get(PATH)).json()["enabled"] is False
