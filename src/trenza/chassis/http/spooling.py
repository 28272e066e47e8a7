"""Files of an upload on their way to disk: written and hashed in batches beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trenza.chassis.blobs import discard
from trenza.chassis.contract import ContractError
from trenza.chassis.http.multipart import PartHeaders, safe_filename
from trenza.chassis.http.phrases import Refusal

__all__ = ["FileTooLarge", "ReceivedFile", "SpooledFile", "remove_files"]

BATCH_BYTES = 512 * 1024
"""One hop to a thread costs about as much as hashing 64 KiB; at this size it is lost in the noise. At most two are in memory."""
HEAD_BYTES = 64


class FileTooLarge(Refusal):
    """One file of an upload is over the limit."""

    status: ClassVar[int] = 413
    code = "FILE_TOO_LARGE"
    title = "File too large"


@dataclass(frozen=True)
class ReceivedFile:
    """One file of an upload.

    ``field`` and ``filename`` are the form's (the name is safe to store and show; it says nothing about the content, and neither
    does ``declared_type``). ``size`` is in bytes, ``sha256`` in hexadecimal, ``head`` the first 64 bytes. With an ``error`` there
    is no file at ``path`` and ``sha256`` is empty.
    """

    field: str
    filename: str
    declared_type: str
    path: Path
    size: int
    sha256: str
    head: bytes
    error: ContractError | None = None


class SpooledFile:
    """A file while it arrives: a `FilePart` whose bytes wait in memory until a batch is worth a write.

    While a batch is written the next one arrives.
    """

    def __init__(self, headers: PartHeaders, spool: Callable[[], Path], limit: int) -> None:
        self.path = spool()
        self._headers = headers
        self._limit = limit
        self._size = 0
        self._head = b""
        self._hash = hashlib.sha256()
        self._batch: list[memoryview] = []
        self._batched = 0
        self._writing: asyncio.Future[None] | None = None
        self._descriptor: int | None = None
        self._given_up = False
        # A cancelled request leaves its last write running in a thread: the file must not be closed under it.
        self._disk = threading.Lock()

    @property
    def is_unfilled_input(self) -> bool:
        """Whether this is what browsers send for a file input without a choice."""
        return self._headers.filename == "" and self._size == 0

    @property
    def _too_large(self) -> bool:
        return self._size > self._limit

    def feed(self, data: memoryview) -> None:
        """Take the next bytes; those of a file that is too large are counted and dropped."""
        self._size += len(data)
        if self._too_large:
            self._batch.clear()
            self._batched = 0
            return
        if len(self._head) < HEAD_BYTES:
            self._head += bytes(data[: HEAD_BYTES - len(self._head)])
        self._batch.append(data)
        self._batched += len(data)

    async def flush_when_worth_it(self) -> None:
        """Begin to write what waits when it makes a batch, once the one before is written. Raises its ``OSError``."""
        if self._batched >= BATCH_BYTES:
            await self._written()
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, self._taken())
        elif self._too_large and not self._given_up:
            await self.discard()

    async def finish(self) -> None:
        """Write the rest and close, in one hop. Raises ``OSError``."""
        if self._too_large:
            await self.discard()
        else:
            await self._written()
            await asyncio.to_thread(self._write, self._taken(), last=True)

    async def discard(self) -> None:
        """Close and remove what was written; what went wrong in writing it no longer matters."""
        await asyncio.to_thread(self._remove)
        with contextlib.suppress(OSError):
            await self._written()

    def received(self) -> ReceivedFile:
        """The file, once it is finished."""
        error = FileTooLarge(limit=self._limit, field=self._headers.name) if self._too_large else None
        return ReceivedFile(
            field=self._headers.name,
            filename=safe_filename(self._headers.filename or ""),
            declared_type=self._headers.media_type,
            path=self.path,
            size=self._size,
            sha256="" if error else self._hash.hexdigest(),
            head=self._head,
            error=error,
        )

    async def _written(self) -> None:
        """Wait for the batch that is being written. Raises ``OSError``."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    def _taken(self) -> list[memoryview]:
        """What waits to be written; nothing waits any more."""
        batch, self._batch, self._batched = self._batch, [], 0
        return batch

    def _write(self, views: list[memoryview], *, last: bool = False) -> None:
        with self._disk:
            if self._given_up:
                return
            self._append(b"".join(views))
            if last:
                self._close()

    def _append(self, batch: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._hash.update(batch)
        rest = memoryview(batch)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _remove(self) -> None:
        with self._disk:
            self._given_up = True
            self._close()
            discard(self.path)


async def remove_files(paths: Iterable[Path]) -> None:
    """Remove those of the files that are still there. Mostly none is: then a look is all, without a hop to a thread."""
    remaining = tuple(path for path in paths if path.exists())
    if remaining:
        await asyncio.to_thread(_remove_all, remaining)


def _remove_all(paths: tuple[Path, ...]) -> None:
    for path in paths:
        discard(path)
