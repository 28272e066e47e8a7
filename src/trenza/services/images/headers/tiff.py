"""The size of a TIFF or BigTIFF image: its first directory (TIFF 6.0, section 2); look-alike camera raw files are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trenza.services.images.headers.reading import DamagedHeader, Header, NotAnImage, Scan, peek, take

__all__ = ["header"]

_WIDTH, _HEIGHT, _SUBFILE_TYPE, _DNG_VERSION = 256, 257, 254, 50706
_WANTED = frozenset({_WIDTH, _HEIGHT, _SUBFILE_TYPE, _DNG_VERSION})
_BYTES_OF_TYPE = {1: 1, 3: 2, 4: 4, 16: 8}
"""BYTE, SHORT, LONG and LONG8: the types that a size may have."""
_MOST_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers and directories are laid out in this file."""

    order: Literal["little", "big"]
    offset: int
    count: int
    entry: int

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, self.order)


def header() -> Scan[Header]:
    """Read the first directory; later ones (pages, thumbnails) are not followed, so that no chain of them can loop."""
    head = yield from take(0, 8)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    if int.from_bytes(head[2:4], order) == 43:  # noqa: PLR2004 - BigTIFF's version number
        layout = _Layout(order, offset=8, count=8, entry=20)
        if layout.number(head[4:6]) != layout.offset:
            raise DamagedHeader("its header names an offset size that does not exist")
        directory = layout.number((yield from take(8, 8)))
    else:
        layout = _Layout(order, offset=4, count=2, entry=12)
        directory = layout.number(head[4:8])
        if (yield from peek(8, 2)) == b"CR":
            raise NotAnImage("it is a camera raw file, not an image")
    tags = yield from _tags(layout, directory)
    # A reduced-resolution image up front is how Nikon, Sony and Adobe raw files begin: its size is not the photograph's.
    if _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE, 0) & 1:
        raise NotAnImage("it is a camera raw file, not an image")
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise DamagedHeader("its first directory does not give its size")
    return Header("tiff", tags[_WIDTH], tags[_HEIGHT])


def _tags(layout: _Layout, directory: int) -> Scan[dict[int, int]]:
    """The wanted tags of a directory, by number."""
    entries = layout.number((yield from take(directory, layout.count)))
    if not 0 < entries <= _MOST_ENTRIES:
        raise DamagedHeader("its first directory has an impossible number of entries")
    table = yield from take(directory + layout.count, entries * layout.entry)
    tags: dict[int, int] = {}
    for at in range(0, len(table), layout.entry):
        tag, kind = layout.number(table[at : at + 2]), layout.number(table[at + 2 : at + 4])
        if tag in _WANTED and kind in _BYTES_OF_TYPE:
            value = at + layout.entry - layout.offset
            tags[tag] = layout.number(table[value : value + _BYTES_OF_TYPE[kind]])
    return tags
