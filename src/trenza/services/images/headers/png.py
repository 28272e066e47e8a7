"""The size of a PNG image: its IHDR chunk, which must come first (PNG specification, third edition, 11.2.1)."""

from __future__ import annotations

import struct
import zlib

from trenza.services.images.headers.reading import DamagedHeader, Header, Scan, take

__all__ = ["header"]

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""The bit depths that each colour type allows."""


def header() -> Scan[Header]:
    """Read and check IHDR."""
    length, kind, body, checksum = struct.unpack(">I4s13sI", (yield from take(8, 25)))
    if kind != b"IHDR" or length != len(body):
        raise DamagedHeader("it does not begin with its header chunk")
    if zlib.crc32(kind + body) != checksum:
        raise DamagedHeader("the checksum of its header is wrong")
    width, height, depth, colour = struct.unpack(">IIBB", body[:10])
    if depth not in _DEPTHS.get(colour, ()):
        raise DamagedHeader("its header names a colour type that does not exist")
    return Header("png", width, height)
