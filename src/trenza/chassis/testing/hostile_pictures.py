"""Files that call themselves images and mean harm, or are broken: bombs, lies, loops, fakes (standard library only)."""

from __future__ import annotations

import struct
import zlib
from itertools import repeat
from typing import Final

__all__ = [
    "FAKES",
    "bmp_of",
    "gif_bomb",
    "jpeg_of_many_scans",
    "jpeg_of_many_segments",
    "jpeg_segment",
    "png_bomb",
    "png_chunk",
    "png_of",
    "tiff_of",
]

FAKES: Final[dict[str, bytes]] = {
    "text": b"This is a letter, not a photograph.\n" * 40,
    "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
    "html": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "html in a gif's clothes": b"GIF89a/*<html><script>*/=1;alert(1)//</script></html>",
    "zip": b"PK\x03\x04" + bytes(40),
    "video": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(64),
    "camera raw": b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom" + bytes(64),
    "zeros": bytes(1000),
    "empty": b"",
}
"""Content that is no image at all, by what it is."""


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, pixels: bytes, *, interlace: int = 0) -> bytes:
    """A one-bit grey PNG whose header says ``width`` x ``height``, whatever the compressed ``pixels`` hold."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """An honest one-bit PNG of a few hundred kilobytes that decodes to gigabytes."""
    row = bytes(1 + (width + 7) // 8)
    compressor = zlib.compressobj(9)
    rows = b"".join(map(compressor.compress, repeat(row, height)))
    return png_of(width, height, rows + compressor.flush())


def gif_bomb(width: int = 65_535, height: int = 65_535) -> bytes:
    """A GIF of 50 bytes with a screen of four thousand million pixels, and one frame as large."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return b"GIF89a" + screen + frame + b"\x02\x02\x4c\x01\x00;"


def bmp_of(width: int, height: int, pixels: bytes) -> bytes:
    """A BMP of 24 bits a pixel whose header says ``width`` x ``height``, whatever ``pixels`` hold."""
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + pixels


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG, with its marker and length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_of_many_segments(jpeg: bytes, segments: int, *, payload: int = 65_533) -> bytes:
    """A JPEG with so many application segments put before its own, as extended XMP and depth maps are."""
    return jpeg[:2] + (b"\xff\xe2" + struct.pack(">H", payload + 2) + bytes(payload)) * segments + jpeg[2:]


def jpeg_of_many_scans(width: int, height: int, scans: int) -> bytes:
    """A grey progressive JPEG of a few bytes a scan; each makes a decoder go over all of its blocks."""
    blocks = -(-width // 8) * -(-height // 8)
    runs = -(-blocks // (2**15 - 1))
    ends = int(("0" + "1" * 14) * runs + "1" * (-15 * runs % 8), 2).to_bytes((15 * runs + 7) // 8, "big")
    start = (
        jpeg_segment(0xDB, b"\0" + b"\1" * 64)
        + jpeg_segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
        + jpeg_segment(0xC4, b"\0\1" + bytes(16))
        + jpeg_segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")
        + jpeg_segment(0xDA, b"\1\1\0\0\0\x0d")
        + bytes((blocks + 7) // 8)
    )
    bands = (jpeg_segment(0xDA, bytes([1, 1, 0, 1 + at % 63, 1 + at % 63, 0x0D])) for at in range(scans - 1))
    return b"\xff\xd8" + start + b"".join(band + ends.replace(b"\xff", b"\xff\0") for band in bands) + b"\xff\xd9"


def tiff_of(entries: dict[int, int], *, big: bool = False, order: str = "<", next_directory: int = 0) -> bytes:
    """A TIFF that is nothing but a first directory with these LONG tags; ``next_directory`` may point anywhere."""
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        table = struct.pack(f"{order}Q", len(entries))
        table += b"".join(struct.pack(f"{order}HHQII", tag, 4, 1, value, 0) for tag, value in sorted(entries.items()))
        return head + table + struct.pack(f"{order}Q", next_directory)
    head = mark + struct.pack(f"{order}HI", 42, 8)
    table = struct.pack(f"{order}H", len(entries))
    table += b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return head + table + struct.pack(f"{order}I", next_directory)
