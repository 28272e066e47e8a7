"""Judges an image by its header: accepted or not, and why."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

from trenza.chassis.blobs import BlobMissing, Blobs
from trenza.services.images.contract import ImageInfo, ImageTooLarge, InvalidDimensions, InvalidImageFormat, SourceMissing
from trenza.services.images.headers import FORMATS, Header, HeaderError, count_scans, read_file_header, read_header_async
from trenza.services.images.settings import ImagesSettings

__all__ = ["accepted_formats", "inspect_blob", "inspect_file", "judge_size"]

_DECODERS = {"heic": "pi_heif", "bmp": "PIL"}
"""Formats whose decoder is a package of its own; all others are libvips' work."""
_FORMAT_REMEDY = "send one of these formats"
_MOST_SCANS = 100
"""Honest progressive JPEGs have 3 to 16 scans."""
_MOST_SCANNED_PIXELS = 2_000_000_000
"""Scans times pixels: 20 scans of 100 megapixels. Decoding takes about half a second for each thousand million."""


async def inspect_blob(blobs: Blobs, key: str, settings: ImagesSettings) -> ImageInfo:
    """Judge the object under a key, reading a few blocks of it where it lies.

    Raises `SourceMissing`, `InvalidImageFormat`, `ImageTooLarge` or `InvalidDimensions`.
    """
    if (path := blobs.local_path(key)) is not None:
        try:
            return await asyncio.to_thread(inspect_file, path, settings)
        except FileNotFoundError:
            raise _missing(key) from None
    stat = await blobs.stat(key)
    if stat is None:
        raise _missing(key)
    _judge_bytes(stat.size, settings)

    async def read(start: int, length: int) -> bytes:
        return await blobs.read_range(key, start, length)

    try:
        header = await read_header_async(read, stat.size)
    except BlobMissing:
        raise _missing(key) from None
    except HeaderError as error:
        raise _unreadable(error, settings) from None
    return _judge(header, stat.size, settings)


def inspect_file(path: Path, settings: ImagesSettings) -> ImageInfo:
    """Judge a local file; blocks for as long as a few reads take, or one pass over a progressive JPEG.

    Raises as `inspect_blob`, or FileNotFoundError. The passes that a JPEG asks for are judged here only, where the whole file is
    at hand: nothing is rendered but by way of this.
    """
    _judge_bytes(path.stat().st_size, settings)
    try:
        header, size = read_file_header(path)
        info = _judge(header, size, settings)
        if header.format == "jpeg":
            _judge_scans(path, header)
    except HeaderError as error:
        raise _unreadable(error, settings) from None
    return info


def _judge(header: Header, size: int, settings: ImagesSettings) -> ImageInfo:
    """The image's description, or the refusal of its format or size."""
    image_format = FORMATS[header.format]
    if header.format not in settings.formats:
        raise InvalidImageFormat(
            f"The file is a {image_format.name} image. {_accepted(settings)}",
            field="file",
            limit=accepted_formats(settings),
            remedy=_FORMAT_REMEDY,
        )
    if (package := _DECODERS.get(header.format)) and importlib.util.find_spec(package) is None:
        raise InvalidImageFormat(
            f"The file is a {image_format.name} image, and its decoder is not installed here.",
            field="file",
            limit=accepted_formats(settings),
            remedy="install it with: pip install 'trenza[images]'",
        )
    judge_size(header.width, header.height, settings)
    return ImageInfo(
        media_type=image_format.media_type,
        width=header.width,
        height=header.height,
        bytes=size,
        extension=image_format.extension,
    )


def judge_size(width: int, height: int, settings: ImagesSettings) -> None:
    """Refuse a size in pixels: `InvalidDimensions` for a zero side, `ImageTooLarge` over either limit."""
    shape = f"{width:,} x {height:,}"
    if width < 1 or height < 1:
        raise InvalidDimensions(
            f"The image is {shape} pixels: a side of zero leaves nothing to show.",
            field="file",
            limit=1,
            unit="pixels a side",
            remedy="send an image that has pixels",
        )
    if max(width, height) > settings.max_side:
        raise ImageTooLarge(
            f"The image is {shape} pixels; a side may have {settings.max_side:,} at most.",
            field="file",
            limit=settings.max_side,
            unit="pixels a side",
            remedy="scale it down and send it again",
        )
    if width * height > settings.max_pixels:
        raise ImageTooLarge(
            f"The image is {shape} = {width * height:,} pixels; {settings.max_pixels:,} are accepted at most.",
            field="file",
            limit=settings.max_pixels,
            unit="pixels",
            remedy="scale it down and send it again",
        )


def _judge_scans(path: Path, header: Header) -> None:
    """Refuse a JPEG that makes the decoder go over its pixels more often than any honest one: each scan costs a pass."""
    most = min(_MOST_SCANS, _MOST_SCANNED_PIXELS // (header.width * header.height))
    if count_scans(path, most) > most:
        raise ImageTooLarge(
            f"The image is sent in more than {most} scans, the most for {header.width:,} x {header.height:,} pixels.",
            field="file",
            limit=most,
            unit="scans",
            remedy="save it as a baseline JPEG, and send it again",
        )


def _judge_bytes(size: int, settings: ImagesSettings) -> None:
    """Refuse a source by its length."""
    if size > settings.max_bytes:
        raise ImageTooLarge(
            f"The file is {size:,} bytes long; {settings.max_bytes:,} are accepted at most.",
            field="file",
            limit=settings.max_bytes,
            unit="bytes",
            remedy="compress it or scale it down, and send it again",
        )


def _unreadable(error: HeaderError, settings: ImagesSettings) -> InvalidImageFormat:
    """The refusal of a file whose header says nothing usable."""
    return InvalidImageFormat(
        f"The file cannot be used: {error}. {_accepted(settings)}",
        field="file",
        limit=accepted_formats(settings),
        remedy=_FORMAT_REMEDY,
    )


def accepted_formats(settings: ImagesSettings) -> str:
    """The names of the accepted formats."""
    return ", ".join(FORMATS[name].name for name in settings.formats)


def _accepted(settings: ImagesSettings) -> str:
    """The sentence that names the accepted formats."""
    names = [FORMATS[name].name for name in settings.formats]
    return f"Accepted are {', '.join(names[:-1])} and {names[-1]}." if len(names) > 1 else f"Accepted is {names[0]} only."


def _missing(key: str) -> SourceMissing:
    return SourceMissing(f"No object is stored under {key!r}.", field="source")
