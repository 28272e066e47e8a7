"""Small test pictures whose corners tell how they were turned, in any format, with or without a camera's metadata."""

from __future__ import annotations

import io
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # Pillow comes with the extra `images`; whoever tests something else does without
    from PIL.Image import Exif, Image

__all__ = ["CORNERS", "animation", "camera_exif", "corners_of", "encoded", "marked", "phone_photo", "photograph", "stored_as"]

CORNERS: Final = {
    "top left": (200, 40, 40),
    "top right": (40, 160, 60),
    "bottom left": (40, 70, 200),
    "bottom right": (220, 200, 60),
}
"""The colours of the quarters of `marked`, as seen upright."""


def marked(width: int, height: int) -> Image:
    """An RGB picture of four plain quarters in the colours of `CORNERS`."""
    from PIL import Image  # noqa: PLC0415 - see above

    picture = Image.new("RGB", (width, height))
    for name, colour in CORNERS.items():
        left, top = width // 2 if name.endswith("right") else 0, height // 2 if name.startswith("bottom") else 0
        picture.paste(colour, (left, top, width if left else max(1, width // 2), height if top else max(1, height // 2)))
    return picture


def corners_of(data: bytes, *, tolerance: int = 24) -> dict[str, str]:
    """Which colour of `CORNERS` stands in which corner of an encoded picture, by name; ``other`` for none of them.

    ``tolerance`` is the largest difference per channel. The file's orientation tag is not applied.
    """
    from PIL import Image  # noqa: PLC0415 - see above

    picture = Image.open(io.BytesIO(data)).convert("RGB")
    seen = {}
    for name in CORNERS:
        x = picture.width * (7 if name.endswith("right") else 1) // 8
        y = picture.height * (7 if name.startswith("bottom") else 1) // 8
        pixel: Any = picture.getpixel((x, y))
        seen[name] = next(
            (
                known
                for known, colour in CORNERS.items()
                if max(abs(a - b) for a, b in zip(colour, pixel, strict=True)) <= tolerance
            ),
            "other",
        )
    return seen


def photograph(width: int, height: int, *, seed: int = 1) -> Image:
    """An RGB picture with the smooth shapes, edges and grain of a photograph; the same for the same seed."""
    import random  # noqa: PLC0415 - beside its only use

    from PIL import Image, ImageChops  # noqa: PLC0415 - see above

    source = random.Random(seed)  # noqa: S311 - a picture, not a secret
    coarse_size = (max(2, width // 60), max(2, height // 60))
    coarse = Image.frombytes("RGB", coarse_size, source.randbytes(coarse_size[0] * coarse_size[1] * 3))
    smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
    edges = coarse.transpose(Image.Transpose.ROTATE_180).resize((width, height), Image.Resampling.NEAREST)
    tile = Image.frombytes("L", (256, 256), source.randbytes(256 * 256)).point(lambda value: value // 16)
    grain = Image.new("L", (width, height))
    for left in range(0, width, 256):
        for top in range(0, height, 256):
            grain.paste(tile, (left, top))
    return ImageChops.add(Image.blend(smooth, edges, 0.25), Image.merge("RGB", (grain, grain, grain)))


def encoded(picture: Image, image_format: str, **options: Any) -> bytes:
    """A picture as a file, by Pillow's name of the format (``JPEG``, ``PNG``, …) and its options."""
    file = io.BytesIO()
    picture.save(file, image_format, **options)
    return file.getvalue()


def animation(width: int, height: int, image_format: str) -> bytes:
    """Three frames, of which the first is `marked`; ``image_format`` is GIF or WebP."""
    from PIL import Image  # noqa: PLC0415 - see above

    others = [Image.new("RGB", (width, height), colour) for colour in ("black", "white")]
    return encoded(marked(width, height), image_format, save_all=True, append_images=others, duration=100, loop=0)


def camera_exif(
    *,
    orientation: int = 1,
    taken_at: datetime | None = None,
    location: tuple[float, float] | None = None,
) -> Exif:
    """EXIF as a phone writes it. ``location`` is latitude and longitude in signed decimal degrees."""
    from PIL import ExifTags, Image  # noqa: PLC0415 - see above

    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Trenza"
    exif[ExifTags.Base.Model] = "Test Phone"
    exif[ExifTags.Base.Orientation] = orientation
    if taken_at is not None:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        details[ExifTags.Base.DateTimeOriginal] = taken_at.strftime("%Y:%m:%d %H:%M:%S")
        if taken_at.tzinfo is not None:
            details[ExifTags.Base.OffsetTimeOriginal] = taken_at.isoformat()[-6:]
    if location is not None:
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        for value, letters, tag in zip(location, ("NS", "EW"), (1, 3), strict=True):
            gps[tag] = letters[value < 0]
            gps[tag + 1] = _degrees_minutes_seconds(abs(value))
    return exif


def _degrees_minutes_seconds(value: float) -> tuple[float, float, float]:
    minutes, seconds = divmod(value * 3600, 60)
    return float(minutes // 60), float(minutes % 60), seconds


def stored_as(upright: Image, orientation: int) -> Image:
    """The pixels as a camera stores them whose EXIF orientation (1 to 8) then turns them upright."""
    from PIL.Image import Transpose  # noqa: PLC0415 - see above

    # The inverse of what each value tells a viewer to do (EXIF 3.0, 4.6.5.1.5).
    undo = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }
    return upright.transpose(undo[orientation]) if orientation in undo else upright


def phone_photo(
    width: int = 1200,
    height: int = 900,
    *,
    orientation: int = 6,
    taken_at: datetime | None = None,
    location: tuple[float, float] | None = None,
) -> bytes:
    """A JPEG as a phone takes it: `marked` when upright, ``width`` x ``height`` upright, stored turned, with EXIF and XMP."""
    stored = stored_as(marked(width, height), orientation)
    exif = camera_exif(orientation=orientation, taken_at=taken_at, location=location)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
    return encoded(stored, "JPEG", quality=90, exif=exif, xmp=xmp, comment=b"taken by a test")
