"""What the JSON of a request may hold, on all routes of photos alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

UPLOADS = "/api/photos/uploads"


@pytest.mark.parametrize(
    ("method", "path", "order", "field"),
    [
        ("POST", UPLOADS, {"upid": "UP-1", "bytes": True}, "bytes"),
        ("POST", UPLOADS, {"upid": "UP-1", "bytes": "5"}, "bytes"),
        ("POST", UPLOADS, {"upid": "UP-1", "bytes": 5.5}, "bytes"),
        ("POST", UPLOADS, {"upid": 5, "bytes": 5}, "upid"),
        ("POST", "/", {"upid": 5, "image_base64": "AAAA"}, "upid"),
        ("PUT", "/api/photos/maintenance", {"enabled": "yes"}, "enabled"),
        ("PUT", "/api/photos/maintenance", {"enabled": True, "retry_after_seconds": "60"}, "retry_after_seconds"),
        ("PUT", "/api/photos/maintenance", {"enabled": True, "retry_after_seconds": True}, "retry_after_seconds"),
        ("POST", "/api/photos/reprocess", {"upid": 5}, "upid"),
    ],
)
async def test_no_value_is_guessed(platform: Platform, method: str, path: str, order: dict[str, Any], field: str) -> None:
    answer = await platform.ask(method, path, json=order)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await platform.get("/api/photos/maintenance")).json()["enabled"] is False
