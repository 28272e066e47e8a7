"""The corpus of hostile and broken pictures: each by a name, with the one outcome that it must have."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from trenza.chassis.testing.hostile_pictures import (
    FAKES,
    bmp_of,
    gif_bomb,
    jpeg_of_many_scans,
    jpeg_of_many_segments,
    jpeg_segment,
    png_bomb,
    png_chunk,
    png_of,
    tiff_of,
)
from trenza.chassis.testing.pictures import animation, encoded, photograph

__all__ = ["CORPUS", "INVALID", "RENDERED", "TOO_LARGE", "ZERO", "Hostile"]

RENDERED: Final = "RENDERED"
INVALID: Final = "INVALID_IMAGE_FORMAT"
TOO_LARGE: Final = "IMAGE_TOO_LARGE"
ZERO: Final = "INVALID_DIMENSIONS"
_SOF0, _SOF9, _APP1, _APP2, _APP14, _COMMENT = 0xC0, 0xC9, 0xE1, 0xE2, 0xEE, 0xFE
_STRIP_OFFSETS: Final = 273
_NOISE: Final = random.Random(7).randbytes(20_000)  # noqa: S311 - the same pixels every time


class Hostile(NamedTuple):
    """How a picture is made, and the outcome that rendering it must have: `RENDERED` or the code of a refusal."""

    make: Callable[[], bytes]
    outcome: str


def _jpeg(**options: object) -> bytes:
    return encoded(photograph(160, 120), "JPEG", **options)


def _jpeg_with(marker: int, body: bytes) -> bytes:
    """A sound JPEG with one more segment, right at its beginning."""
    jpeg = _jpeg()
    return jpeg[:2] + jpeg_segment(marker, body) + jpeg[2:]


def _exif(*entries: tuple[int, int, int, int], following: int = 0, details: bytes = b"") -> bytes:
    """A JPEG whose EXIF is this directory of (tag, type, count, value), then the next directory's offset, then more bytes."""
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    block = b"II*\0" + struct.pack("<I", 8) + table + struct.pack("<I", following) + details
    return _jpeg_with(_APP1, b"Exif\0\0" + block)


def _profile(body: bytes) -> bytes:
    return _jpeg_with(_APP2, b"ICC_PROFILE\0\x01\x01" + body)


def _icc_header(size: int, kind: bytes, space: bytes, tags: int) -> bytes:
    return (
        struct.pack(">I4s", size, b"lcms")
        + b"\x04\x30\0\0"
        + kind
        + space
        + b"XYZ "
        + bytes(12)
        + b"acsp"
        + bytes(88)
        + struct.pack(">I", tags)
    )


def _frame_of(jpeg: bytes, *, marker: int = _SOF0, precision: int = 8, size: tuple[int, int] | None = None) -> bytes:
    """The same file, whose frame header says something else."""
    changed, at = bytearray(jpeg), jpeg.index(b"\xff\xc0")
    changed[at + 1], changed[at + 4] = marker, precision
    if size is not None:
        changed[at + 5 : at + 9] = struct.pack(">HH", size[1], size[0])
    return bytes(changed)


