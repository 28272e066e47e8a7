"""The size of a HEIC or AVIF image: the extents of its primary item (ISO/IEC 14496-12 boxes, ISO/IEC 23008-12 properties)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trenza.services.images.headers.reading import DamagedHeader, Header, NotAnImage, Scan, take

__all__ = ["header"]

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF = frozenset({b"avif", b"avis"})
_AVIF_SEQUENCE = b"avis"
_NEUTRAL = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})
"""Brands that only say *image file*; the compatible brands tell the codec."""
_MOST_BOXES = 4096
_MOST_TOP_LEVEL = 64
_LONGEST_META = 1024 * 1024
_LONGEST_BRANDS = 4096


class _Box(NamedTuple):
    kind: bytes
    body: bytes


def header() -> Scan[Header]:
    """Find the meta box, the primary item in it, and the spatial extents associated with that item."""
    name: str | None = None
    position = 0
    for _ in range(_MOST_TOP_LEVEL):
        kind, start, length = yield from _box_at(position)
        if kind == b"ftyp":
            name = _codec((yield from take(start, min(length, _LONGEST_BRANDS))))
        elif kind == b"meta" and name:
            if length > _LONGEST_META:
                raise DamagedHeader("its description is larger than any honest image needs")
            width, height = _extents((yield from take(start, length))[4:])
            return Header(name, width, height)
        position = start + length
    raise DamagedHeader("it has no description of an image")


def _box_at(position: int) -> Scan[tuple[bytes, int, int]]:
    """The kind of the top-level box at a position, where its body starts and how long that is."""
    head = yield from take(position, 8)
    size, start = int.from_bytes(head[:4], "big"), position + 8
    if size == 1:
        size, start = int.from_bytes((yield from take(start, 8)), "big"), start + 8
    if size == 0:  # up to the end of the file: nothing of use to us is stored in such a box
        raise DamagedHeader("it has no description of an image")
    if size < start - position:
        raise DamagedHeader("one of its boxes has an impossible length")
    return head[4:], start, size - (start - position)


def _codec(brands: bytes) -> str:
    """``heic`` or ``avif`` by the file's brands: the major one, or the compatible ones where that is neutral."""
    major, compatible = brands[:4], {brands[at : at + 4] for at in range(8, len(brands) - 3, 4)}
    if major == _AVIF_SEQUENCE:
        raise NotAnImage("it is an animated AVIF, which is not supported; a still one is")
    for candidates in ({major}, compatible if major in _NEUTRAL else set()):
        if candidates & _AVIF:
            return "avif"
        if candidates & _HEIC:
            return "heic"
    raise NotAnImage(
        "it is a video or a camera raw file, not an image" if major not in _NEUTRAL else "its image codec is not known"
    )


def _boxes(data: bytes) -> Iterator[_Box]:
    """The boxes inside a box's body. Each step goes on by at least eight bytes."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return
        size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        elif size == 0:
            size = len(data) - at
        if size < start - at or at + size > len(data):
            raise DamagedHeader("one of its boxes has an impossible length")
        yield _Box(data[at + 4 : at + 8], data[start : at + size])
        at += size
    raise DamagedHeader("its header has more parts than any honest image needs")


def _extents(meta: bytes) -> tuple[int, int]:
    """Width and height of the primary item."""
    parts = {box.kind: box.body for box in _boxes(meta)}
    if b"pitm" not in parts or b"iprp" not in parts:
        raise DamagedHeader("it has no description of an image")
    pitm = _Fields(parts[b"pitm"])
    version = pitm.take(4) >> 24
    primary = pitm.take(2 if version == 0 else 4)
    properties: list[_Box] = []
    indices: list[int] = []
    for box in _boxes(parts[b"iprp"]):
        if box.kind == b"ipco":
            properties = list(_boxes(box.body))
        elif box.kind == b"ipma":
            indices += _associations(box.body, primary)
    for index in indices:
        if 0 < index <= len(properties) and properties[index - 1].kind == b"ispe":
            ispe = _Fields(properties[index - 1].body)
            ispe.take(4)
            return ispe.take(4), ispe.take(4)
    raise DamagedHeader("its description does not give its size")


def _associations(body: bytes, item: int) -> list[int]:
    """The indices (from 1) of the properties that belong to an item."""
    fields = _Fields(body)
    version_and_flags = fields.take(4)
    width = 2 if version_and_flags & 1 else 1
    found: list[int] = []
    for _ in range(fields.take(4)):  # ends soon: every turn takes at least three bytes, and `take` ends with the body
        owner = fields.take(2 if version_and_flags >> 24 < 1 else 4)
        indices = [fields.take(width) & (0x7FFF if width == 2 else 0x7F) for _ in range(fields.take(1))]  # noqa: PLR2004
        found += indices if owner == item else []
    return found


class _Fields:
    """Big-endian numbers read one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> int:
        """The next number of so many bytes; raises `DamagedHeader` at the end."""
        field = self._data[self._at : self._at + length]
        if len(field) < length:
            raise DamagedHeader("it ends in the middle of its header")
        self._at += length
        return int.from_bytes(field, "big")
