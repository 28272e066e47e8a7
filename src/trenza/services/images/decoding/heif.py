"""Opens HEIC images with libheif and libde265, through pi-heif."""

from __future__ import annotations

import pi_heif
import pyvips

from trenza.services.images.decoding.metadata import read_exif
from trenza.services.images.decoding.source import Damaged, Source
from trenza.services.images.decoding.vips import scale_memory

__all__ = ["open_with_heif"]

_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, IndexError)
"""What pi-heif raises on broken files."""
_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def open_with_heif(path: str) -> Source:
    """Read the header; raises `Damaged`. libheif applies the orientation by itself and decodes the image whole."""
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    try:
        image = pi_heif.open_heif(path, convert_hdr_to_8bit=True)
        width, height = image.size
        bands = _BANDS[image.mode]
        profile, exif = image.info.get("icc_profile"), image.info.get("exif")
    except (*_ERRORS, KeyError) as error:
        raise Damaged(str(error)) from error

    def scale(to_width: int, to_height: int) -> pyvips.Image:
        try:
            data, stride = bytes(image.data), image.stride
        except _ERRORS as error:
            raise Damaged(str(error)) from error
        # Rows may be padded: take them as wide as they are stored, then cut.
        stored = pyvips.Image.new_from_memory(data, stride // bands, image.size[1], bands, "uchar")
        pixels = stored.crop(0, 0, *image.size).copy(interpretation="b-w" if bands < 3 else "srgb")  # noqa: PLR2004 - grey, alpha
        if profile:
            pixels = pixels.copy()
            pixels.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        return scale_memory(pixels, to_width, to_height)

    return Source(width, height, read_exif(exif or b""), scale=scale)
