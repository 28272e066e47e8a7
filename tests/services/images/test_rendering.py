"""Photographs of every kind go in; upright, three-band, bare renditions come out."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import pyvips
from PIL import Image, ImageCms

from trenza.chassis.blobs import Blobs
from trenza.chassis.testing import CallMode, bind, call_modes
from trenza.chassis.testing.pictures import (
    CORNERS,
    animation,
    camera_exif,
    corners_of,
    encoded,
    marked,
    phone_photo,
    photograph,
    stored_as,
)
from trenza.services.images.contract import Images, Location, OutputType, Rendered, Rendition
from trenza.services.images.service import ImageEngine

Put = Callable[[bytes], Awaitable[str]]

MEDIA = Path(__file__).parents[2] / "media"
UPRIGHT = {name: name for name in CORNERS}
TAKEN_AT = datetime(2024, 5, 17, 14, 30, 5, tzinfo=timezone(timedelta(hours=-5)))
PLACE = (3.4516, -76.532)
SMALL = (Rendition(name="small", key="out/small.jpg", width=100, height=100, quality=90),)


async def render_small(engine: ImageEngine, blobs: Blobs, put: Put, data: bytes) -> tuple[Rendered, bytes]:
    """The result and the rendition within 100 x 100."""
    rendered = await engine.render(source=await put(data), renditions=SMALL)
    return rendered, await blobs.get("out/small.jpg")


def vips_file(image: pyvips.Image, suffix: str, **options: object) -> bytes:
    data: bytes = image.write_to_buffer(suffix, **options)
    return data


def vips_marked(width: int = 160, height: int = 120) -> pyvips.Image:
    return pyvips.Image.new_from_memory(marked(width, height).tobytes(), width, height, 3, "uchar").copy(interpretation="srgb")


@call_modes
async def test_a_phone_photo_gives_four_bare_upright_versions(
    engine: ImageEngine, blobs: Blobs, put: Put, presets: tuple[Rendition, ...], call_mode: CallMode
) -> None:
    source = await put(phone_photo(1500, 2000, orientation=6, taken_at=TAKEN_AT, location=PLACE))
    async with bind(Images, engine, call_mode) as images:
        rendered = await images.render(source=source, renditions=presets)
    assert (rendered.width, rendered.height) == (1500, 2000)
    assert rendered.taken_at == TAKEN_AT
    assert rendered.location is not None
    assert rendered.location.latitude == pytest.approx(PLACE[0], abs=1e-5)
    assert rendered.location.longitude == pytest.approx(PLACE[1], abs=1e-5)
    assert {image.name: (image.width, image.height) for image in rendered.renditions} == {
        "thumbnail": (320, 320),
        "small": (480, 640),
        "medium": (960, 1280),
        "large": (1500, 2000),
    }
    assert [image.name for image in rendered.renditions] == [preset.name for preset in presets]
    for image in rendered.renditions:
        data = await blobs.get(image.key)
        assert len(data) == image.bytes
        stored = await blobs.stat(image.key)
        assert stored is not None
        assert stored.media_type == image.media_type == "image/jpeg"
        assert corners_of(data) == UPRIGHT
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (image.width, image.height)
            assert picture.mode == "RGB"
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression"}
            assert picture.info["progressive"]
        for mark in (b"Exif", b"xmpmeta", b"ICC_PROFILE", b"Photoshop", b"Trenza", b"taken by a test"):
            assert mark not in data


def sampling_of(data: bytes) -> list[int]:
    """The sampling factors of a JPEG's components: 0x22, 0x11, 0x11 is 4:2:0."""
    frame = data.index(b"\xff\xc2")
    components = data[frame + 9]
    return [data[frame + 11 + 3 * at] for at in range(components)]


@pytest.mark.parametrize("quality", [1, 82, 100])
async def test_jpeg_is_progressive_and_subsampled_at_every_quality(
    engine: ImageEngine, blobs: Blobs, put: Put, quality: int
) -> None:
    rendition = Rendition(name="a", key="out/a.jpg", width=200, height=200, quality=quality)
    await engine.render(source=await put(phone_photo(400, 300)), renditions=(rendition,))
    assert sampling_of(await blobs.get("out/a.jpg")) == [0x22, 0x11, 0x11]


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_every_orientation_comes_out_upright(engine: ImageEngine, blobs: Blobs, put: Put, orientation: int) -> None:
    rendered, data = await render_small(engine, blobs, put, phone_photo(160, 120, orientation=orientation))
    assert (rendered.width, rendered.height) == (160, 120)
    assert [(image.width, image.height) for image in rendered.renditions] == [(100, 75)]
    assert corners_of(data) == UPRIGHT


