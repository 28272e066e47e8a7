"""How like two pictures are: the usual figures, over planes of floating-point samples from 0 to 255."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Plane", "ssim"]

Plane = npt.NDArray[np.float64]


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
