"""Ordinary JPEGs are rendered over their planes as libvips renders them; everything else, and all that is damaged, by libvips."""

from __future__ import annotations

import io
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from structlog.testing import capture_logs

from trenza.chassis.blobs import Blobs
from trenza.chassis.contract import ContractError
from trenza.chassis.telemetry.metrics import registry
from trenza.chassis.testing.likeness import ssim
from trenza.chassis.testing.pictures import camera_exif, encoded, photograph, stored_as
from trenza.services.images.contract import Images, Rendered, Rendition
from trenza.services.images.service import ImageEngine

Put = Callable[[bytes], Awaitable[str]]
MakeEngine = Callable[..., ImageEngine]
Plane = NDArray[np.float64]

LOSS_DB, LOSS_SSIM = 0.3, 0.003
ORDER = (
    Rendition(name="large", key="out/large.jpg", width=700, height=700, quality=82),
    Rendition(name="small", key="out/small.jpg", width=333, height=333, quality=75),
    Rendition(name="thumbnail", key="out/thumbnail.jpg", width=121, height=121, fit="cover", quality=75),
)
SMALL = ORDER[1:2]
PHOTO = photograph(1201, 899)
SMALL_PHOTO = photograph(403, 301)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3: bytes = pyvips.Operation.call("profile_load", "p3")


def vips_jpeg(picture: Image.Image, **options: object) -> bytes:
    image = pyvips.Image.new_from_memory(picture.tobytes(), *picture.size, 3, "uchar").copy(interpretation="srgb")
    data: bytes = image.jpegsave_buffer(**options)
    return data


def turned(picture: Image.Image, orientation: int) -> bytes:
    return encoded(stored_as(picture, orientation), "JPEG", quality=92, exif=camera_exif(orientation=orientation))


def with_adobe(data: bytes, transform: int) -> bytes:
    """An Adobe marker in place of the JFIF one, which would overrule it."""
    jfif = 4 + int.from_bytes(data[4:6], "big")
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + data[jfif:]


