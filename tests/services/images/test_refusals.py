"""What is broken, fake, hostile or too large gets a clear refusal, in time, and costs nothing else."""

from __future__ import annotations

import random
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trenza.chassis.blobs import Blobs
from trenza.chassis.contract import ContractError
from trenza.chassis.testing import CallMode, bind, call_modes
from trenza.chassis.testing.hostile_pictures import (
    FAKES,
    gif_bomb,
    jpeg_of_many_scans,
    jpeg_of_many_segments,
    png_bomb,
    png_of,
    tiff_of,
)
from trenza.chassis.testing.pictures import animation, encoded, marked, phone_photo, photograph
from trenza.services.images.contract import (
    ImageInfo,
    Images,
    ImageTooLarge,
    InvalidDimensions,
    InvalidImageFormat,
    ProcessingFailed,
    Rendition,
    SourceMissing,
)
from trenza.services.images.service import ImageEngine

Put = Callable[[bytes], Awaitable[str]]
MakeEngine = Callable[..., ImageEngine]

MEDIA = Path(__file__).parents[2] / "media"
NOISY = photograph(400, 300)
SOUND = {
    "jpeg": encoded(NOISY, "JPEG"),
    "jpeg progressive": encoded(NOISY, "JPEG", progressive=True),
    "png": encoded(NOISY, "PNG"),
    "webp": encoded(NOISY, "WebP"),
    "webp animated": animation(160, 120, "WebP"),
    "tiff": encoded(NOISY, "TIFF"),
    "tiff lzw": encoded(NOISY, "TIFF", compression="tiff_lzw"),
    "bmp": encoded(NOISY, "BMP"),
    "gif": encoded(NOISY.convert("P"), "GIF"),
    "avif": encoded(NOISY, "AVIF"),
    "heic": (MEDIA / "phone.heic").read_bytes(),
}
BOMB = png_bomb()
SMALL = (Rendition(name="small", key="out/small.jpg", width=100, height=100),)


@call_modes
async def test_inspect_judges_by_the_header(engine: ImageEngine, put: Put, call_mode: CallMode) -> None:
    data = phone_photo(640, 480, orientation=6)
    source = await put(data)
    async with bind(Images, engine, call_mode) as images:
        info = await images.inspect(source=source)
    assert info == ImageInfo(media_type="image/jpeg", width=480, height=640, bytes=len(data), extension="jpg")
    assert engine.workers.alive == 0, "nothing was decoded"


@call_modes
async def test_a_missing_source_is_missing(engine: ImageEngine, presets: tuple[Rendition, ...], call_mode: CallMode) -> None:
    async with bind(Images, engine, call_mode) as images:
        with pytest.raises(SourceMissing):
            await images.inspect(source="in/nothing")
        with pytest.raises(SourceMissing):
            await images.render(source="in/nothing", renditions=presets)


@pytest.mark.parametrize("fake", FAKES)
@call_modes
async def test_fakes_are_refused_by_their_content(engine: ImageEngine, put: Put, fake: str, call_mode: CallMode) -> None:
    source = await put(FAKES[fake])
    async with bind(Images, engine, call_mode) as images:
        if "gif" not in fake:  # that one has a gif's header, and only its pixels tell
            with pytest.raises(InvalidImageFormat, match="Accepted are JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC and AVIF") as caught:
                await images.inspect(source=source)
            assert caught.value.fields["field"] == "file"
        with pytest.raises((InvalidImageFormat, ImageTooLarge)):
            await images.render(source=source, renditions=(Rendition(name="a", key="out/a", width=9, height=9),))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("kind", SOUND)
async def test_truncated_files_are_refused_and_leave_nothing(
    engine: ImageEngine, blobs: Blobs, put: Put, kind: str, share: float
) -> None:
    data = SOUND[kind]
    source = await put(data[: int(len(data) * share)])
    with pytest.raises(InvalidImageFormat) as caught:
        await engine.render(source=source, renditions=SMALL)
    assert caught.value.fields.keys() >= {"field", "limit", "remedy"}
    assert [stored.key async for stored in blobs.list("out")] == []


@pytest.mark.parametrize("kind", SOUND)
async def test_the_same_files_whole_are_accepted(
    engine: ImageEngine, put: Put, presets: tuple[Rendition, ...], kind: str
) -> None:
    rendered = await engine.render(source=await put(SOUND[kind]), renditions=presets)
    assert len(rendered.renditions) == 4


async def test_harmless_faults_are_tolerated(engine: ImageEngine, put: Put, presets: tuple[Rendition, ...]) -> None:
    data = SOUND["jpeg"]
    scan = data.index(b"\xff\xda")
    for faulty in (
        data + b"trailing bytes, as phones append videos" * 100,
        data[:scan] + bytes(12) + data[scan:],
        jpeg_of_many_segments(data, 20),
    ):
        assert (await engine.render(source=await put(faulty), renditions=presets)).width == 400


