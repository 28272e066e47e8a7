"""What stands in for an image until it has loaded: its ThumbHash and its dominant colour, both from a few pixels in YCbCr."""

from __future__ import annotations

import base64
import functools
import math
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["SIDE", "Pixels", "dominant_colour", "thumbhash"]

SIDE: Final = 32
"""Pixels of the longer side: the few waves that a ThumbHash keeps need no more."""
_MIDDLE: Final = 128
_LIGHT, _YELLOW, _GREEN = (0.475955, 0.229288), (-1.944068, 0.343932), (0.344136, 2.116136)
"""Brightness less luma, yellow-blue and red-green, from blue and red differences: thumbhash's axes by JFIF's conversion."""


class Pixels(NamedTuple):
    """A small image in YCbCr (JFIF): three planes of ``width`` x ``height`` samples, row by row."""

    width: int
    height: int
    luma: bytes
    blue: bytes
    red: bytes


def thumbhash(pixels: Pixels) -> str:
    """The ThumbHash of an opaque image, in base64 (the format of evanw/thumbhash)."""
    across, down = (max(1, _rounded(7 * side / max(pixels.width, pixels.height))) for side in (pixels.width, pixels.height))
    light = [luma + _LIGHT[0] * blue + _LIGHT[1] * red for luma, blue, red in zip(*pixels[2:], strict=True)]
    colours = [_waves(plane, pixels, 3, 3) for plane in pixels[3:]]
    channels = [_waves(light, pixels, max(3, across), max(3, down)), _mixed(colours, _YELLOW), _mixed(colours, _GREEN)]
    channels[0][0] -= sum(_LIGHT) * _MIDDLE
    scales, levels = list[float](), list[int]()
    for _, *waves in channels:
        scale = max((abs(wave) for wave in waves), default=0.0)
        scales.append(scale / 255)
        levels += [_level(0.5 + 0.5 * wave / scale if scale else 0.5, 15) for wave in waves]
    lightness, yellow, green = (channel[0] / 255 for channel in channels)
    landscape = pixels.width > pixels.height
    head = (
        _level(lightness, 63)
        | _level(0.5 + 0.5 * yellow, 63) << 6
        | _level(0.5 + 0.5 * green, 63) << 12
        | _level(scales[0], 31) << 18
    )
    tail = (down if landscape else across) | _level(scales[1], 63) << 3 | _level(scales[2], 63) << 9 | landscape << 15
    levels += [0] * (len(levels) % 2)
    packed = bytes(low | high << 4 for low, high in zip(levels[::2], levels[1::2], strict=True))
    return base64.b64encode(head.to_bytes(3, "little") + tail.to_bytes(2, "little") + packed).decode()


def dominant_colour(pixels: Pixels) -> str:
    """The colour that covers most, as ``#rrggbb``: the mean of the fullest of 16 x 8 x 8 parts of YCbCr."""
    triples = list(zip(pixels.luma, pixels.blue, pixels.red, strict=True))
    (fullest, count), *_ = Counter((y >> 4, b >> 5, r >> 5) for y, b, r in triples).most_common(1)
    inside = [(y, b, r) for y, b, r in triples if (y >> 4, b >> 5, r >> 5) == fullest]
    y, b, r = (sum(part) / count for part in zip(*inside, strict=True))
    b, r = b - _MIDDLE, r - _MIDDLE
    parts = y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b
    return "#" + "".join(f"{max(0, min(255, round(part))):02x}" for part in parts)


def _mixed(colours: Sequence[list[float]], weights: tuple[float, float]) -> list[float]:
    """The waves of one of thumbhash's axes of colour, from those of the blue and red differences."""
    waves = [weights[0] * blue + weights[1] * red for blue, red in zip(*colours, strict=True)]
    waves[0] -= sum(weights) * _MIDDLE
    return waves


def _rounded(value: float) -> int:
    """Half up, as JavaScript rounds."""
    return math.floor(value + 0.5)


def _level(share: float, steps: int) -> int:
    return _rounded(steps * min(1.0, max(0.0, share)))


def _waves(plane: Sequence[float], size: Pixels, keep_x: int, keep_y: int) -> list[float]:
    """The lowest cosine waves of a plane: the mean, then row by row those below the diagonal."""
    width, height = size.width, size.height
    across = _cosines(width, keep_x)
    rows = [plane[at : at + width] for at in range(0, width * height, width)]
    flat = [[_dot(row, wave) for row in rows] for wave in across]
    found = list[float]()
    for wave_y, down in enumerate(_cosines(height, keep_y)):
        wave_x = 0
        while wave_x * keep_y < keep_x * (keep_y - wave_y):
            found.append(_dot(down, flat[wave_x]) / (width * height))
            wave_x += 1
    return found


@functools.lru_cache(maxsize=64)
def _cosines(length: int, waves: int) -> list[list[float]]:
    """The lowest waves at the middles of so many samples. Nearly all photographs share a few shapes."""
    return [[math.cos(math.pi / length * wave * (at + 0.5)) for at in range(length)] for wave in range(waves)]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    total: float = sum(map(operator.mul, left, right))
    return total