def four_four_zero() -> bytes:
    """4:4:0, which Pillow cannot write: a 4:2:2 file whose pairs of blocks are declared to stand above each other."""
    data = bytearray(encoded(photograph(1280, 608), "JPEG", quality=92, subsampling=1))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (2 * 608).to_bytes(2, "big") + (1280 // 2).to_bytes(2, "big")
    data[frame + 11] = 0x12
    return bytes(data)


FAST: dict[str, bytes] = {
    "4:2:0": encoded(PHOTO, "JPEG", quality=92),
    "4:2:2": encoded(PHOTO, "JPEG", quality=92, subsampling=1),
    "4:4:0": four_four_zero(),
    "4:4:4": encoded(PHOTO, "JPEG", quality=92, subsampling=0),
    "progressive": encoded(PHOTO, "JPEG", quality=92, progressive=True),
    "restart markers": vips_jpeg(PHOTO, Q=92, restart_interval=3),
    "grey": encoded(PHOTO.convert("L"), "JPEG", quality=92),
    "sRGB profile": encoded(PHOTO, "JPEG", quality=92, icc_profile=SRGB),
    "Adobe YCbCr": with_adobe(encoded(PHOTO, "JPEG", quality=92), 1),
    "halved while decoding": encoded(photograph(2003, 1499), "JPEG", quality=92),
    "trailing bytes": encoded(PHOTO, "JPEG", quality=92) + b"a video" * 1000,
    **{f"orientation {n}": turned(PHOTO, n) for n in range(1, 9)},
    **{f"odd, orientation {n}": turned(photograph(397, 611), n) for n in range(1, 9)},
    "wide": encoded(photograph(1201, 19), "JPEG", quality=92),
    "high, 4:4:4": encoded(photograph(16, 901), "JPEG", quality=92, subsampling=0),
    "16 x 16": encoded(photograph(16, 16), "JPEG", quality=92),
}
SLOW: dict[str, bytes] = {
    "P3 profile": encoded(SMALL_PHOTO, "JPEG", icc_profile=P3),
    "Adobe RGB": with_adobe(encoded(SMALL_PHOTO, "JPEG", keep_rgb=True), 0),
    "CMYK": encoded(SMALL_PHOTO.convert("CMYK"), "JPEG"),
    "15 pixels": encoded(photograph(400, 15), "JPEG"),
    "PNG": encoded(SMALL_PHOTO, "PNG"),
    "odd EXIF": encoded(SMALL_PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
    "orientation 9": encoded(SMALL_PHOTO, "JPEG", exif=camera_exif(orientation=9)),
}


def segment(data: bytes, marker: int) -> tuple[int, int]:
    """Where a marker's payload begins and ends."""
    at = data.index(bytes([0xFF, marker])) + 2
    return at + 2, at + int.from_bytes(data[at : at + 2], "big")


def without_quantisation(data: bytes) -> bytes:
    while b"\xff\xdb" in data:
        start, end = segment(data, 0xDB)
        data = data[: start - 4] + data[end:]
    return data


def with_impossible_codes(data: bytes) -> bytes:
    start, _ = segment(data, 0xC4)
    return data[: start + 1] + b"\xff" * 16 + data[start + 17 :]


def with_wrong_table(data: bytes) -> bytes:
    start, _ = segment(data, 0xDA)
    return data[: start + 2] + b"\x33" + data[start + 3 :]


FATAL = {
    "no quantisation tables": without_quantisation(encoded(SMALL_PHOTO, "JPEG")),
    "impossible codes": with_impossible_codes(encoded(SMALL_PHOTO, "JPEG")),
    "a table that is not there": with_wrong_table(encoded(SMALL_PHOTO, "JPEG")),
}


def total(name: str, **labels: str) -> float:
    return registry().get_sample_value(name, labels) or 0


def luma(picture: Image.Image) -> Plane:
    plane: Plane = np.asarray(picture.convert("L"), dtype=np.float64)
    return plane


def reference(data: bytes, rendition: Rendition) -> Image.Image:
    """Lanczos in floating point from the upright original."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    box = (rendition.width, rendition.height)
    scale = (max if rendition.fit == "cover" else min)(box[0] / upright.width, box[1] / upright.height)
    scale = min(1.0, scale)
    whole = max(1, int(upright.width * scale + 0.5)), max(1, int(upright.height * scale + 0.5))
    bands = [np.asarray(band.convert("F").resize(whole, Image.Resampling.LANCZOS)) for band in upright.split()]
    picture = Image.fromarray(np.dstack(bands).round().clip(0, 255).astype(np.uint8))
    cut = (min(box[0], whole[0]), min(box[1], whole[1])) if rendition.fit == "cover" else whole
    left, top = (whole[0] - cut[0]) // 2, (whole[1] - cut[1]) // 2
    return picture.crop((left, top, left + cut[0], top + cut[1]))


def psnr(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one.convert("RGB"), dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean(difference**2)))))


async def rendered_by(engine: ImageEngine, blobs: Blobs, source: str) -> tuple[str, Rendered, list[Image.Image]]:
    """The path that was taken, the result, and the renditions."""
    before = total("images_rendered_total", path="planes")
    result = await engine.render(source=source, renditions=ORDER)
    path = "planes" if total("images_rendered_total", path="planes") > before else "libvips"
    return path, result, [Image.open(io.BytesIO(await blobs.get(rendition.key))) for rendition in ORDER]


@pytest.mark.parametrize("kind", FAST)
async def test_both_paths_make_the_same_of_ordinary_jpegs(make_engine: MakeEngine, blobs: Blobs, put: Put, kind: str) -> None:
    source = await put(FAST[kind])
    path, fast, ours = await rendered_by(make_engine(), blobs, source)
    assert path == "planes"
    path, slow, theirs = await rendered_by(make_engine(fast_jpeg=False), blobs, source)
    assert path == "libvips"
    assert [image.model_dump(exclude={"bytes"}) for image in fast.renditions] == [
        image.model_dump(exclude={"bytes"}) for image in slow.renditions
    ]
    assert (fast.width, fast.height, fast.taken_at, fast.location) == (slow.width, slow.height, slow.taken_at, slow.location)
    for rendition, our, their in zip(ORDER, ours, theirs, strict=True):
        best = reference(FAST[kind], rendition)
        assert our.size == their.size == best.size
        assert psnr(our, best) > psnr(their, best) - LOSS_DB, rendition.name
        if min(best.size) >= 8:
            assert ssim(luma(our), luma(best)) > ssim(luma(their), luma(best)) - LOSS_SSIM, rendition.name


@pytest.mark.parametrize("kind", SLOW)
async def test_everything_else_is_left_to_libvips(engine: ImageEngine, blobs: Blobs, put: Put, kind: str) -> None:
    path, _, _ = await rendered_by(engine, blobs, await put(SLOW[kind]))
    assert path == "libvips"


async def verdict(engine: ImageEngine, source: str) -> str:
    try:
        await engine.render(source=source, renditions=SMALL)
    except ContractError as refusal:
        assert type(refusal) in Images.operations["render"].errors  # noqa: PT017 - rendered or refused, both are right
        return f"{type(refusal).__name__}: {refusal.detail}"
    return "rendered"


@pytest.mark.parametrize("kind", FATAL)
async def test_after_a_fatal_error_another_worker_lets_libvips_judge(make_engine: MakeEngine, put: Put, kind: str) -> None:
    engine = make_engine()
    await engine.workers.warm()
    (first,) = engine.workers.process_ids
    before = total("image_workers_given_up_total")
    source = await put(FATAL[kind])
    assert await verdict(engine, source) == await verdict(make_engine(fast_jpeg=False), source)
    assert total("image_workers_given_up_total") == before + 1
    assert first not in engine.workers.process_ids


async def test_what_libjpeg_warns_of_stays_in_its_process(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine()
    whole = encoded(SMALL_PHOTO, "JPEG")
    before = total("image_workers_given_up_total")
    source = await put(whole[: len(whole) * 2 // 3])
    assert await verdict(engine, source) == await verdict(make_engine(fast_jpeg=False), source) != "rendered"
    assert total("image_workers_given_up_total") == before


@pytest.mark.parametrize("seed", range(6))
async def test_mutated_jpegs_get_libvips_verdict(make_engine: MakeEngine, put: Put, seed: int) -> None:
    fast, slow = make_engine(), make_engine(fast_jpeg=False)
    source = random.Random(f"mutated {seed}")  # noqa: S311 - the same damage every time
    for progressive in (False, True):
        sound = encoded(SMALL_PHOTO, "JPEG", progressive=progressive)
        for _ in range(10):
            data = bytearray(sound[: source.randrange(len(sound))] if source.random() < 0.2 else sound)
            reach = len(data) if source.random() < 0.5 else min(700, len(data))
            for _ in range(source.randrange(1, 8)):
                data[source.randrange(2, max(3, reach))] = source.randrange(256)
            key = await put(bytes(data))
            assert await verdict(fast, key) == await verdict(slow, key)


RESIZERS = {
    "missing": ("raise ImportError('not here')", "ImportError: not here"),
    "unloadable": ("raise OSError('no such library')", "OSError: no such library"),
    "crashing": (
        "import os\nclass Resizer:\n def __init__(self): os.abort()",
        "the trial of libjpeg and the resizer ended with -6",
    ),
    "idle": ("class Resizer:\n def resize_pil(self, *_): pass", "the trial of libjpeg and the resizer ended with 1"),
}
NAMES = """
class Anything:
    catmull_rom = lanczos3 = 5
    def __init__(self, *_, **__): pass
    convolution = staticmethod(lambda _: None)
CropBox = FilterType = ResizeAlg = ResizeOptions = Anything
"""


@pytest.mark.parametrize("resizer", RESIZERS)
async def test_without_its_libraries_libvips_does_all_the_work(
    make_engine: MakeEngine, put: Put, resizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cykooz_resizer.py").write_text(RESIZERS[resizer][0] + "\n" + NAMES)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = total("images_rendered_total", path="libvips")
    engine = make_engine(images_per_worker=1)
    source = await put(FAST["4:2:0"])
    with capture_logs() as logs:
        for _ in range(2):
            assert (await engine.render(source=source, renditions=SMALL)).thumbhash
    assert total("images_rendered_total", path="libvips") == before + 2
    told = [log["reason"] for log in logs if log["event"] == "JPEGs are rendered without the fast path"]
    assert told == [RESIZERS[resizer][1]], "said once, though two workers found it"
