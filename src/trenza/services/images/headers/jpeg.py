"""The size of a JPEG image: its frame header, found by skipping from segment to segment (ITU-T T.81, annex B)."""

from __future__ import annotations

from trenza.services.images.headers.reading import DamagedHeader, Header, Scan, peek, take

__all__ = ["header"]

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15, without DHT, JPG and DAC, which share their range."""
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, RST0 to RST7 and a second SOI."""
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_CHUNK = 4096


def header() -> Scan[Header]:
    """Follow the markers until the frame header. It may lie megabytes into the file, behind extended XMP or depth maps."""
    position = 2
    while True:
        position, marker = yield from _next_marker(position)
        if marker in _ALONE:
            continue
        if marker in (_END_OF_IMAGE, _START_OF_SCAN):
            raise DamagedHeader("its pixels begin before its size is given")
        length = int.from_bytes((yield from take(position, 2)), "big")
        if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
            raise DamagedHeader("one of its segments has an impossible length")
        if marker in _FRAMES:
            frame = yield from take(position + 2, 6)
            return Header("jpeg", int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big"))
        position += length


def _next_marker(position: int) -> Scan[tuple[int, int]]:
    """The next marker and the position after it; fill bytes and stray bytes before it are skipped, as decoders do."""
    data = yield from take(position, 2)
    while not (data[0] == 0xFF and data[1] not in (0x00, 0xFF)):  # noqa: PLR2004 - a marker is FF and neither 00 nor FF
        chunk = yield from peek(position, _CHUNK)
        found = _marker_in(chunk)
        if found is None and len(chunk) < _CHUNK:
            raise DamagedHeader("it ends in the middle of its header")
        position += _CHUNK - 1 if found is None else found
        data = yield from take(position, 2)
    return position + 2, data[1]


def _marker_in(chunk: bytes) -> int | None:
    """Where the first marker of a chunk stands."""
    at = chunk.find(0xFF)
    while 0 <= at < len(chunk) - 1:
        if chunk[at + 1] not in (0x00, 0xFF):
            return at
        at = chunk.find(0xFF, at + 1)
    return None