@pytest.mark.parametrize(
    "bomb_and_limit",
    [
        (BOMB, 100_000_000),
        (gif_bomb(), 100_000_000),
        (gif_bomb(20_000, 20_000), 100_000_000),
        (png_of(2**31 - 1, 1, b"x"), 65_535),
        (tiff_of({256: 4_000_000_000, 257: 4_000_000_000}), 65_535),
        (tiff_of({256: 50_000, 257: 50_000}, big=True), 100_000_000),
        (jpeg_of_many_scans(9_999, 9_999, 400), 20),
        (jpeg_of_many_scans(2_000, 2_000, 2_600), 100),
    ],
    ids=[
        "png of gigabytes",
        "gif of gigabytes",
        "gif",
        "png of one row",
        "tiff",
        "bigtiff",
        "jpeg of many scans",
        "small jpeg of many scans",
    ],
)
@call_modes
async def test_bombs_are_refused_before_they_are_decoded(
    engine: ImageEngine, put: Put, call_mode: CallMode, bomb_and_limit: tuple[bytes, int]
) -> None:
    bomb, limit = bomb_and_limit
    source = await put(bomb)
    async with bind(Images, engine, call_mode) as images:
        for attempt in (images.inspect(source=source), images.render(source=source, renditions=SMALL)):
            with pytest.raises(ImageTooLarge) as caught:
                await attempt
            assert caught.value.fields["limit"] == limit
            assert f"{limit:,}" in caught.value.detail
    assert engine.workers.alive == 0  # none was ever started


async def test_the_limit_is_on_pixels_not_on_shape(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(max_pixels=800_000, max_side=20_000)
    assert (await engine.inspect(source=await put(encoded(marked(20_000, 40), "PNG")))).width == 20_000
    with pytest.raises(ImageTooLarge, match=r"820,000 pixels; 800,000 are accepted"):
        await engine.inspect(source=await put(png_of(20_000, 41, b"")))
    with pytest.raises(ImageTooLarge, match="a side may have 20,000"):
        await engine.inspect(source=await put(png_of(20_001, 1, b"")))


async def test_files_over_the_limit_of_bytes(make_engine: MakeEngine, put: Put) -> None:
    with pytest.raises(ImageTooLarge, match="bytes long; 100 are accepted"):
        await make_engine(max_bytes=100).inspect(source=await put(SOUND["png"]))


async def test_a_progressive_jpeg_may_have_some_scans_more_than_usual(engine: ImageEngine, put: Put) -> None:
    assert (await engine.render(source=await put(jpeg_of_many_scans(2_000, 2_000, 100)), renditions=SMALL)).width == 2_000


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive"])
async def test_a_jpeg_that_holds_less_than_its_header_says(make_engine: MakeEngine, put: Put, kind: str, *, fast: bool) -> None:
    data = bytearray(SOUND[kind])
    frame = data.index(b"\xff\xc2" if "progressive" in kind else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 9_000, 9_000)
    with pytest.raises(InvalidImageFormat, match="damaged or cut short"):
        await make_engine(fast_jpeg=fast).render(source=await put(bytes(data)), renditions=SMALL)


async def test_zero_sides(engine: ImageEngine, put: Put) -> None:
    for data in (png_of(0, 10, b""), png_of(10, 0, b""), gif_bomb(0, 5)):
        with pytest.raises(InvalidDimensions):
            await engine.inspect(source=await put(data))


async def test_a_png_that_lies_about_its_size(engine: ImageEngine, put: Put, presets: tuple[Rendition, ...]) -> None:
    pixels = SOUND["png"][41:-12]
    with pytest.raises(InvalidImageFormat, match="damaged or cut short"):
        await engine.render(source=await put(png_of(9_000, 9_000, pixels)), renditions=presets)


async def test_a_gif_whose_frame_is_larger_than_its_screen(engine: ImageEngine, put: Put, presets: tuple[Rendition, ...]) -> None:
    bomb = bytearray(gif_bomb())
    bomb[6:10] = struct.pack("<HH", 10, 10)
    with pytest.raises((InvalidImageFormat, ImageTooLarge, ProcessingFailed)):
        await engine.render(source=await put(bytes(bomb)), renditions=presets)


async def test_formats_are_a_setting(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(formats=("jpeg",))
    with pytest.raises(InvalidImageFormat, match=r"The file is a GIF image. Accepted is JPEG only."):
        await engine.inspect(source=await put(SOUND["gif"]))


async def test_refusals_tell_nothing_internal(
    engine: ImageEngine, put: Put, presets: tuple[Rendition, ...], tmp_path: Path
) -> None:
    with pytest.raises(ContractError) as caught:
        await engine.render(source=await put(SOUND["jpeg"][:5000]), renditions=presets)
    told = f"{caught.value} {caught.value.fields}"
    for internal in (str(tmp_path), "vips", "VIPS", "/", "Traceback"):
        assert internal not in told


async def test_renditions_under_one_key_are_a_mistake_of_the_caller(engine: ImageEngine, put: Put) -> None:
    twice = tuple(Rendition(name=name, key="out/same", width=9, height=9) for name in ("a", "b"))
    with pytest.raises(ValueError, match="under one key"):
        await engine.render(source=await put(SOUND["png"]), renditions=twice)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", SOUND)
async def test_damaged_files_are_rendered_or_refused(engine: ImageEngine, put: Put, kind: str, seed: int) -> None:
    source = random.Random(f"{kind} {seed}")  # noqa: S311 - the same damage every time
    damaged = bytearray(SOUND[kind])
    for _ in range(1 + 6 * seed):
        damaged[source.randrange(len(damaged))] = source.randrange(256)
    key = await put(bytes(damaged))
    try:
        rendered = await engine.render(source=key, renditions=SMALL)
    except ContractError as refusal:
        assert type(refusal) in Images.operations["render"].errors  # noqa: PT017 - rendered or refused, both are right
    else:
        assert len(rendered.renditions) == 1
