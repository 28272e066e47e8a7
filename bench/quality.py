"""How near a picture comes to a reference: PSNR and SSIM of the luma."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trenza.chassis.testing.likeness import ssim

__all__ = ["Plane", "luma", "psnr", "ssim"]

Plane = NDArray[np.float64]


def luma(picture: Image.Image) -> Plane:
    """The brightness of each pixel (BT.601), 0 to 255."""
    plane: Plane = np.asarray(picture.convert("RGB"), dtype=np.float64) @ np.array([0.299, 0.587, 0.114])
    return plane


def psnr(one: Plane, other: Plane) -> float:
    """The peak signal to noise ratio in dB."""
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean((one - other) ** 2)))))
