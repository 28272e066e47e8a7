"""WebP and AVIF by ``Accept``: made when first asked for, once, and kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from trenza.services.images.contract import InvalidImageFormat

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform


async def asked(platform: Platform, photo: dict[str, Any], accept: str, version: str = "small") -> Any:
    return await platform.get(f"/api/photos/{photo['id']}/{version}", headers={"Accept": accept})


@pytest.mark.parametrize(
    ("accept", "media_type", "extension"),
    [("image/webp,*/*", "image/webp", "webp"), ("image/avif,image/webp,*/*", "image/avif", "avif"), ("*/*", "image/jpeg", "jpg")],
)
async def test_the_format_follows_accept(platform: Platform, accept: str, media_type: str, extension: str) -> None:
    photo = await platform.stored()
    before = await platform.objects()
    answers = [await asked(platform, photo, accept) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == media_type
        assert answer.headers["vary"] == "Accept"
        assert answer.content.startswith(b"small of ")
    assert answers[0].headers["etag"] == answers[1].headers["etag"]
    assert answers[0].headers["content-disposition"].count(f".{extension}")
    made = await platform.objects() - before
    assert len(made) == (media_type != "image/jpeg")
    assert len(platform.engine.rendered) == 1 + len(made)  # kept: the second answer made nothing
    assert (await asked(platform, photo, accept, "original")).headers["content-type"] == "image/jpeg"


async def test_those_who_ask_at_once_share_one(platform: Platform) -> None:
    photo = await platform.stored()
    platform.engine.gate.clear()
    platform.engine.asked.clear()
    asking = [asyncio.create_task(asked(platform, photo, "image/webp")) for _ in range(5)]
    await platform.engine.asked.wait()
    asking[0].cancel()
    platform.engine.gate.set()
    answers = await asyncio.gather(*asking[1:])
    assert {answer.headers["content-type"] for answer in answers} == {"image/webp"}
    assert len(platform.engine.rendered) == 2


async def test_what_cannot_be_made_is_given_as_it_is(platform: Platform) -> None:
    photo = await platform.stored()
    platform.engine.refusals.append(InvalidImageFormat("cut short"))
    assert (await asked(platform, photo, "image/webp")).headers["content-type"] == "image/jpeg"
    platform.engine.down = True
    assert (await asked(platform, photo, "image/webp")).headers["content-type"] == "image/jpeg"
    platform.engine.down = False
    assert (await asked(platform, photo, "image/webp")).headers["content-type"] == "image/webp"


async def test_other_pixels_have_other_variants(platform: Platform) -> None:
    photo = await platform.stored()
    for version in ("small", "thumbnail"):
        answer = await asked(platform, photo, "image/webp", version)
        assert answer.content.startswith(version.encode())
    variants = {key.rsplit("/", 1)[1] for key in await platform.objects() if key.endswith(".webp")}
    assert variants == {"small-640x30-q75.webp", "thumbnail-320x30-q75.webp"}
