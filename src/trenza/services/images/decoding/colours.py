"""Brings pixels of any colour space, depth and transparency to sRGB in three 8-bit bands on white."""

from __future__ import annotations

import pyvips

__all__ = ["is_srgb_profile", "to_srgb"]

_PROFILE = "icc-profile-data"
_WHITE = [255.0, 255.0, 255.0]
_BANDS = 3


def to_srgb(pixels: pyvips.Image) -> pyvips.Image:
    """Convert; the result is in memory.

    Computes the pixels once, so errors of a streamed decode surface here as pyvips.Error. An embedded profile is honoured; a
    broken one, or one that does not belong to this colour space, is ignored, as browsers do.
    """
    pixels = pixels.copy_memory()
    pixels = _by_profile(pixels)
    if pixels.interpretation != "srgb":
        pixels = pixels.colourspace("srgb")
    if pixels.hasalpha():
        pixels = pixels.flatten(background=_WHITE)
    if pixels.format != "uchar":
        pixels = pixels.cast("uchar")
    if pixels.bands > _BANDS:
        pixels = pixels.extract_band(0, n=_BANDS)
    elif pixels.bands < _BANDS:
        pixels = pixels.extract_band(0).bandjoin([pixels.extract_band(0)] * (_BANDS - 1))
    return pixels.copy_memory()


def _by_profile(pixels: pyvips.Image) -> pyvips.Image:
    """The pixels in sRGB where a profile other than sRGB is embedded or they are inks, else the same."""
    fallback = {}
    if pixels.interpretation == "cmyk":
        fallback = {"input_profile": "cmyk"}
    elif not pixels.get_typeof(_PROFILE) or is_srgb_profile(pixels.get(_PROFILE)):
        return pixels
    try:
        return pixels.icc_transform("srgb", embedded=True, intent="relative", depth=8, **fallback).copy_memory()
    except pyvips.Error:
        return pixels


def is_srgb_profile(profile: bytes) -> bool:
    """Whether an ICC profile describes itself as sRGB; then there is nothing to convert, which saves a fifth of the time.

    Reads the ``desc`` tag of the tag table (ICC.1:2022, 7.3 and 9.2.41), ASCII in version 2 and UTF-16 in version 4.
    """
    tags = int.from_bytes(profile[128:132], "big")
    for at in range(132, 132 + 12 * min(tags, 100), 12):
        if profile[at : at + 4] == b"desc":
            start, length = int.from_bytes(profile[at + 4 : at + 8], "big"), int.from_bytes(profile[at + 8 : at + 12], "big")
            description = profile[start : start + length].replace(b"\0", b"")
            return b"sRGB" in description and profile[16:20] == b"RGB "
    return False
