"""Objects in a local folder, the embedded default: durable, with URLs that the platform signs and serves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

from trenza.chassis.blobs.folder import ObjectFolder, naming_the_cause, read_fully
from trenza.chassis.blobs.identity import MARKER, as_marker, read_marker
from trenza.chassis.blobs.keys import check_key, check_prefix
from trenza.chassis.blobs.media_types import media_type_of
from trenza.chassis.blobs.objects import MAX_CHUNK_BYTES, BlobMissing, Blobs, BlobStat, SignedMethod
from trenza.chassis.blobs.signatures import UrlSigner
from trenza.chassis.blobs.spool import Spool

__all__ = ["LocalBlobs"]

T = TypeVar("T")

THREADS = 16
"""Own threads, so that a burst of syncing puts does not hold up what else runs in the event loop's default pool."""
LIST_BATCH = 500


class LocalBlobs(Blobs):
    """Objects as files under ``root``; one hop into a thread per operation.

    The media type is that of the key's extension, for a file has none: name objects with their extension. A key cannot be both an
    object and a folder of others. The entity tag is made of inode, size and time of modification in nanoseconds: every put makes
    a new inode while the old one still exists, so that two versions differ even within one tick of the file system's clock.
    """

    def __init__(self, root: Path, *, spool: Path, url_signer: UrlSigner) -> None:
        with naming_the_cause("be opened"):
            self._spool = Spool(spool)
        self._folder = ObjectFolder(root, self._spool)
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="blobs")
        self.url_signer: UrlSigner = url_signer

    async def identity(self) -> UUID | None:
        """Read the marker."""
        try:
            return read_marker(await self._in_thread(partial(self._folder.read, MARKER, 0, None)))
        except BlobMissing:
            return None

    async def make_identity(self) -> UUID:
        """Link a marker into place, and read which one that is."""
        while (found := await self.identity()) is None:
            await self._in_thread(partial(self._folder.write_once, MARKER, as_marker(uuid4())))
        return found

    async def put_file(self, key: str, path: Path, *, media_type: str) -> BlobStat:  # noqa: ARG002 - see the class: by extension
        """Rename the file into place."""
        return _stat_of(key, await self._hop(partial(self._folder.take, check_key(key), path)))

    async def put(self, key: str, data: bytes, *, media_type: str) -> BlobStat:  # noqa: ARG002 - see the class: by extension
        """Write to the spool and rename into place."""
        return _stat_of(key, await self._hop(partial(self._folder.write, check_key(key), data)))

    async def get(self, key: str) -> bytes:
        """Read the file."""
        return await self._hop(partial(self._folder.read, check_key(key), 0, None))

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Read a part of the file."""
        _check_range(start, start + length)
        return await self._hop(partial(self._folder.read, check_key(key), start, length))

    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Read the file in chunks; an object within one chunk costs one hop."""
        _check_range(start, end)
        descriptor, chunk, left = await self._hop(partial(self._first_chunk, check_key(key), start, end), undo=_close_stream)
        try:
            while chunk:
                yield chunk
                start, left = start + len(chunk), left - len(chunk)
                if not left or descriptor is None:
                    return
                chunk = await self._hop(partial(_read_chunk, descriptor, start, left))
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _first_chunk(self, key: str, start: int, end: int | None) -> tuple[int | None, bytes, int]:
        """An open descriptor unless the chunk is all, the chunk, and the bytes to come with it included."""
        descriptor = self._folder.open(key)
        keep = False
        try:
            size = os.fstat(descriptor).st_size
            left = max(0, min(size, size if end is None else end) - start)
            chunk = _read_chunk(descriptor, start, left)
            keep = 0 < len(chunk) < left
            return descriptor if keep else None, chunk, left
        finally:
            if not keep:
                os.close(descriptor)

    async def stat(self, key: str) -> BlobStat | None:
        """Ask the file system."""
        found = await self._hop(partial(self._folder.stat, check_key(key)))
        return None if found is None else _stat_of(key, found)

    async def delete(self, *keys: str) -> None:
        """Unlink, prune, sync."""
        await self._hop(partial(self._folder.delete, tuple(check_key(key) for key in keys)))

    async def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        """Walk the folder, a batch per hop."""
        found = self._folder.list(check_prefix(prefix))
        while batch := await self._hop(lambda: list(islice(found, LIST_BATCH))):
            for key, stat in batch:
                yield _stat_of(key, stat)

    async def signed_url(
        self,
        key: str,
        *,
        method: SignedMethod = "GET",
        expires_in: timedelta,
        download_name: str | None = None,
        length: int | None = None,
    ) -> str:
        """Sign with the platform's secret; `trenza.chassis.http.blobs` serves it."""
        return self.url_signer.url(key, method=method, expires_in=expires_in, download_name=download_name, length=length)

    def local_path(self, key: str) -> Path | None:
        """The file of the key."""
        path = self._folder.path(check_key(key))
        return path if self._expected is None else None

    @asynccontextmanager
    async def as_file(self, key: str) -> AsyncIterator[Path]:
        """The file of the key itself."""
        if await self.stat(key) is None:
            raise BlobMissing(f"there is no object {key!r}", key=key)
        yield self._folder.path(key)

    def new_spool_file(self, suffix: str = "") -> Path:
        """A path beside the objects, on the same file system."""
        return self._spool.new_file(suffix)

    async def ping(self) -> None:
        """Write and remove a small file."""
        await self._hop(self._folder.probe)

    async def close(self) -> None:
        """Wait for the operations that run, and end the threads."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)

    async def _hop(self, operation: Callable[[], T], *, undo: Callable[[T], None] | None = None) -> T:
        await self._prove()
        return await self._in_thread(operation, undo=undo)

    async def _in_thread(self, operation: Callable[[], T], *, undo: Callable[[T], None] | None = None) -> T:
        """Run a blocking operation. When the caller is cancelled meanwhile, ``undo`` gets the result nobody wants."""
        running = self._threads.submit(operation)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            if undo is not None:
                running.add_done_callback(partial(_undo, undo))
            raise


def _undo(undo: Callable[[T], None], done: Future[T]) -> None:
    if not done.cancelled() and done.exception() is None:
        undo(done.result())


def _close_stream(opened: tuple[int | None, bytes, int]) -> None:
    if opened[0] is not None:
        os.close(opened[0])


def _read_chunk(descriptor: int, start: int, left: int) -> bytes:
    with naming_the_cause("be read"):
        return read_fully(descriptor, start, min(left, MAX_CHUNK_BYTES))


def _check_range(start: int, end: int | None) -> None:
    if start < 0 or (end is not None and end < start):
        message = f"a range of bytes cannot go from {start} to {end}"
        raise ValueError(message)


def _stat_of(key: str, found: os.stat_result) -> BlobStat:
    return BlobStat(
        key=key,
        size=found.st_size,
        etag=f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"',
        media_type=media_type_of(key),
        modified=datetime.fromtimestamp(found.st_mtime_ns / 1e9, UTC),
    )
