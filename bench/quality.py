"""How near a picture comes to a reference: PSNR and SSIM of the luma."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Plane", "luma", "psnr", "ssim"]

Plane = NDArray[np.float64]


def luma(picture: Image.Image) -> Plane:
    """The brightness of each pixel (BT.601), 0 to 255."""
    plane: Plane = np.asarray(picture.convert("RGB"), dtype=np.float64) @ np.array([0.299, 0.587, 0.114])
    return plane


def psnr(one: Plane, other: Plane) -> float:
    """The peak signal to noise ratio in dB."""
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean((one - other) ** 2)))))


def ssim(one: Plane, other: Plane) -> float:
    """The mean structural similarity over windows of 8 x 8."""

    def windows(plane: Plane) -> Plane:
        height, width = (side // 8 * 8 for side in plane.shape)
        return plane[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 64)

    a, b = windows(one), windows(other)
    mean_a, mean_b = a.mean(axis=1), b.mean(axis=1)
    covariance = ((a - mean_a[:, None]) * (b - mean_b[:, None])).mean(axis=1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (a.var(axis=1) + b.var(axis=1) + c2))))
