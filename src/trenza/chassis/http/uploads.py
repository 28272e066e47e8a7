"""Uploads: multipart forms (RFC 7578) streamed to disk as they arrive, never whole in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from trenza.chassis.blobs import BlobsUnavailable
from trenza.chassis.http.limits import BodyTooLarge, allow_body
from trenza.chassis.http.multipart import FieldPart, FormLimits, FormParser
from trenza.chassis.http.phrases import Refusal
from trenza.chassis.http.spooling import ReceivedFile, SpooledFile, remove_files

__all__ = ["MultipartExpected", "ReceivedFile", "ReceivedForm", "UploadTooLarge", "UploadTooSlow", "receive_form"]

MIN_BYTES_PER_SECOND = 4096
"""A phone on a bad 2G connection still manages this; who sends slower holds a connection for its own sake."""
GRACE_SECONDS = 20.0
_PART_OVERHEAD = 16 * 1024
"""Bytes that the boundary and headers of a part may take."""


class MultipartExpected(Refusal):
    """The body is something else than a multipart form."""

    status = 415
    code = "MULTIPART_EXPECTED"
    title = "Multipart expected"


class UploadTooLarge(Refusal):
    """All of it together is more than the allowed number of files of the allowed size."""

    status = 413
    code = "UPLOAD_TOO_LARGE"
    title = "Upload too large"


class UploadTooSlow(Refusal):
    """The client sends so slowly that it is rather holding the connection than using it."""

    status = 408
    code = "UPLOAD_TOO_SLOW"
    title = "Upload too slow"


@dataclass(frozen=True)
class ReceivedForm:
    """A form whose files lie on disk: ``async with await receive_form(…) as form: …`` removes those still there in the end."""

    fields: dict[str, str]
    files: tuple[ReceivedFile, ...]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await remove_files(file.path for file in self.files)


async def receive_form(
    request: Request,
    *,
    spool: Callable[[], Path],
    max_file_bytes: int,
    max_files: int,
    max_field_bytes: int = 64 * 1024,
    max_fields: int = 50,
    min_bytes_per_second: int = MIN_BYTES_PER_SECOND,
    grace_seconds: float = GRACE_SECONDS,
) -> ReceivedForm:
    """Read the request's multipart form, each file into a fresh path from ``spool``.

    A file over ``max_file_bytes`` carries ``error`` (`FileTooLarge`) and is not kept; the others are. Raises, after removing
    what was written: `MultipartExpected`, `MalformedMultipart`, `UploadTooLarge`, `TooManyFiles`, `TooManyFields`,
    `FieldTooLarge`; `UploadTooSlow` when less than ``min_bytes_per_second`` came in on average once ``grace_seconds`` have passed
    (the time that our disk takes does not count); `BlobsUnavailable` when the disk does not take it; and Starlette's
    ``ClientDisconnect``.
    """
    limits = FormLimits(
        files=max_files,
        fields=max_fields,
        field_bytes=max_field_bytes,
        header_bytes=_PART_OVERHEAD // 2,
    )
    # One file too many and one twice as large still get the error that names them; what is beyond is not worth receiving.
    parts = (max_files + 1) * (max_file_bytes + _PART_OVERHEAD) + (max_fields + 1) * (max_field_bytes + _PART_OVERHEAD)
    allow_body(request, parts)
    reading = _Reading(FormParser(_boundary(request), limits, lambda part: SpooledFile(part, spool, max_file_bytes)))
    try:
        async with _Patience(min_bytes_per_second, grace_seconds) as patience:
            async for chunk in request.stream():
                patience.received(len(chunk))
                await reading.take(chunk)
                patience.wait()
        await reading.end()
    except BodyTooLarge as error:
        await reading.abandon()
        raise UploadTooLarge(files=max_files, limit=max_file_bytes) from error
    except OSError as error:
        await reading.abandon()
        raise BlobsUnavailable("The upload could not be stored. Try again later.") from error
    except BaseException:
        await reading.abandon()
        raise
    return ReceivedForm(reading.fields, tuple(file.received() for file in reading.files))


@dataclass
class _Reading:
    """A form as far as it has been read."""

    parser: FormParser[SpooledFile]
    fields: dict[str, str] = field(default_factory=dict)
    files: list[SpooledFile] = field(default_factory=list)

    async def take(self, chunk: bytes) -> None:
        """Parse a chunk and let the disk follow."""
        self.parser.write(chunk)
        await self._store()

    async def end(self) -> None:
        """The body has ended: so must have the form."""
        self.parser.end()
        await self._store()

    async def _store(self) -> None:
        ended, self.parser.ended = self.parser.ended, []
        for part in ended:
            if isinstance(part, FieldPart):
                self.fields[part.name] = part.text()
            elif not part.is_unfilled_input:
                self.files.append(part)
                await part.finish()
        if isinstance(self.parser.current, SpooledFile):
            await self.parser.current.flush_when_worth_it()

    async def abandon(self) -> None:
        """Close and remove all that was written, even while being cancelled."""
        unfinished = [part for part in (self.parser.current, *self.parser.ended) if isinstance(part, SpooledFile)]
        for file in unfinished:
            await asyncio.shield(file.discard())
        await asyncio.shield(remove_files(file.path for file in self.files))


class _Patience:
    """A body must come at ``rate`` bytes a second on average once ``grace`` seconds have passed; else `UploadTooSlow`.

    Only the time counts in which the client is waited for. A clock of its own for every chunk would cost more than parsing it: so
    one timer looks now and then, no later than patience can have run out.
    """

    def __init__(self, rate: int, grace: float) -> None:
        self._rate, self._grace = rate, grace
        self._loop = asyncio.get_running_loop()
        self._bytes, self._waited = 0, 0.0
        self._asked: float | None = self._loop.time()
        self._end = asyncio.timeout(None)
        self._look = self._loop.call_later(grace, self._judge)

    async def __aenter__(self) -> Self:
        await self._end.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._look.cancel()
        try:
            await self._end.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            raise UploadTooSlow(limit=self._rate) from timeout

    def received(self, count: int) -> None:
        """So many bytes have come; what we do with them now is our own time."""
        self._waited, self._asked = self._until_now(), None
        self._bytes += count

    def wait(self) -> None:
        """From now on the client is waited for."""
        self._asked = self._loop.time()

    def _until_now(self) -> float:
        """Seconds for which the client was waited for."""
        return self._waited + (0.0 if self._asked is None else self._loop.time() - self._asked)

    def _judge(self) -> None:
        left = max(self._grace, self._bytes / self._rate) - self._until_now()
        if left > 0:
            self._look = self._loop.call_later(left, self._judge)
        elif self._asked is None:  # it was slow, and came: it is judged when it is waited for again
            self._look = self._loop.call_later(self._grace, self._judge)
        else:
            self._end.reschedule(self._loop.time())


def _boundary(request: Request) -> bytes:
    """The boundary that the Content-Type names. Raises `MultipartExpected`."""
    media_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    boundary = parameters.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 1 <= len(boundary) <= 70:  # noqa: PLR2004 - RFC 2046, section 5.1.1
        raise MultipartExpected(field="Content-Type", limit="multipart/form-data")
    return boundary
