"""How near the renditions come to a reference: Lanczos in floating point from the original, then the same JPEG coding."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trenza.chassis.blobs import Blobs
from trenza.chassis.testing.likeness import ssim
from trenza.chassis.testing.pictures import encoded, photograph
from trenza.services.images.contract import Rendition
from trenza.services.images.service import ImageEngine

Put = Callable[[bytes], Awaitable[str]]
Plane = NDArray[np.float64]

LOSS_DB = 0.15
_LUMA = np.array([0.299, 0.587, 0.114])


def luma(picture: Image.Image) -> Plane:
    plane: Plane = np.asarray(picture.convert("RGB"), dtype=np.float64) @ _LUMA
    return plane


def lanczos(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Each band scaled in floating point."""
    bands = [band.convert("F").resize(size, Image.Resampling.LANCZOS) for band in picture.split()]
    return Image.merge("RGB", [Image.fromarray(np.asarray(band).round().clip(0, 255).astype(np.uint8)) for band in bands])


def psnr(one: Plane, other: Plane) -> float:
    return float(10 * np.log10(255**2 / np.mean((one - other) ** 2)))


@pytest.mark.parametrize("box", [2048, 1280, 640])
async def test_renditions_are_as_good_as_the_reference(
    engine: ImageEngine, blobs: Blobs, put: Put, presets: tuple[Rendition, ...], box: int
) -> None:
    source = encoded(photograph(4000, 3000), "JPEG", quality=92)
    await engine.render(source=await put(source), renditions=presets)
    preset = next(preset for preset in presets if preset.width == box)
    rendition = Image.open(io.BytesIO(await blobs.get(preset.key)))
    reference = lanczos(Image.open(io.BytesIO(source)), rendition.size)
    coded = Image.open(io.BytesIO(encoded(reference, "JPEG", quality=preset.quality, subsampling=2)))
    ours, best = psnr(luma(rendition), luma(reference)), psnr(luma(coded), luma(reference))
    assert ours > best - LOSS_DB, f"{ours:.2f} dB; the reference itself, coded alike, has {best:.2f}"
    similar, most_similar = ssim(luma(rendition), luma(reference)), ssim(luma(coded), luma(reference))
    assert similar > most_similar - 0.002, f"{similar:.4f}; the reference itself, coded alike, has {most_similar:.4f}"
