"""Which JPEGs the fast path takes, told from the markers before the first scan (ITU-T T.81, annex B)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Final, NamedTuple

from PIL import ExifTags, Image

from trenza.services.images.decoding.colours import is_srgb_profile

__all__ = ["Facts", "Unsuited", "eligible", "read_facts"]

_SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
_PROGRESSIVE: Final = 0xC2
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15, without DHT, JPG and DAC, which share their range."""
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, RST0 to RST7 and a second SOI."""
_MARK, _START_OF_SCAN, _APP1, _APP2, _APP14 = 0xFF, 0xDA, 0xE1, 0xE2, 0xEE
_EXIF, _PROFILE, _ADOBE, _SCAN = b"Exif", b"ICC_PROFILE\0", b"Adobe", b"\xff\xda"
_PROFILE_HEAD, _ADOBE_LENGTH, _ADOBE_TRANSFORM = 14, 12, 11
_FRAME_HEAD, _COMPONENT = 7, 3
"""Bytes: marker, precision, two sizes and a count; then of each component its id, its sampling and its table."""

_BITS = 8
_GREY_PARTS, _COLOUR_PARTS = 1, 3
_SAMPLINGS: Final = frozenset({(1, 1), (2, 1), (1, 2), (2, 2)})
"""Of the brightness against the colours: 4:4:4, 4:2:2, 4:4:0 and 4:2:0."""
_ADOBE_YCBCR = 1
_MOST_SCANS = 100
"""Honest encoders make a dozen, and previews add some; each costs a pass over the whole image."""
_SMALLEST = 16
"""Pixels a side: of less, colour that was halved twice says too little."""
_LARGEST = 40_000_000
"""Pixels: the planes of a larger image would take more memory than libvips' strips (1.5 bytes a pixel at 4:2:0, 3 at 4:4:4)."""
_LARGEST_PROGRESSIVE = 25_000_000
"""The same where libjpeg also keeps all coefficients: twice as many bytes again."""


class Unsuited(Exception):
    """Not for the fast path: libvips must judge and render the image."""


class Facts(NamedTuple):
    """What decides whether a JPEG can be taken, from its markers up to the first scan. The size is as stored."""

    process: int
    """The frame marker: 0xC0 baseline, 0xC1 extended, 0xC2 progressive, others are rare."""
    precision: int
    width: int
    height: int
    components: tuple[tuple[int, int, int], ...]
    """Of each: its id, and its horizontal and vertical sampling factors."""
    adobe_transform: int | None
    """The colour transform of an Adobe marker: 0 none, 1 YCbCr, 2 YCCK; None without the marker."""
    profile: bytes
    exif: bytes
    orientation: int
    scans: int
    """Start-of-scan markers in the whole file, those of embedded previews included; counted in progressive ones only."""


def eligible(facts: Facts) -> bool:
    """Whether the fast path makes the same of the image: grey or YCbCr, sRGB, eight bits, usual sampling and size."""
    return _usual_coding(facts) and _usual_colours(facts) and (not facts.profile or is_srgb_profile(facts.profile))


def _usual_coding(facts: Facts) -> bool:
    pixels = facts.width * facts.height
    fits = (facts.process in _SEQUENTIAL and pixels <= _LARGEST) or (
        facts.process == _PROGRESSIVE and pixels <= _LARGEST_PROGRESSIVE and facts.scans <= _MOST_SCANS
    )
    return fits and facts.precision == _BITS and min(facts.width, facts.height) >= _SMALLEST


def _usual_colours(facts: Facts) -> bool:
    if len(facts.components) == _GREY_PARTS:
        return True
    return (
        len(facts.components) == _COLOUR_PARTS
        and facts.adobe_transform in (None, _ADOBE_YCBCR)
        and bytes(part[0] for part in facts.components) != b"RGB"
        and facts.components[0][1:] in _SAMPLINGS
        and all(part[1:] == (1, 1) for part in facts.components[1:])
    )


def read_facts(data: bytes) -> Facts:
    """Raises `Unsuited` for what has no usable frame header, or metadata that decoders read in different ways."""
    frame, adobe, profile, exif = b"", None, list[bytes](), list[bytes]()
    for marker, segment in _segments(data):
        if marker in _FRAMES:
            frame = bytes([marker]) + segment
        elif marker == _APP14 and segment.startswith(_ADOBE) and len(segment) >= _ADOBE_LENGTH:
            adobe = segment[_ADOBE_TRANSFORM]
        elif marker == _APP2 and segment.startswith(_PROFILE):
            profile.append(segment[_PROFILE_HEAD:])
        elif marker == _APP1 and segment.startswith(_EXIF):
            exif.append(segment)
    if len(frame) < _FRAME_HEAD or len(frame) < (end := _FRAME_HEAD + _COMPONENT * frame[_FRAME_HEAD - 1]):
        raise Unsuited("no frame header")
    if len(exif) > 1:
        raise Unsuited("several EXIF blocks")
    return Facts(
        process=frame[0],
        precision=frame[1],
        width=int.from_bytes(frame[4:6], "big"),
        height=int.from_bytes(frame[2:4], "big"),
        components=tuple((frame[at], frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(_FRAME_HEAD, end, _COMPONENT)),
        adobe_transform=adobe,
        profile=b"".join(profile),
        exif=exif[0] if exif else b"",
        orientation=_orientation(exif[0]) if exif else 1,
        scans=data.count(_SCAN) if frame[0] == _PROGRESSIVE else 0,
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each marker with its payload, until the first scan. Stray bytes end it: files that have them are not ordinary."""
    at = 2
    while at + 4 <= len(data) and data[at] == _MARK:
        marker = data[at + 1]
        if marker in _ALONE or marker == _MARK:  # a second FF is a fill byte
            at += 1 if marker == _MARK else 2
            continue
        if marker == _START_OF_SCAN:
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _orientation(block: bytes) -> int:
    """Raises `Unsuited` for EXIF of which libvips might read another orientation than Pillow does."""
    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exif.load(block)
            value = exif.get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # Pillow's parser raises whatever hostile bytes make it raise
        raise Unsuited(f"malformed EXIF: {error!r}") from error
    if not isinstance(value, int) or not 1 <= value <= 8:  # noqa: PLR2004 - EXIF 3.0, 4.6.5.1.5
        raise Unsuited(f"orientation {value!r}")
    return value
