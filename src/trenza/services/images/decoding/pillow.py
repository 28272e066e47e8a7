"""Opens with Pillow what libvips cannot: BMP, and TIFF in 8-bit Lab."""

from __future__ import annotations

import pyvips
from PIL import Image, ImageCms

from trenza.services.images.decoding.metadata import Taken, read_tiff_tags
from trenza.services.images.decoding.source import Damaged, Source
from trenza.services.images.decoding.vips import scale_memory

__all__ = ["open_with_pillow"]

_ERRORS = (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError)
"""What Pillow's parsers raise on broken files; only OSError and SyntaxError are by design."""


def open_with_pillow(path: str, image_format: str) -> Source:
    """Read the header; raises `Damaged`. The pixels are decoded whole: Pillow cannot stream them."""
    # The size was judged by its header before, and is judged again by what this returns.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(path, formats=[image_format.upper()])
    except _ERRORS as error:
        raise Damaged(str(error)) from error

    def scale(to_width: int, to_height: int) -> pyvips.Image:
        try:
            decoded = _converted(image)
        except _ERRORS as error:
            raise Damaged(str(error)) from error
        bands = len(decoded.getbands())
        pixels = pyvips.Image.new_from_memory(decoded.tobytes(), decoded.width, decoded.height, bands, "uchar")
        return scale_memory(pixels.copy(interpretation="srgb"), to_width, to_height)

    return Source(image.width, image.height, read_tiff_tags(path) if image_format == "tiff" else Taken(), scale=scale)


def _converted(image: Image.Image) -> Image.Image:
    """The decoded pixels as RGB or RGBA. Pillow itself turns TIFF upright."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
        if converted is None:  # only when asked to work in place
            raise ValueError("the conversion from Lab gave nothing")
        return converted
    return image.convert("RGBA" if image.mode == "RGBA" else "RGB")
