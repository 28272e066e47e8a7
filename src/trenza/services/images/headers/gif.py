"""The size of a GIF image: its logical screen descriptor (GIF89a, section 18)."""

from __future__ import annotations

import struct

from trenza.services.images.headers.reading import Header, Scan, take

__all__ = ["header"]


def header() -> Scan[Header]:
    """Read the logical screen."""
    width, height = struct.unpack("<HH", (yield from take(6, 4)))
    return Header("gif", width, height)
