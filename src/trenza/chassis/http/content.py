"""Stored objects as HTTP content: validators, conditional requests and ranges (RFC 9110), streamed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from trenza.chassis.blobs import BlobMissing, Blobs, BlobStat
from trenza.chassis.http.problem import Problem

__all__ = ["begun", "respond_with_blob"]

_ONE_RANGE = re.compile(r"bytes=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
_MOST_DIGITS = 18
"""A position with more lies behind the end of whatever can be stored."""
_ENTITY_TAGS = re.compile(r'(?:W/)?"[^"]*"')


async def respond_with_blob(
    request: Request,
    blobs: Blobs,
    key: str,
    *,
    media_type: str | None = None,
    filename: str | None = None,
    cache_control: str = "private, no-cache",
) -> Response:
    """Answer GET or HEAD with an object: 200, 206 for a single range, 304 when the client has it already.

    Several ranges get the whole object, as RFC 9110 allows. ``media_type`` is that of the store by default; ``filename`` names
    the object for those who save it. The default of ``cache_control`` lets browsers keep it but ask each time whether it is
    still valid (and permitted). Raises `BlobMissing`, and a `Problem`: 416 for a range outside of the object, 412 when it is not
    the version that the request insists on.
    """
    stat = await blobs.stat(key)
    if stat is None:
        raise BlobMissing
    headers = {
        "ETag": stat.etag,
        "Last-Modified": format_datetime(_seconds(stat.modified), usegmt=True),
        "Cache-Control": cache_control,
    }
    if not _is_wanted(request, stat):
        raise Problem(412, "PRECONDITION_FAILED", headers={"ETag": stat.etag})
    if _is_current(request, stat):
        return Response(status_code=304, headers=headers)
    headers |= {"Accept-Ranges": "bytes", "Content-Type": media_type or stat.media_type}
    if filename is not None:
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(filename, safe='')}"
    wanted = _wanted_range(request, stat)
    start, end = wanted or (0, stat.size)
    headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stat.size}"
    if request.method == "HEAD" or start == end:
        return Response(status_code=200, headers=headers)
    chunks = await begun(blobs.stream(key, start=start, end=end))  # an object that has just gone is still a 404
    return StreamingResponse(chunks, 200 if wanted is None else 206, headers)


async def begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same stream, once its first bytes are there: what is wrong with an object shows before anything is sent of it."""
    return _joined(await anext(chunks, b""), chunks)


async def _joined(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The whole stream again; it is closed also when the client leaves in the middle."""
    async with aclosing(chunks) as rest:  # type: ignore[type-var]  # every store's stream is an async generator
        yield first
        async for chunk in rest:
            yield chunk


def _is_wanted(request: Request, stat: BlobStat) -> bool:
    """Whether the object is the one that the client insists on (RFC 9110, sections 13.1.1 and 13.1.4): weak tags never are."""
    tags = request.headers.get("if-match")
    if tags is not None:
        return tags.strip() == "*" or stat.etag in _ENTITY_TAGS.findall(tags)
    until = _date(request.headers.get("if-unmodified-since"))
    return until is None or _seconds(stat.modified) <= until


def _is_current(request: Request, stat: BlobStat) -> bool:
    """Whether what the client has is the object as it is (RFC 9110, section 13.2.2)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        weak = {tag.removeprefix("W/") for tag in _ENTITY_TAGS.findall(tags)}
        return tags.strip() == "*" or stat.etag.removeprefix("W/") in weak
    since = _date(request.headers.get("if-modified-since"))
    return since is not None and _seconds(stat.modified) <= since


def _wanted_range(request: Request, stat: BlobStat) -> tuple[int, int] | None:
    """The bytes from and up to (exclusive) which are wanted; None for all. Raises the 416 problem."""
    match = _ONE_RANGE.fullmatch(request.headers.get("range", "").strip())
    if request.method != "GET" or match is None or not _range_applies(request, stat):
        return None
    first, last = match.groups()
    if first:
        start, end = _position(first), min(_position(last) + 1 if last else stat.size, stat.size)
        if last and _position(last) < start:
            return None  # not a range at all: to be ignored
    elif last:
        start, end = max(0, stat.size - _position(last)), stat.size
    else:
        return None
    if start >= end:
        headers = {"Content-Range": f"bytes */{stat.size}", "ETag": stat.etag}
        raise Problem(416, "RANGE_NOT_SATISFIABLE", headers=headers, size=stat.size)
    return start, end


def _position(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= _MOST_DIGITS else 10**_MOST_DIGITS


def _range_applies(request: Request, stat: BlobStat) -> bool:
    """Whether ``If-Range``, if any, names this very version (RFC 9110, section 13.1.5): weak tags never do."""
    condition = request.headers.get("if-range")
    if condition is None:
        return True
    if condition.endswith('"'):
        return condition == stat.etag
    return _date(condition) == _seconds(stat.modified)


def _date(header: str | None) -> datetime | None:
    """An HTTP date; None for what is none, which is then ignored."""
    if header is None:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _seconds(moment: datetime) -> datetime:
    """HTTP dates have whole seconds."""
    return moment.astimezone(UTC).replace(microsecond=0)
