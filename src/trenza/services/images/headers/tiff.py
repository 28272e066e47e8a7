"""The size of a TIFF or BigTIFF image: its first directory (TIFF 6.0, section 2); what cannot be shown rightly is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trenza.services.images.headers.reading import DamagedHeader, Header, NotAnImage, Scan, peek, take

__all__ = ["header"]

_WIDTH, _HEIGHT, _SUBFILE_TYPE, _DNG_VERSION = 256, 257, 254, 50706
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 259, 262, 339
_WANTED = frozenset({_WIDTH, _HEIGHT, _SUBFILE_TYPE, _DNG_VERSION, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLE_FORMAT})
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946})
"""None, the three of CCITT, LZW, both of JPEG, Deflate, PackBits and the older Deflate: what the decoders are built with."""
_NAMES_OF_COMPRESSIONS = {34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP"}
_FORMATS_OF_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "untyped", 5: "complex", 6: "complex"}
_UNSIGNED = frozenset({1, 4})
_FLOATING, _CIE_LAB = 3, 8
_MOST_BITS = 16
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
    _refuse_unusual_coding(tags)
    return Header("tiff", tags[_WIDTH], tags[_HEIGHT])


def _refuse_unusual_coding(tags: dict[int, int]) -> None:
    """Refuse compressions that no decoder here knows, and samples of which nobody can say what is black and what is white."""
    compression = tags.get(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        name = _NAMES_OF_COMPRESSIONS.get(compression, f"number {compression}")
        raise NotAnImage(f"it is a TIFF image with {name} compression, which is not supported; LZW and Deflate are")
    bits, kind = tags.get(_BITS, 1), tags.get(_SAMPLE_FORMAT, 1)
    lab_in_floats = kind == _FLOATING and tags.get(_PHOTOMETRIC) == _CIE_LAB  # whose range is defined
    if (kind not in _UNSIGNED or bits > _MOST_BITS) and not lab_in_floats:
        raise NotAnImage(
            f"it is a TIFF image of {bits}-bit {_FORMATS_OF_SAMPLES.get(kind, 'unknown')} samples, which are not supported; "
            f"unsigned ones of up to {_MOST_BITS} bits are"
        )


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
            length, value = _BYTES_OF_TYPE[kind], at + layout.entry - layout.offset
            if layout.number(table[at + 4 : value]) * length <= layout.offset:
                tags[tag] = layout.number(table[value : value + length])
            else:  # several values, one for each band: the first says what they all are
                tags[tag] = layout.number((yield from take(layout.number(table[value : at + layout.entry]), length)))
    return tags
