"""Judges an image by its header: accepted or not, and why."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

from trenza.chassis.blobs import BlobMissing, Blobs
from trenza.services.images.contract import ImageInfo, ImageTooLarge, InvalidDimensions, InvalidImageFormat, SourceMissing
from trenza.services.images.headers import FORMATS, Header, HeaderError, read_file_header, read_header_async
from trenza.services.images.settings import ImagesSettings

__all__ = ["inspect_blob", "inspect_file", "judge_size"]

_DECODERS = {"heic": "pi_heif", "bmp": "PIL"}
"""Formats whose decoder is a package of its own; all others are libvips' work."""


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
    """Judge a local file; blocks for as long as a few reads take. Raises as `inspect_blob`, or FileNotFoundError."""
    _judge_bytes(path.stat().st_size, settings)
    try:
        header, size = read_file_header(path)
    except HeaderError as error:
        raise _unreadable(error, settings) from None
    return _judge(header, size, settings)


def _judge(header: Header, size: int, settings: ImagesSettings) -> ImageInfo:
    """The image's description, or the refusal of its format or size."""
    image_format = FORMATS[header.format]
    if header.format not in settings.formats:
        raise InvalidImageFormat(f"The file is a {image_format.name} image. {_accepted(settings)}", field="file")
    if (package := _DECODERS.get(header.format)) and importlib.util.find_spec(package) is None:
        raise InvalidImageFormat(
            f"The file is a {image_format.name} image, and its decoder is not installed here.",
            field="file",
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
        raise InvalidDimensions(f"The image is {shape} pixels: a side of zero leaves nothing to show.", field="file")
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
    return InvalidImageFormat(f"The file cannot be used: {error}. {_accepted(settings)}", field="file")


def _accepted(settings: ImagesSettings) -> str:
    """The sentence that names the accepted formats."""
    names = [FORMATS[name].name for name in settings.formats]
    return f"Accepted are {', '.join(names[:-1])} and {names[-1]}." if len(names) > 1 else f"Accepted is {names[0]} only."


def _missing(key: str) -> SourceMissing:
    return SourceMissing(f"No object is stored under {key!r}.", field="source")
