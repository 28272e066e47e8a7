"""The size of a BMP image, from any of its header versions: OS/2 1 and 2, Windows 3, 4 and 5."""

from __future__ import annotations

import struct

from trenza.services.images.headers.reading import DamagedHeader, Header, NotAnImage, Scan, peek, take

__all__ = ["header"]

_CORE = 12
_SIZES = frozenset({_CORE, 16, 40, 52, 56, 64, 108, 124})
"""The lengths that an information header may have; its first field names its own."""


def header() -> Scan[Header]:
    """Read the information header. A negative height means that the rows are stored from the top."""
    start = yield from peek(14, 4)
    size = int.from_bytes(start, "little")
    if len(start) == 4 and size not in _SIZES:  # noqa: PLR2004 - the whole field was read
        raise NotAnImage("it is not an image of a known format")
    if size == _CORE:
        width, height = struct.unpack("<HH", (yield from take(18, 4)))
    else:
        width, height = struct.unpack("<ii", (yield from take(18, 8)))
    if width < 0:
        raise DamagedHeader("its width is negative")
    return Header("bmp", width, abs(height))
