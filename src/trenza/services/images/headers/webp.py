"""The size of a WebP image, in each of its three layouts: lossy, lossless and extended (RFC 9649)."""

from __future__ import annotations

from trenza.services.images.headers.reading import DamagedHeader, Header, Scan, take

__all__ = ["header"]

_FOURTEEN_BITS = 0x3FFF


def header() -> Scan[Header]:
    """Read the first chunk after the RIFF header."""
    kind = yield from take(12, 4)
    if kind == b"VP8X":
        body = yield from take(20, 10)
        return Header("webp", 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
    if kind == b"VP8L":
        body = yield from take(20, 5)
        if body[0] != 0x2F:  # noqa: PLR2004 - the signature byte of a lossless stream
            raise DamagedHeader("its lossless stream has no signature")
        bits = int.from_bytes(body[1:5], "little")
        return Header("webp", 1 + (bits & _FOURTEEN_BITS), 1 + (bits >> 14 & _FOURTEEN_BITS))
    if kind == b"VP8 ":
        body = yield from take(20, 10)
        if body[0] & 1 or body[3:6] != b"\x9d\x01\x2a":
            raise DamagedHeader("its lossy stream does not begin with a key frame")
        width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return Header("webp", width & _FOURTEEN_BITS, height & _FOURTEEN_BITS)
    raise DamagedHeader("its first chunk is none that a WebP image may begin with")
