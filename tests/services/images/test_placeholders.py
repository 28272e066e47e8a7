"""What stands in for an image until it has loaded comes out of either path, and is what ThumbHash's decoders read."""

from __future__ import annotations

import base64
import io
from collections.abc import Awaitable, Callable

import pytest
from PIL import Image

from trenza.chassis.testing.pictures import encoded, marked, photograph
from trenza.services.images.contract import Rendered, Rendition
from trenza.services.images.service import ImageEngine

Put = Callable[[bytes], Awaitable[str]]
MakeEngine = Callable[..., ImageEngine]
SMALL = (Rendition(name="small", key="out/small.jpg", width=320, height=320, quality=90),)
REFERENCE = {(320, 240): "2wgKVZJzeYewaIiIiKiGiHDr95h+", (200, 320): "2wgKVBJzCYt2h2p4aHhw6/eYjg=="}
"""By size of `marked`: what ThumbHash's reference encoder gives for the same picture."""


def levels(thumbhash: str) -> list[int]:
    """The quantised numbers of a hash of an opaque image, in the order of the format."""
    data = base64.b64decode(thumbhash)
    head, tail = int.from_bytes(data[:3], "little"), int.from_bytes(data[3:5], "little")
    heads = [head & 63, head >> 6 & 63, head >> 12 & 63, head >> 18 & 31, tail & 7, tail >> 3 & 63, tail >> 9 & 63]
    return [*heads, head >> 23, tail >> 15, *(part for byte in data[5:] for part in (byte & 15, byte >> 4))]


async def rendered(make_engine: MakeEngine, put: Put, data: bytes, *, fast: bool) -> Rendered:
    return await make_engine(fast_jpeg=fast).render(source=await put(data), renditions=SMALL)


@pytest.mark.parametrize("fast", [True, False], ids=["planes", "libvips"])
@pytest.mark.parametrize("size", REFERENCE)
async def test_the_hash_is_the_reference_encoders(
    make_engine: MakeEngine, put: Put, size: tuple[int, int], *, fast: bool
) -> None:
    result = await rendered(make_engine, put, encoded(marked(*size), "JPEG", quality=95), fast=fast)
    assert result.thumbhash is not None
    pairs = list(zip(levels(result.thumbhash), levels(REFERENCE[size]), strict=True))
    assert max(abs(ours - theirs) for ours, theirs in pairs) <= 1, pairs


async def test_both_paths_tell_the_same(make_engine: MakeEngine, put: Put) -> None:
    data = encoded(photograph(1001, 667, seed=3), "JPEG", quality=92)
    planes = await rendered(make_engine, put, data, fast=True)
    libvips = await rendered(make_engine, put, data, fast=False)
    assert planes.thumbhash is not None
    assert libvips.thumbhash is not None
    assert max(abs(a - b) for a, b in zip(levels(planes.thumbhash), levels(libvips.thumbhash), strict=True)) <= 2


@pytest.mark.parametrize("fast", [True, False], ids=["planes", "libvips"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
async def test_the_dominant_colour_covers_most(make_engine: MakeEngine, put: Put, mode: str, *, fast: bool) -> None:
    picture = Image.new("RGB", (300, 200), (40, 120, 200))
    picture.paste((250, 240, 30), (0, 0, 100, 200))
    picture = picture.convert(mode)
    expected = picture.convert("RGB").getpixel((200, 100))
    result = await rendered(make_engine, put, encoded(picture, "JPEG", quality=95), fast=fast)
    assert result.dominant_colour is not None
    seen = bytes.fromhex(result.dominant_colour.removeprefix("#"))
    assert isinstance(expected, tuple)
    assert max(abs(a - b) for a, b in zip(seen, expected, strict=True)) <= 3


async def test_nothing_ordered_nothing_told(engine: ImageEngine, put: Put) -> None:
    file = io.BytesIO()
    marked(60, 40).save(file, "JPEG")
    result = await engine.render(source=await put(file.getvalue()), renditions=())
    assert (result.thumbhash, result.dominant_colour) == (None, None)
