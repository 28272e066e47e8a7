"""The size of a JPEG image, and how many passes over its pixels it asks for: by its markers (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from typing import Final

from trenza.services.images.headers.reading import DamagedHeader, Header, Scan, peek, take

__all__ = ["header", "scans"]

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15, without DHT, JPG and DAC, which share their range."""
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, RST0 to RST7 and a second SOI."""
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_LONE_SCAN_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC3, 0xC9, 0xCB})
"""Sequential and lossless ones: when their first scan holds all components, decoders read no other."""
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_MARKER_IN_PIXELS: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Among coded pixels, restart markers are part of the scan."""
_CHUNK, _LONGEST_CHUNK = 4096, 1024 * 1024


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


def scans(most: int) -> Scan[int]:
    """How many scans a decoder goes through, counting no further than ``most`` + 1; needs the whole file.

    Scans of embedded previews, and of what is appended behind the end of the image, do not count.
    """
    position, found, components, lone = 2, 0, 0, False
    while found <= most:
        try:
            position, marker = yield from _next_marker(position, _MARKER_IN_PIXELS if found else _MARKER)
        except DamagedHeader:
            return found  # cut short: the decoder is to judge it
        if marker in _ALONE:
            continue
        if marker == _END_OF_IMAGE:
            break
        head = yield from peek(position, 8)
        if marker in _FRAMES and len(head) == 8:  # noqa: PLR2004 - a length, precision, two sizes and a count
            components, lone = head[7], marker in _LONE_SCAN_FRAMES
        elif marker == _START_OF_SCAN:
            found += 1
            if lone and head[2:3] == bytes([components]):
                break
        position += max(2, int.from_bytes(head[:2], "big"))
    return found


def _next_marker(position: int, pattern: re.Pattern[bytes] = _MARKER) -> Scan[tuple[int, int]]:
    """The next marker and the position after it; fill bytes and stray bytes before it are skipped, as decoders do."""
    data = yield from take(position, 2)
    length = _CHUNK
    while not pattern.match(data):
        chunk = yield from peek(position, length)
        found = pattern.search(chunk)
        if found is None and len(chunk) < length:
            raise DamagedHeader("it ends in the middle of its header")
        position += length - 1 if found is None else found.start()
        length = min(2 * length, _LONGEST_CHUNK)
        data = yield from take(position, 2)
    return position + 2, data[1]
