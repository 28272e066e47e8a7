"""How header parsers read: they ask for spans of a file, and whoever drives them fetches those within a budget.

A parser is a generator (`Scan`): it yields a `Span` and is sent the bytes. So the same parser reads a local file with ``pread``,
an object in S3 with range requests, or a ``bytes`` in a test, and never more than the budget.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

__all__ = [
    "Budget",
    "DamagedHeader",
    "Header",
    "HeaderError",
    "NotAnImage",
    "Scan",
    "Span",
    "drive",
    "drive_async",
    "peek",
    "take",
]

T = TypeVar("T")

_BLOCK = 64 * 1024
"""What one round trip to remote storage fetches at least: most headers lie within the first."""

_FARTHEST = 1 << 62
"""No file is as long; offsets beyond would not fit into the system's calls."""


class HeaderError(Exception):
    """The header cannot be used. The text is one sentence for the user."""


class NotAnImage(HeaderError):
    """The content is none of the image formats known here."""


class DamagedHeader(HeaderError):
    """The content begins like a known format but its header is broken, cut short, or made to cost endless work."""


class Span(NamedTuple):
    """A part of a file that a parser asks for, in bytes from its start."""

    start: int
    length: int


class Header(NamedTuple):
    """What a header says: the format's name in `recognise.FORMATS` and the size in pixels, as stored (before orientation)."""

    format: str
    width: int
    height: int


Scan = Generator[Span, bytes, T]


@dataclass(slots=True)
class Budget:
    """What reading one header may cost. Honest files need a few reads; camera JPEGs with megabytes of metadata, hundreds."""

    reads: int = 4096
    bytes: int = 4 * 1024 * 1024
    spent_reads: int = field(default=0, init=False)
    spent_bytes: int = field(default=0, init=False)

    def spend(self, span: Span) -> None:
        """Count one read; raises `DamagedHeader` when the budget is used up."""
        self.spent_reads += 1
        self.spent_bytes += span.length
        if span.start > _FARTHEST:
            raise DamagedHeader("its header points beyond its end")
        if self.spent_reads > self.reads or self.spent_bytes > self.bytes:
            raise DamagedHeader("its header has more parts than any honest image needs")


def peek(start: int, length: int) -> Scan[bytes]:
    """Up to ``length`` bytes at ``start``: fewer where the file ends."""
    return (yield Span(start, length))


def take(start: int, length: int) -> Scan[bytes]:
    """Exactly ``length`` bytes at ``start``; raises `DamagedHeader` where the file ends sooner."""
    data = yield Span(start, length)
    if len(data) < length:
        raise DamagedHeader("it ends in the middle of its header")
    return data


def drive(scan: Scan[T], read: Callable[[int, int], bytes], budget: Budget | None = None) -> T:
    """Run a parser over ``read(start, length)``, which returns fewer bytes at the end of the file and none beyond it."""
    budget = budget or Budget()
    try:
        span = next(scan)
        while True:
            budget.spend(span)
            span = scan.send(read(span.start, span.length))
    except StopIteration as end:
        result: T = end.value
        return result


async def drive_async(scan: Scan[T], read: Callable[[int, int], Awaitable[bytes]], size: int, budget: Budget | None = None) -> T:
    """Run a parser over remote storage: like `drive`, but whole blocks are fetched and the last one is kept."""
    budget = budget or Budget()
    block_start, block = 0, b""
    try:
        span = next(scan)
        while True:
            budget.spend(span)
            end = min(span.start + span.length, size)
            if end <= span.start:
                span = scan.send(b"")
                continue
            if not (block_start <= span.start and end <= block_start + len(block)):
                block_start = span.start
                block = await read(block_start, min(max(span.length, _BLOCK), size - block_start))
            span = scan.send(block[span.start - block_start : end - block_start])
    except StopIteration as finished:
        result: T = finished.value
        return result
