"""Opens images with libvips: JPEG, PNG, WebP, TIFF, GIF and AVIF, decoded in strips and shrunk while loading where possible."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import pyvips

from trenza.services.images.decoding.metadata import read_exif, read_tiff_tags
from trenza.services.images.decoding.source import Damaged, Source

__all__ = ["open_with_vips", "prepare_libvips", "scale_memory"]

_LOADERS: Final = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "webp": "VipsForeignLoadWebp",
    "tiff": "VipsForeignLoadTiff",
    "gif": "VipsForeignLoadNsgif",
    "avif": "VipsForeignLoadHeif",
}
_ROTATED_BY_90 = frozenset({5, 6, 7, 8})
_STRICTNESS: Final = "error"
"""Errors in the data and truncation are refused; what decoders merely warn of (stray bytes, wrong tags) is not."""
_LOST_PIXELS: Final = "Corrupt JPEG data"
_HARMLESS: Final = "extraneous bytes"
"""libjpeg begins every warning of bad data with the first; with the second it only tells of stray bytes between segments."""


def prepare_libvips() -> None:
    """Set libvips up for a worker.

    It may read these six formats and no other: some that it knows were never meant for strangers' files. It keeps no results:
    its cache goes by file name, and another image may come under the same name.
    """
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(state=True)
    pyvips.operation_block_set("VipsForeignLoad", state=True)
    for loader in _LOADERS.values():
        pyvips.operation_block_set(loader, state=False)


def open_with_vips(path: str, image_format: str) -> Source:
    """Read the header; raises `Damaged`."""
    try:
        header = pyvips.Image.new_from_file(path, access="sequential", fail_on=_STRICTNESS)
    except pyvips.Error as error:
        raise Damaged(str(error)) from error
    width, height = header.width, header.height
    if _field(header, "orientation") in _ROTATED_BY_90:
        width, height = height, width

    def scale(to_width: int, to_height: int) -> pyvips.Image:
        if header.interpretation == "cmyk":
            return _whole(lambda: _scale_inks(path, to_width, to_height))
        return _whole(
            lambda: pyvips.Image.thumbnail(path, to_width, height=to_height, size="force", fail_on=_STRICTNESS).copy_memory()
        )

    # libvips gives no EXIF block for TIFF, whose own directories hold it.
    taken = read_tiff_tags(path) if image_format == "tiff" else read_exif(_field(header, "exif-data") or b"")
    return Source(width, height, taken, scale=scale)


def _whole(decode: Callable[[], pyvips.Image]) -> pyvips.Image:
    """What ``decode`` computes; raises `Damaged` when libjpeg had to make pixels up.

    libjpeg only warns of that, and libvips keeps the warning (the first of each decode) among its errors. Its own strictest mode
    would refuse stray bytes as well, and misses what is lost in the last rows.
    """
    pyvips.Error("")  # takes what earlier images left, so that it is not held against this one
    pixels = decode()
    for warning in str(pyvips.Error("")).splitlines():
        if _LOST_PIXELS in warning and _HARMLESS not in warning:
            raise Damaged(warning)
    return pixels


def _scale_inks(path: str, to_width: int, to_height: int) -> pyvips.Image:
    """Scale a CMYK image as CMYK.

    libvips' thumbnail would convert it first, which takes several times as long, and (8.18, cache off) leaves a colour profile
    behind that crashes whoever reads it.
    """
    inks = pyvips.Image.new_from_file(path, access="sequential", fail_on=_STRICTNESS)
    if _field(inks, "orientation") in _ROTATED_BY_90:
        to_width, to_height = to_height, to_width
    return inks.resize(to_width / inks.width, vscale=to_height / inks.height).copy_memory().autorot()


def scale_memory(pixels: pyvips.Image, to_width: int, to_height: int) -> pyvips.Image:
    """Scale an upright image that is in memory, alpha weighted."""
    if (pixels.width, pixels.height) == (to_width, to_height):
        return pixels
    return pixels.thumbnail_image(to_width, height=to_height, size="force", no_rotate=True)


def _field(image: pyvips.Image, name: str) -> Any:
    """A metadata field, or None where the file has none or a broken one."""
    with contextlib.suppress(pyvips.Error):
        if image.get_typeof(name):
            return image.get(name)
    return None
