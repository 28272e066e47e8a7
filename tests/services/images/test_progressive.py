"""The fast path's own way of coding: every image can be coded with its tables, and every decoder reads the same pixels."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest
import pyvips
from PIL import Image

from trenza.chassis.blobs import Blobs
from trenza.chassis.telemetry.metrics import registry
from trenza.chassis.testing.pictures import encoded, photograph
from trenza.services.images.contract import Rendition
from trenza.services.images.service import ImageEngine
from trenza.services.images.settings import ImagesSettings

Put = Callable[[bytes], Awaitable[str]]
MakeEngine = Callable[..., ImageEngine]

BASELINE, PROGRESSIVE = 0xC0, 0xC2
DC_SYMBOLS = set(range(12))
AC_SYMBOLS = {run << 4 | size for run in range(16) for size in range(1, 11)} | {run << 4 for run in range(16)}


def segments(file: bytes) -> Iterator[tuple[int, bytes]]:
    """Every marker segment, those between the scans included."""
    at = 2
    while file[at + 1] != 0xD9:
        length = int.from_bytes(file[at + 2 : at + 4], "big")
        yield file[at + 1], file[at + 4 : at + 2 + length]
        at += 2 + length
        while file[at] != 0xFF or file[at + 1] == 0:
            at += 1


def code_tables(file: bytes) -> dict[int, set[int]]:
    """The symbols of each code table, by its class and number."""
    tables = {}
    for marker, segment in segments(file):
        rest = segment if marker == 0xC4 else b""
        while rest:
            end = 17 + sum(rest[1:17])
            tables[rest[0]], rest = set(rest[17:end]), rest[end:]
    return tables


async def both(engine: ImageEngine, blobs: Blobs, source: str, quality: int) -> tuple[bytes, bytes]:
    """The whole image, progressive and baseline; both by the fast path, or it fails."""
    before = registry().get_sample_value("images_rendered_total", {"path": "planes"}) or 0
    kinds = {"progressive": True, "baseline": False}
    order = tuple(
        Rendition(name=name, key=f"out/{name}", width=4096, height=4096, quality=quality, progressive=kind)
        for name, kind in kinds.items()
    )
    await engine.render(source=source, renditions=order)
    assert registry().get_sample_value("images_rendered_total", {"path": "planes"}) == before + 1
    return await blobs.get("out/progressive"), await blobs.get("out/baseline")


def pixels(file: bytes) -> bytes:
    """As Pillow decodes them."""
    return Image.open(io.BytesIO(file)).tobytes()


def same_everywhere(progressive: bytes, baseline: bytes) -> None:
    """Both say the same, to two decoders, neither of which has anything to warn of."""
    assert Image.open(io.BytesIO(progressive)).info.get("progressive")
    assert pixels(progressive) == pixels(baseline)
    theirs = [pyvips.Image.new_from_buffer(file, "", fail_on="warning").write_to_memory() for file in (progressive, baseline)]
    assert theirs[0] == theirs[1]


def waves() -> Image.Image:
    """Blocks of each single wave, weak, strong, and as steep as can be: values of every size after every run of zeros."""
    picture = Image.new("RGB", (8 * 64, 8 * 12))
    for at in range(64):
        for row, strength in enumerate((3, 9, 30, 60, 127, 1000)):
            for turned in (0, 1):
                u, v = at % 8, at // 8
                for x in range(8):
                    for y in range(8):
                        wave = math.cos((2 * x + 1) * u * math.pi / 16) * math.cos((2 * y + 1) * v * math.pi / 16)
                        value = max(0, min(255, round(128 + strength * wave)))
                        place = 8 * at + x, 16 * row + 8 * turned + y
                        picture.putpixel(place, (value,) * 3 if turned else (value, 255 - value, value))
    return picture


def noise(seed: str, width: int, height: int, amplitude: int) -> Image.Image:
    source = random.Random(seed)  # noqa: S311 - a picture, not a secret
    data = bytes(128 + source.randint(-amplitude, amplitude - 1) for _ in range(3 * width * height))
    return Image.frombytes("RGB", (width, height), data)


def sparse() -> Image.Image:
    """Hardly anything in between long runs of empty blocks: 24,000, then 41,000 (a run counts to 32,767)."""
    picture = Image.new("RGB", (2560, 1664), (90, 120, 60))
    for place in ((3, 3), (1277, 599), (2559, 1663)):
        picture.putpixel(place, (255, 0, 255))
    return picture


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "photograph": lambda: photograph(301, 203),
    "waves": waves,
    "flat": lambda: Image.new("RGB", (97, 64), (10, 200, 90)),
    "sparse": sparse,
    "noise": lambda: noise("full", 160, 120, 128),
    "black and white": lambda: noise("two", 160, 120, 1).point(lambda value: 255 * (value > 127)),
    "grey": lambda: photograph(120, 80).convert("L"),
}


@pytest.mark.parametrize("kind", PICTURES)
async def test_every_picture_has_codes_at_every_quality(engine: ImageEngine, blobs: Blobs, put: Put, kind: str) -> None:
    source = await put(encoded(PICTURES[kind](), "JPEG", quality=100, subsampling=0))
    for quality in (1, 10, 50, 75, 82, 95, 100):
        same_everywhere(*await both(engine, blobs, source, quality))


async def test_random_pictures_have_codes(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    source = random.Random("codes")  # noqa: S311 - the same pictures every time
    for number in range(40):
        width, height = source.randint(16, 150), source.randint(16, 150)
        picture = noise(f"codes {number}", width, height, source.choice([1, 4, 16, 64, 128]))
        if source.random() < 0.5:
            picture = picture.resize((max(16, width // 3), max(16, height // 3))).resize((width, height))
        key = await put(encoded(picture, "JPEG", quality=100, subsampling=source.choice([0, 2])))
        same_everywhere(*await both(engine, blobs, key, source.randint(1, 100)))


async def test_the_tables_hold_a_code_for_every_symbol(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    progressive, baseline = await both(engine, blobs, await put(encoded(photograph(64, 48), "JPEG")), 80)
    assert code_tables(progressive) == {0x00: DC_SYMBOLS, 0x01: DC_SYMBOLS, 0x10: AC_SYMBOLS, 0x11: AC_SYMBOLS}
    assert [marker for marker, _ in segments(progressive) if marker in (BASELINE, PROGRESSIVE)] == [PROGRESSIVE]
    assert [marker for marker, _ in segments(baseline) if marker in (BASELINE, PROGRESSIVE)] == [BASELINE]


async def test_a_photograph_shows_its_colours_first(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    progressive, _ = await both(engine, blobs, await put(encoded(photograph(640, 480), "JPEG")), 80)
    scans = [segment for marker, segment in segments(progressive) if marker == 0xDA]
    # Of each: the number of components, two bytes for each of them, then the first and the last wave.
    assert [(scan[0], scan[1 + 2 * scan[0]], scan[2 + 2 * scan[0]]) for scan in scans] == [
        (3, 0, 0), (1, 1, 63), (1, 1, 63), (1, 1, 63),
    ]  # fmt: skip


@pytest.mark.parametrize("fast", [True, False], ids=["planes", "libvips"])
async def test_baseline_is_made_where_it_is_ordered(make_engine: MakeEngine, blobs: Blobs, put: Put, *, fast: bool) -> None:
    order = tuple(
        Rendition(name=name, key=f"out/{name}", width=200, height=200, progressive=name == "progressive")
        for name in ("progressive", "baseline")
    )
    source = await put(encoded(photograph(320, 240), "JPEG"))
    await make_engine(fast_jpeg=fast).render(source=source, renditions=order)
    found = [Image.open(io.BytesIO(await blobs.get(rendition.key))).info.get("progressive", 0) for rendition in order]
    assert found == [1, 0]


async def test_its_files_are_no_larger_than_baseline_ones(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    source = await put(encoded(photograph(1280, 960), "JPEG", quality=92))
    for quality in (60, 75, 90):
        progressive, baseline = await both(engine, blobs, source, quality)
        assert len(progressive) < 1.03 * len(baseline), quality


def test_workers_step_back_unless_told_otherwise() -> None:
    assert ImagesSettings().niceness > 0