def _without_adobe(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("Evil.class", b"\xca\xfe\xba\xbe" + bytes(100))
    return file.getvalue()


def _png_with(kind: bytes, body: bytes) -> bytes:
    """A sound PNG with one more chunk behind its header."""
    png = encoded(photograph(160, 120), "PNG")
    return png[:33] + png_chunk(kind, body) + png[33:]


def _boxes_lie(image_format: str, width: int, height: int) -> bytes:
    """An AVIF whose extents say another size than its pixels have."""
    data = bytearray(encoded(photograph(160, 120), image_format))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


def _webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP whose canvas says another size than the frame in it has."""
    frame = encoded(photograph(160, 120), "WebP")[12:]
    canvas = struct.pack("<4sII", b"VP8X", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(frame)) + b"WEBP" + canvas + frame


def _tiff_pages(pages: int, *, loop: bool = False) -> bytes:
    """Grey TIFF pages of one pixel, each a directory of its own; the last may point back to the first."""
    out, at = bytearray(b"II*\0\x08\0\0\0"), 8
    for page in range(pages):
        values = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
        after = at + 2 + 12 * len(values) + 4
        following = (8 if loop else 0) if page == pages - 1 else after
        out += struct.pack("<H", len(values))
        out += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()) + struct.pack("<I", following)
        at = after
    return bytes(out)


def _tiff(more: dict[int, int]) -> bytes:
    """A grey TIFF of 100 x 100 pixels in one strip, with these tags besides or instead; the pixels follow the directory."""
    values = {256: 100, 257: 100, 258: 8, 259: 1, 262: 1, 277: 1, 278: 100, 279: 10_000, **more}
    start = 8 + 2 + 12 * len({*values, _STRIP_OFFSETS}) + 4
    return tiff_of({_STRIP_OFFSETS: start, **values}) + _NOISE[:10_000]


def _tiles(side: int, count: int) -> bytes:
    """A TIFF that says it has ``count`` tiles, whose offsets it does not hold."""
    data = bytearray(_tiff({322: side, 323: side, 324: 8, 325: 8}))
    for tag in (324, 325):
        at = data.index(struct.pack("<HHI", tag, 4, 1)) + 4
        data[at : at + 4] = struct.pack("<I", count)
    return bytes(data)


def _bombs() -> Iterator[tuple[str, Callable[[], bytes], str]]:
    yield "png of gigabytes", png_bomb, TOO_LARGE
    yield "png of 1 x 100000", lambda: png_of(1, 100_000, zlib.compress(bytes(200_000))), TOO_LARGE
    yield "png of 100000 x 1", lambda: png_of(100_000, 1, zlib.compress(bytes(12_501))), TOO_LARGE
    yield "png of 1 x 65000", lambda: png_of(1, 65_000, zlib.compress(bytes(130_000))), RENDERED
    yield "png of 65000 x 1", lambda: png_of(65_000, 1, zlib.compress(bytes(8_126))), RENDERED
    yield "png that unpacks to far more than its pixels", lambda: png_of(64, 64, zlib.compress(bytes(200_000_000))), RENDERED
    yield (
        "png with a text that unpacks to a lot",
        lambda: _png_with(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000))),
        RENDERED,
    )
    yield (
        "png with a profile that unpacks to a lot",
        lambda: _png_with(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000))),
        RENDERED,
    )
    yield "png of zero width", lambda: png_of(0, 9, b""), ZERO
    yield "png with one row of many", lambda: png_of(9_000, 9_000, zlib.compress(bytes(1_126))), INVALID
    yield "png interlaced", lambda: _interlaced(64, 64), RENDERED
    yield "png interlaced and empty", lambda: png_of(9_000, 9_000, zlib.compress(b""), interlace=1), INVALID
    yield "gif of gigabytes", gif_bomb, TOO_LARGE
    yield "tiff of gigabytes", lambda: tiff_of({256: 60_000, 257: 60_000}), TOO_LARGE
    yield (
        "tiff deflated thousandfold",
        lambda: encoded(photograph(8, 8).resize((6_000, 6_000), 0), "TIFF", compression="tiff_adobe_deflate"),
        RENDERED,
    )
    yield "webp of a large canvas", lambda: _webp_canvas(16_384, 16_384), TOO_LARGE
    yield "webp of a canvas larger than its frame", lambda: _webp_canvas(9_000, 9_000), INVALID
    yield "avif of gigabytes, it says", lambda: _boxes_lie("AVIF", 60_000, 60_000), TOO_LARGE
    yield "avif of more pixels than it holds", lambda: _boxes_lie("AVIF", 9_000, 9_000), INVALID
    yield "avif of fewer pixels than it holds", lambda: _boxes_lie("AVIF", 16, 16), INVALID
    yield "jpeg of endless scans", lambda: jpeg_of_many_scans(2_000, 2_000, 2_600), TOO_LARGE
    yield "bmp of gigabytes", lambda: bmp_of(2**31 - 1, 2**31 - 1, b""), TOO_LARGE
    yield "bmp without pixels", lambda: bmp_of(9_000, 9_000, b""), INVALID


def _polyglots() -> Iterator[tuple[str, Callable[[], bytes], str]]:
    for name, fake in FAKES.items():
        yield f"fake: {name}", lambda fake=fake: fake, INVALID if "gif" not in name else TOO_LARGE  # type: ignore[misc]
    yield "jpeg and zip", lambda: _jpeg() + _zip(), RENDERED
    yield "gif and jar", lambda: encoded(photograph(160, 120).convert("P"), "GIF") + _zip(), RENDERED
    yield "jpeg with a pdf in a comment", lambda: _jpeg_with(_COMMENT, FAKES["pdf"]), RENDERED
    yield "pdf with a jpeg in it", lambda: FAKES["pdf"] + _jpeg(), INVALID
    yield "jpeg with a script in a comment", lambda: _jpeg_with(_COMMENT, FAKES["html"]), RENDERED
    yield "html before a jpeg", lambda: FAKES["html"] + _jpeg(), INVALID
    yield "png and html", lambda: encoded(photograph(160, 120), "PNG") + FAKES["html"], RENDERED
    yield (
        "animated png",
        lambda: encoded(photograph(160, 120), "PNG", save_all=True, append_images=[photograph(160, 120, seed=2)]),
        RENDERED,
    )
    yield "animated gif", lambda: animation(160, 120, "GIF"), RENDERED
    yield "animated webp", lambda: animation(160, 120, "WebP"), RENDERED
    yield "animated avif", lambda: animation(160, 120, "AVIF"), INVALID


def _metadata() -> Iterator[tuple[str, Callable[[], bytes], str]]:
    yield "exif whose directory follows itself", lambda: _exif((274, 3, 1, 6), following=8), RENDERED
    yield "exif whose details are itself", lambda: _exif((34665, 4, 1, 8), (34853, 4, 1, 8)), RENDERED
    yield "exif of huge counts", lambda: _exif((271, 2, 2**32 - 1, 8), (36867, 2, 2**31, 8), (274, 3, 2**32 - 1, 6)), RENDERED
    yield "exif of bad offsets", lambda: _exif((34665, 4, 1, 2**32 - 1), (34853, 4, 1, 2**31), (271, 2, 99, 2**32 - 9)), RENDERED
    yield "exif of an impossible orientation", lambda: _exif((274, 3, 1, 99)), RENDERED
    yield "exif of unknown types", lambda: _exif(*((tag, 99, 1, tag) for tag in range(40_000, 41_000))), RENDERED
    yield "exif of 65535 entries", lambda: _jpeg_with(_APP1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"), RENDERED
    yield "exif cut short", lambda: _jpeg_with(_APP1, b"Exif\0\0II*"), RENDERED
    yield "icc cut short", lambda: _profile(_icc_header(4096, b"mntr", b"RGB ", 9)), RENDERED
    yield "icc empty", lambda: _profile(b""), RENDERED
    yield (
        "icc of a huge tag table",
        lambda: _profile(_icc_header(2**32 - 1, b"mntr", b"RGB ", 2**32 - 1) + bytes(60_000)),
        RENDERED,
    )
    yield "icc of the wrong class", lambda: _profile(_icc_header(132, b"abst", b"RGB ", 0)), RENDERED
    yield "icc of another space", lambda: _profile(_icc_header(132, b"prtr", b"CMYK", 0)), RENDERED
    yield "icc in parts that never come", lambda: _jpeg_with(_APP2, b"ICC_PROFILE\0\x01\xff" + bytes(100)), RENDERED
    yield "icc of megabytes", lambda: jpeg_of_many_segments(_jpeg(), 250), RENDERED


def _codings() -> Iterator[tuple[str, Callable[[], bytes], str]]:
    yield "jpeg of twelve bits", lambda: _frame_of(_jpeg(), marker=_SOF0 + 1, precision=12), INVALID
    yield "jpeg of arithmetic coding", lambda: _frame_of(_jpeg(), marker=_SOF9), RENDERED
    yield "jpeg lossless", lambda: _frame_of(_jpeg(), marker=_SOF0 + 3), INVALID
    yield "jpeg hierarchical", lambda: _frame_of(_jpeg(), marker=_SOF0 + 5), INVALID
    yield "jpeg of zero height", lambda: _frame_of(_jpeg(), size=(160, 0)), ZERO
    yield "jpeg of more pixels than it holds", lambda: _frame_of(_jpeg(), size=(9_000, 9_000)), INVALID
    yield "jpeg of 65500 x 65500", lambda: _frame_of(_jpeg(), size=(65_500, 65_500)), TOO_LARGE
    yield "jpeg in inks", lambda: encoded(photograph(160, 120).convert("CMYK"), "JPEG"), RENDERED
    yield (
        "jpeg in inks without Adobe's marker",
        lambda: _without_adobe(encoded(photograph(160, 120).convert("CMYK"), "JPEG")),
        RENDERED,
    )
    yield "tiff of thousands of pages", lambda: _tiff_pages(5_000), RENDERED
    yield "tiff whose pages go round", lambda: _tiff_pages(3, loop=True), RENDERED
    yield "tiff whose directory follows itself", lambda: _tiff_pages(1, loop=True), RENDERED
    yield "tiff whose details are itself", lambda: _tiff({330: 8, 34665: 8}), RENDERED
    yield "tiff whose strip lies beyond its end", lambda: _tiff({273: 2**32 - 1}), INVALID
    yield "tiff whose strip is longer than it", lambda: _tiff({279: 2**32 - 1}), RENDERED
    yield "tiff of a huge count of tiles", lambda: _tiles(16, 2**32 - 1), RENDERED
    yield "tiff of huge tiles", lambda: _tiles(2**31, 1), INVALID
    yield "tiff of no rows in a strip", lambda: _tiff({278: 0}), INVALID
    yield "tiff of 65535 bands", lambda: _tiff({277: 65_535}), INVALID


def _interlaced(width: int, height: int) -> bytes:
    """A black one-bit PNG in the seven passes of Adam7 (PNG specification, 8.2)."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for left, top, across, down in passes:
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        rows += bytes((1 + (columns + 7) // 8) * lines)
    return png_of(width, height, zlib.compress(rows), interlace=1)


CORPUS: Final[dict[str, Hostile]] = {
    name: Hostile(make, outcome) for part in (_bombs, _polyglots, _metadata, _codings) for name, make, outcome in part()
}
