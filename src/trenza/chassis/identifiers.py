"""Identifiers that sort by the time at which they were made (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import secrets
import threading
import time
from uuid import UUID

__all__ = ["uuid7"]

_lock = threading.Lock()
_last = 0
_RANDOM_BITS = 62
_FRACTION_BITS = 12


def uuid7() -> UUID:
    """A version 7 UUID: milliseconds, 12 bits of their fraction, 62 random bits; strictly increasing within a process."""
    global _last  # noqa: PLW0603 - monotonic across calls is the promise
    with _lock:
        stamp = (time.time_ns() << _FRACTION_BITS) // 1_000_000
        _last = stamp = max(stamp, _last + 1)
    milliseconds, fraction = stamp >> _FRACTION_BITS, stamp & ((1 << _FRACTION_BITS) - 1)
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(_RANDOM_BITS)
    return UUID(int=value)