@pytest.mark.parametrize("image_format", ["PNG", "WebP", "TIFF"])
async def test_orientation_and_metadata_of_other_formats(engine: ImageEngine, blobs: Blobs, put: Put, image_format: str) -> None:
    exif = camera_exif(orientation=8, taken_at=TAKEN_AT, location=PLACE)
    rendered, data = await render_small(
        engine, blobs, put, encoded(stored_as(marked(160, 120), 8), image_format, exif=exif.tobytes())
    )
    assert (rendered.width, rendered.height) == (160, 120)
    assert corners_of(data) == UPRIGHT
    assert rendered.taken_at == TAKEN_AT
    assert rendered.location is not None


def profile_of(name: str) -> bytes:
    profile: bytes = pyvips.Operation.call("profile_load", name)
    return profile


def in_lab(picture: Image.Image) -> Image.Image:
    lab = ImageCms.applyTransform(
        picture, ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    )
    assert lab is not None
    return lab


MARKED = marked(160, 120)
KINDS: dict[str, bytes] = {
    "jpeg progressive": encoded(MARKED, "JPEG", progressive=True),
    "jpeg 4:4:4": encoded(MARKED, "JPEG", subsampling=0),
    "jpeg cmyk": encoded(MARKED.convert("CMYK"), "JPEG", quality=95),
    "png": encoded(MARKED, "PNG"),
    "png palette": encoded(MARKED.convert("P"), "PNG"),
    "png rgba": encoded(MARKED.convert("RGBA"), "PNG"),
    "png 16-bit": vips_file(vips_marked().colourspace("rgb16"), ".png", bitdepth=16),
    "png interlaced": vips_file(vips_marked(), ".png", interlace=True),
    "webp": encoded(MARKED, "WebP", quality=95),
    "webp lossless": encoded(MARKED, "WebP", lossless=True),
    "webp animated": animation(160, 120, "WebP"),
    "gif": encoded(MARKED.convert("P"), "GIF"),
    "gif animated": animation(160, 120, "GIF"),
    "bmp": encoded(MARKED, "BMP"),
    "bmp palette": encoded(MARKED.convert("P"), "BMP"),
    "bmp rgba": encoded(MARKED.convert("RGBA"), "BMP"),
    "tiff": encoded(MARKED, "TIFF"),
    "tiff lzw": encoded(MARKED, "TIFF", compression="tiff_lzw"),
    "tiff big": encoded(MARKED, "TIFF", big_tiff=True),
    "tiff cmyk": encoded(MARKED.convert("CMYK"), "TIFF"),
    "tiff lab": encoded(in_lab(MARKED), "TIFF"),
    "tiff float lab": vips_file(vips_marked().colourspace("lab"), ".tif"),
    "tiff tiled 16-bit": vips_file(vips_marked().colourspace("rgb16"), ".tif", tile=True),
    "tiff pyramid": vips_file(vips_marked(), ".tif", tile=True, pyramid=True, tile_width=64, tile_height=64),
    "avif": encoded(MARKED, "AVIF", quality=90),
    "mpo": encoded(MARKED, "MPO", save_all=True, append_images=[Image.new("RGB", (160, 120))]),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_file_gives_three_bands_in_the_right_colours(
    engine: ImageEngine, blobs: Blobs, put: Put, kind: str
) -> None:
    rendered, data = await render_small(engine, blobs, put, KINDS[kind])
    assert (rendered.width, rendered.height) == (160, 120)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == "RGB"
        assert picture.size == (100, 75)
    # CMYK printing inks cannot show all of these colours, and the profiles that stand in for them differ.
    assert corners_of(data, tolerance=75 if "cmyk" in kind else 24) == UPRIGHT


@pytest.mark.parametrize("kind", ["L", "1", "I;16", "LA"])
async def test_grey_images_become_grey_in_three_bands(engine: ImageEngine, blobs: Blobs, put: Put, kind: str) -> None:
    grey = Image.linear_gradient("L").resize((160, 120))
    if kind == "I;16":
        grey = grey.convert("I").point(lambda value: value * 257).convert("I;16")
    _, data = await render_small(engine, blobs, put, encoded(grey if kind == "I;16" else grey.convert(kind), "PNG"))
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == "RGB"
        top, bottom = picture.getpixel((50, 4)), picture.getpixel((50, 70))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert max(top) - min(top) <= 2
    assert max(top) < 60
    assert min(bottom) > 195


@pytest.mark.parametrize("image_format", ["PNG", "WebP", "TIFF", "GIF", "AVIF"])
async def test_transparency_becomes_white(engine: ImageEngine, blobs: Blobs, put: Put, image_format: str) -> None:
    picture = MARKED.convert("RGBA")
    picture.paste((0, 0, 0, 0), (80, 0, 160, 60))
    _, data = await render_small(engine, blobs, put, encoded(picture, image_format))
    with Image.open(io.BytesIO(data)) as flat:
        assert flat.mode == "RGB"
        pixel = flat.getpixel((80, 15))
    assert isinstance(pixel, tuple)
    assert min(pixel) >= 250
    assert corners_of(data)["top left"] == "top left"


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize(
    "profile", [None, b"broken", profile_of("cmyk"), profile_of("p3")], ids=["none", "broken", "cmyk", "rgb"]
)
async def test_cmyk_with_any_profile_and_orientation(
    engine: ImageEngine, blobs: Blobs, put: Put, profile: bytes | None, orientation: int
) -> None:
    picture = stored_as(MARKED.convert("CMYK"), orientation)
    data = encoded(picture, "JPEG", quality=95, icc_profile=profile, exif=camera_exif(orientation=orientation))
    rendered, small = await render_small(engine, blobs, put, data)
    assert (rendered.width, rendered.height) == (160, 120)
    assert corners_of(small, tolerance=75) == UPRIGHT


async def test_adobe_cmyk_which_is_stored_inverted(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    data = KINDS["jpeg cmyk"]
    assert b"Adobe" in data, "Pillow writes CMYK as Adobe does"
    _, small = await render_small(engine, blobs, put, encoded(Image.new("CMYK", (160, 120), (0, 0, 0, 0)), "JPEG"))
    with Image.open(io.BytesIO(small)) as picture:
        pixel = picture.getpixel((50, 30))
    assert isinstance(pixel, tuple)
    assert min(pixel) >= 250, "no ink is white paper"


async def test_wide_gamut_profiles_are_converted(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    colour = (60, 200, 90)
    source = encoded(Image.new("RGB", (160, 120), colour), "PNG", icc_profile=profile_of("p3"))
    _, data = await render_small(engine, blobs, put, source)
    converter = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile_of("p3"))), ImageCms.createProfile("sRGB"), "RGB", "RGB"
    )
    expected = converter.apply(Image.new("RGB", (1, 1), colour)).getpixel((0, 0))
    with Image.open(io.BytesIO(data)) as picture:
        seen = picture.getpixel((50, 30))
    assert isinstance(seen, tuple)
    assert isinstance(expected, tuple)
    assert max(abs(a - b) for a, b in zip(seen, expected, strict=True)) <= 4
    assert max(abs(a - b) for a, b in zip(seen, colour, strict=True)) > 8, "it was converted at all"


