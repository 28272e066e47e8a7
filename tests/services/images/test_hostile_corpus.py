"""The corpus of hostile pictures: each has the outcome that is written beside it, within the limits of a small worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trenza.chassis.blobs import Blobs
from trenza.chassis.contract import ContractError
from trenza.chassis.testing.hostile_corpus import CORPUS, INVALID, RENDERED
from trenza.chassis.testing.picture_structures import structures_of
from trenza.chassis.testing.pictures import animation, encoded, phone_photo, photograph
from trenza.services.images.contract import Rendition
from trenza.services.images.service import ImageEngine

Put = Callable[[bytes], Awaitable[str]]
MakeEngine = Callable[..., ImageEngine]

SMALL = (Rendition(name="small", key="out/small.jpg", width=100, height=100),)
NOISY = photograph(120, 90)
SOUND = {
    "jpeg": phone_photo(160, 120, location=(3.45, -76.53)),
    "jpeg progressive": encoded(NOISY, "JPEG", progressive=True),
    "png": encoded(NOISY, "PNG"),
    "webp": encoded(NOISY, "WebP"),
    "webp animated": animation(160, 120, "WebP"),
    "tiff": encoded(NOISY, "TIFF", compression="tiff_lzw"),
    "bmp": encoded(NOISY, "BMP"),
    "gif": encoded(NOISY.convert("P"), "GIF"),
    "avif": encoded(NOISY, "AVIF"),
    "heic": (Path(__file__).parents[2] / "media" / "phone.heic").read_bytes(),
}


async def outcome(engine: ImageEngine, source: str) -> str:
    try:
        rendered = await engine.render(source=source, renditions=SMALL)
    except ContractError as refusal:
        if refusal.fields.keys() < {"field", "limit", "remedy"}:
            return f"{refusal.code}, without saying what helps"
        # Too large for the worker's memory means that it was decoded before it was found too large.
        return f"{refusal.code} of memory" if refusal.fields.get("unit") == "bytes of memory" else refusal.code
    assert len(rendered.renditions) == 1
    return RENDERED


@pytest.mark.parametrize("fast", [True, False])
async def test_each_has_its_outcome(make_engine: MakeEngine, blobs: Blobs, put: Put, *, fast: bool) -> None:
    # Half the memory and processor time of the defaults: what needs more is refused for that, and fails the test.
    engine = make_engine(memory_bytes=512 * 1024**2, processor_seconds=5, fast_jpeg=fast)
    names = [name for name in CORPUS if fast or "jpeg" in name or "exif" in name or "icc" in name]
    outcomes = {name: await outcome(engine, await put(CORPUS[name].make())) for name in names}
    assert outcomes == {name: CORPUS[name].outcome for name in names}
    spool = blobs.new_spool_file().parent
    assert list(spool.iterdir()) == []
    assert {stored.key async for stored in blobs.list("")} == {"in/source", "out/small.jpg"}


@pytest.mark.parametrize("kind", SOUND)
async def test_a_file_cut_at_any_of_its_structures_is_damaged(make_engine: MakeEngine, put: Put, kind: str) -> None:
    engine = make_engine(fast_jpeg=False)  # the fast path gives a damaged file, and its process, up: see test_refusals
    data = SOUND[kind]
    cuts = structures_of(data)
    assert len(cuts) >= 3
    outcomes = {at: await outcome(engine, await put(data[:at])) for at in cuts}
    # The end of a PNG is a chunk without content: who cuts there has all of the pixels.
    pixels_end = data.rindex(b"IEND") - 4 if kind == "png" else len(data)
    assert outcomes == {at: INVALID if at < pixels_end else RENDERED for at in cuts}
