"""Where the parts of a sound picture file begin, for tests that cut it or change it just there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["structures_of"]

_BOX: Final = 8
"""Bytes of the length and the kind of a box (ISO/IEC 14496-12)."""


def structures_of(data: bytes) -> tuple[int, ...]:
    """Where the structures of a picture begin, as far as their lengths tell: places to cut it, and to change it."""
    return tuple(sorted({at for at in _structures(data) if 0 < at < len(data)}))


def _structures(data: bytes) -> Iterator[int]:
    if data[:2] == b"\xff\xd8":
        at = 2
        while data[at : at + 2] != b"\xff\xda":
            yield from (at, at + 2, at + 4)
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield from (at, at + 2, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big"))
    elif data[:4] in (b"\x89PNG", b"RIFF"):
        at, order = (8, "big") if data[:1] == b"\x89" else (12, "little")
        while at + 8 <= len(data):
            lengths = {"big": data[at : at + 4], "little": data[at + 4 : at + 8]}
            length = int.from_bytes(lengths[order], "big" if order == "big" else "little")
            yield from (at, at + 4, at + 8, at + 8 + length)
            at += 12 + length if order == "big" else 8 + length + length % 2
    elif data[4:8] == b"ftyp":
        yield from _boxes(data, 0, len(data))
    elif data[:2] == b"II":
        directory = int.from_bytes(data[4:8], "little")
        yield from (4, 8, directory, directory + 2)
        yield from range(directory + 2, directory + 2 + 12 * int.from_bytes(data[directory : directory + 2], "little"), 12)
    else:
        yield from (3, 6, 10, 13, 14, 18, 26, 54)


def _boxes(data: bytes, start: int, end: int) -> Iterator[int]:
    at = start
    while at + _BOX <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        if length < _BOX:
            return
        yield from (at, at + 4, at + 8)
        inner = {b"meta": 12, b"iprp": 8, b"ipco": 8}.get(data[at + 4 : at + 8])
        if inner:
            yield from _boxes(data, at + inner, at + length)
        at += length
