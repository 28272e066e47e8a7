"""The main job, whole: a photo goes in over HTTP, four renditions come out, made by the real image engine."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.pictures import CORNERS, animation, corners_of, encoded, marked, phone_photo
from trenza.services.images.wiring import service as images
from trenza.services.photos.wiring import service as photos

BOXES = {"thumbnail": (320, 320), "small": (640, 640), "medium": (1280, 1280), "large": (2048, 2048)}


class Client:
    """Somebody with a token for everything that concerns photos."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self.http = http
        self._token = {"Authorization": f"Bearer {token}"}

    async def upload(self, content: bytes, name: str = "photo.jpg", **fields: str) -> httpx.Response:
        """Upload one file, and wait for its versions."""
        return await self.http.post(
            "/api/photos/upload",
            files={"file": (name, content)},
            data={"upid": "UNP-1978", **fields},
            headers=self._token | {"Prefer": "wait=60"},
        )

    async def versions(self, photo: dict[str, Any]) -> dict[str, bytes]:
        """The bytes of every version, by the links in the photo."""
        return {name: (await self.http.get(version["url"])).content for name, version in photo["versions"].items()}


@pytest.fixture
async def client(tmp_path: Path, database_url: str) -> AsyncIterator[Client]:
    """The whole application in this process, on each kind of database."""
    settings = PlatformSettings(
        data_dir=tmp_path / "data",
        public_url="http://test",
        database_url=None if database_url.startswith("sqlite") else database_url,
    )
    app = assemble((images, photos), settings)
    token = issue_token(signing_key(settings), "ana", ("photos:admin",), timedelta(hours=1))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=120) as http,
    ):
        yield Client(http, token)


async def test_a_phone_photo_becomes_four_upright_versions_without_metadata(client: Client) -> None:
    zone = timezone(timedelta(hours=-5))
    content = phone_photo(
        3000, 4000, orientation=6, taken_at=datetime(2026, 5, 31, 9, 30, tzinfo=zone), location=(3.4516, -76.532)
    )
    answer = await client.upload(content, stage="durante")
    assert answer.status_code == 201, answer.text
    photo = answer.json()
    assert photo["taken_at"] == "2026-05-31T14:30:00Z"
    assert photo["location"]["latitude"] == pytest.approx(3.4516, abs=1e-4)
    assert photo["location"]["longitude"] == pytest.approx(-76.532, abs=1e-4)
    assert (photo["width"], photo["height"]) == (3000, 4000)
    sizes = {"thumbnail": (320, 320), "small": (480, 640), "medium": (960, 1280), "large": (1536, 2048)}
    for name, version in (await client.versions(photo)).items():
        assert corners_of(version) == {corner: corner for corner in CORNERS}
        assert b"Exif" not in version
        assert b"http://ns.adobe.com/xap" not in version
        with Image.open(io.BytesIO(version)) as picture:
            assert picture.size == sizes[name] == (photo["versions"][name]["width"], photo["versions"][name]["height"])
            assert picture.format == "JPEG"
            assert picture.mode == "RGB"
            assert picture.info["progressive"]
            assert not picture.getexif()
            assert not {"exif", "xmp", "icc_profile", "comment"} & picture.info.keys()
        assert len(version) == photo["versions"][name]["bytes"]
    original = await client.http.get(photo["original"]["url"])
    assert original.content == content


async def test_every_kind_of_image_becomes_proper_versions(client: Client) -> None:
    picture = marked(900, 600)
    sources = {
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "gray.jpg": encoded(picture.convert("L"), "JPEG"),
        "deep.png": encoded(Image.new("I;16", (900, 600), 40_000), "PNG"),
        "transparent.png": encoded(Image.new("RGBA", (900, 600), (200, 40, 40, 128)), "PNG"),
        "palette.png": encoded(picture.convert("P"), "PNG"),
        "animated.gif": animation(900, 600, "GIF"),
        "animated.webp": animation(900, 600, "WebP"),
        "scan.tif": encoded(picture, "TIFF"),
        "old.bmp": encoded(picture, "BMP"),
        "strip.png": encoded(Image.new("RGB", (20_000, 40), "navy"), "PNG"),
        "dot.png": encoded(Image.new("RGB", (1, 1), "navy"), "PNG"),
    }
    for name, content in sources.items():
        answer = await client.upload(content, name)
        assert answer.status_code == 201, (name, answer.text)
        photo = answer.json()
        for version, data in (await client.versions(photo)).items():
            with Image.open(io.BytesIO(data)) as made:
                made.load()
                assert (made.format, made.mode) == ("JPEG", "RGB"), (name, version)
                assert made.width <= min(BOXES[version][0], photo["width"]), (name, version)
                assert made.height <= min(BOXES[version][1], photo["height"]), (name, version)


async def test_hostile_files_get_a_clear_error_within_five_seconds(client: Client) -> None:
    whole = phone_photo(3000, 2000)
    hostile = {
        "truncated.jpg": (whole[: len(whole) // 2], 400, "INVALID_IMAGE_FORMAT"),
        "headless.jpg": (whole[:40], 400, "INVALID_IMAGE_FORMAT"),
        "fake.jpg": (b"\xff\xd8\xff\xe0" + b"not a jpeg at all" * 50, 400, "INVALID_IMAGE_FORMAT"),
        "script.jpg": (b"<html><script>alert(1)</script></html>", 400, "INVALID_IMAGE_FORMAT"),
        "empty.jpg": (b"", 400, "INVALID_IMAGE_FORMAT"),
        "bomb.png": (encoded(Image.new("1", (30_000, 30_000)), "PNG"), 413, "IMAGE_TOO_LARGE"),
    }
    for name, (content, status, code) in hostile.items():
        began = time.monotonic()
        answer = await client.upload(content, name)
        assert time.monotonic() - began < 5, name
        assert answer.status_code == status, (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == code, name
        assert answer.json()["detail"], name


async def test_the_same_photo_sent_by_many_at_once_is_one(client: Client) -> None:
    content = phone_photo()
    answers = await asyncio.gather(*(client.upload(content) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
