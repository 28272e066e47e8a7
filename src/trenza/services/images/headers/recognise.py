"""Tells the format of a file by its content, and hands it to that format's parser."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trenza.services.images.headers import bmp, gif, isobmff, jpeg, png, tiff, webp
from trenza.services.images.headers.reading import Budget, Header, NotAnImage, Scan, drive, drive_async, peek

__all__ = ["FORMATS", "Format", "count_scans", "read_file_header", "read_header", "read_header_async"]

_HEAD = 512


@dataclass(frozen=True, slots=True)
class Format:
    """An image format: its name for people, media type and customary file name extension (without the dot)."""

    name: str
    media_type: str
    extension: str


FORMATS: Final[dict[str, Format]] = {
    "jpeg": Format("JPEG", "image/jpeg", "jpg"),
    "png": Format("PNG", "image/png", "png"),
    "webp": Format("WebP", "image/webp", "webp"),
    "tiff": Format("TIFF", "image/tiff", "tif"),
    "bmp": Format("BMP", "image/bmp", "bmp"),
    "gif": Format("GIF", "image/gif", "gif"),
    "heic": Format("HEIC", "image/heic", "heic"),
    "avif": Format("AVIF", "image/avif", "avif"),
}

# Patterns at the very start of a file, with the parser of what follows.
_PARSERS: Final[tuple[tuple[re.Pattern[bytes], Callable[[], Scan[Header]]], ...]] = (
    (re.compile(rb"\xff\xd8\xff"), jpeg.header),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), png.header),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), webp.header),
    (re.compile(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"), tiff.header),
    (re.compile(rb"GIF8[79]a"), gif.header),
    (re.compile(rb"....ftyp", re.DOTALL), isobmff.header),
    (re.compile(rb"BM"), bmp.header),  # last: two letters are easily met by chance
)

# What people do upload by mistake, so that the refusal can say what the file is instead.
_OTHER_PICTURES: Final[tuple[tuple[re.Pattern[bytes], str], ...]] = (
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), "a JPEG XL image"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 image"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\x00\x00[\x01\x02]\x00"), "a Windows icon or cursor"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<svg[\s>]|<[?!].*<svg[\s>])", re.DOTALL | re.IGNORECASE), "an SVG drawing"),
)
_STRANGERS: Final[tuple[tuple[re.Pattern[bytes], str], ...]] = (
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an office document"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "a video"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body|script)", re.IGNORECASE), "an HTML page"),
)
_BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LAYOUT: Final = frozenset("\t\n\r\f\ufeff")
"""Characters of texts that are not printed themselves."""


def _header() -> Scan[Header]:
    """The parser of whatever the file is."""
    head = yield from peek(0, _HEAD)
    if not head:
        raise NotAnImage("it is empty")
    for pattern, parse in _PARSERS:
        if pattern.match(head):
            return (yield from parse())
    for pattern, picture in _OTHER_PICTURES:
        if pattern.match(head):
            raise NotAnImage(f"it is {picture}, which is not supported")
    for pattern, stranger in _STRANGERS:
        if pattern.match(head):
            raise NotAnImage(f"it is {stranger}, not an image")
    if _is_text(head):
        raise NotAnImage("it is a text, not an image")
    raise NotAnImage("it is not an image of a known format")


def _is_text(head: bytes) -> bool:
    """Whether a file begins as a text in UTF-8 or UTF-16 does. The last character may be cut off."""
    encoding = "utf-16" if head.startswith(_BYTE_ORDER_MARKS) else "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character.isprintable() or character in _LAYOUT for character in text)


def read_header(read: Callable[[int, int], bytes], budget: Budget | None = None) -> Header:
    """The header of a file given as ``read(start, length)``.

    Raises `NotAnImage` or `DamagedHeader`, and nothing else whatever the bytes. Sides may be zero, or far too large: that is for
    the caller to judge.
    """
    return drive(_header(), read, budget)


def read_file_header(path: Path) -> tuple[Header, int]:
    """The header of a local file and the file's length in bytes; raises as `read_header`, or OSError."""
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        header = read_header(lambda start, length: os.pread(descriptor, length, start))
        return header, os.fstat(descriptor).st_size


def count_scans(path: Path, most: int) -> int:
    """How many scans a local JPEG makes a decoder go through, up to ``most`` + 1.

    Reads progressive files whole, once. Raises as `read_header`.
    """
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        # Each search begins with short reads that grow, so that what is read stays within twice the file.
        budget = Budget(bytes=2 * os.fstat(descriptor).st_size + Budget().bytes)
        return drive(jpeg.scans(most), lambda start, length: os.pread(descriptor, length, start), budget)


async def read_header_async(read: Callable[[int, int], Awaitable[bytes]], size: int) -> Header:
    """The same over remote storage, where every read is a round trip."""
    return await drive_async(_header(), read, size)