@pytest.mark.parametrize(
    "profile",
    [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"broken", profile_of("cmyk")],
    ids=["sRGB", "broken", "of another colour space"],
)
async def test_other_profiles_change_no_colours(engine: ImageEngine, blobs: Blobs, put: Put, profile: bytes) -> None:
    _, data = await render_small(engine, blobs, put, encoded(MARKED, "JPEG", quality=95, icc_profile=profile))
    assert corners_of(data, tolerance=8) == UPRIGHT
    assert b"ICC_PROFILE" not in data


async def test_heic_of_a_phone(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    rendered, data = await render_small(engine, blobs, put, (MEDIA / "phone.heic").read_bytes())
    assert (rendered.width, rendered.height) == (480, 640)
    assert corners_of(data) == UPRIGHT
    assert rendered.taken_at == TAKEN_AT
    assert rendered.location is not None


async def test_twenty_thousand_by_forty(engine: ImageEngine, blobs: Blobs, put: Put, presets: tuple[Rendition, ...]) -> None:
    rendered = await engine.render(source=await put(encoded(marked(20_000, 40), "JPEG")), renditions=presets)
    sizes = {image.name: (image.width, image.height) for image in rendered.renditions}
    assert sizes == {"thumbnail": (320, 40), "small": (640, 1), "medium": (1280, 3), "large": (2048, 4)}
    for image in rendered.renditions:
        with Image.open(io.BytesIO(await blobs.get(image.key))) as picture:
            assert picture.size == (image.width, image.height)


async def test_one_pixel(engine: ImageEngine, blobs: Blobs, put: Put, presets: tuple[Rendition, ...]) -> None:
    rendered = await engine.render(source=await put(encoded(Image.new("RGB", (1, 1), "white"), "PNG")), renditions=presets)
    assert {(image.width, image.height) for image in rendered.renditions} == {(1, 1)}
    assert (await blobs.get(rendered.renditions[0].key))[:2] == b"\xff\xd8"


@pytest.mark.parametrize(("media_type", "magic"), [("image/webp", b"WEBP"), ("image/avif", b"ftypavif")])
async def test_other_output_types(engine: ImageEngine, blobs: Blobs, put: Put, media_type: OutputType, magic: bytes) -> None:
    rendition = Rendition(name="modern", key="out/modern", width=80, height=80, fit="cover", media_type=media_type, quality=80)
    source = phone_photo(400, 300, orientation=3, location=PLACE)
    rendered = await engine.render(source=await put(source), renditions=(rendition,))
    data = await blobs.get("out/modern")
    assert magic in data[:16]
    assert b"Exif" not in data
    assert (rendered.renditions[0].width, rendered.renditions[0].height) == (80, 80)
    assert corners_of(data) == UPRIGHT


async def test_nothing_ordered_tells_size_and_metadata(engine: ImageEngine, put: Put) -> None:
    source = await put(phone_photo(400, 300, taken_at=TAKEN_AT, location=PLACE))
    rendered = await engine.render(source=source, renditions=())
    assert (rendered.width, rendered.height, rendered.taken_at) == (400, 300, TAKEN_AT)
    assert rendered.renditions == ()


async def test_taken_at_without_an_offset_is_read_as_utc(engine: ImageEngine, put: Put) -> None:
    source = await put(phone_photo(40, 30, taken_at=datetime(2024, 5, 17, 14, 30)))  # noqa: DTZ001 - as cameras write it
    rendered = await engine.render(source=source, renditions=())
    assert rendered.taken_at == datetime(2024, 5, 17, 14, 30, tzinfo=UTC)
    assert rendered.location is None


@pytest.mark.parametrize(
    ("location", "read"),
    [
        ((0.0, 0.0), None),
        ((91.0, 10.0), None),
        ((10.0, 181.0), None),
        ((-90.0, 180.0), Location(latitude=-90, longitude=180)),
        ((-33.8688, 151.2093), Location(latitude=-33.8688, longitude=151.2093)),
    ],
)
async def test_impossible_places_are_left_out(
    engine: ImageEngine, put: Put, location: tuple[float, float], read: Location | None
) -> None:
    rendered = await engine.render(source=await put(phone_photo(40, 30, location=location)), renditions=())
    if read is None:
        assert rendered.location is None
    else:
        assert rendered.location is not None
        assert rendered.location.model_dump() == pytest.approx(read.model_dump(), abs=1e-5)


async def test_places_with_letters_that_say_nothing_are_left_out(engine: ImageEngine, put: Put) -> None:
    for letter, unknown in ((b"N\0", b"X\0"), (b"W\0", b"Y\0")):
        photo = phone_photo(40, 30, location=PLACE)
        at = photo.index(letter, photo.index(b"Exif"))
        rendered = await engine.render(source=await put(photo[:at] + unknown + photo[at + 2 :]), renditions=())
        assert rendered.location is None


@pytest.mark.parametrize("seed", range(12))
async def test_malformed_exif_costs_nothing_but_itself(engine: ImageEngine, blobs: Blobs, put: Put, seed: int) -> None:
    photo = bytearray(phone_photo(160, 120, orientation=1, taken_at=TAKEN_AT, location=PLACE))
    start = photo.index(b"Exif\x00\x00") + 6
    for at in range(start + seed, start + 150, 3 + seed):
        photo[at] = (photo[at] * 31 + 77 * seed + 13) % 256
    rendered, _ = await render_small(engine, blobs, put, bytes(photo))
    assert {rendered.width, rendered.height} == {160, 120}


async def test_a_job_repeated_gives_the_same_bytes(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    source = encoded(photograph(300, 200), "JPEG")
    first = await render_small(engine, blobs, put, source)
    assert await render_small(engine, blobs, put, source) == first


async def test_another_image_under_the_same_key_is_seen(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    await render_small(engine, blobs, put, encoded(Image.new("RGB", (160, 120), "black"), "JPEG"))
    _, data = await render_small(engine, blobs, put, encoded(MARKED, "JPEG"))
    assert corners_of(data) == UPRIGHT
