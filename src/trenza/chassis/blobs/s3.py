"""Objects in an S3 bucket (AWS or a compatible server), with URLs that the bucket itself serves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from trenza.chassis.blobs.folder import naming_the_cause
from trenza.chassis.blobs.identity import MARKER, as_marker, read_marker
from trenza.chassis.blobs.keys import MAX_KEY_BYTES, check_key, check_prefix
from trenza.chassis.blobs.media_types import UNKNOWN_MEDIA_TYPE, media_type_of
from trenza.chassis.blobs.objects import MAX_CHUNK_BYTES, BlobMissing, Blobs, BlobStat, BlobsUnavailable, SignedMethod
from trenza.chassis.blobs.presigned import StaticCredentials, with_download_name, with_length
from trenza.chassis.blobs.s3_errors import in_our_words, knows_no_conditions
from trenza.chassis.blobs.signatures import check_download_name, check_length, check_lifetime
from trenza.chassis.blobs.spool import Spool, discard
from trenza.chassis.clock import Clock, SystemClock

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

__all__ = ["S3Blobs"]

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

PART_BYTES = 8 * 1024 * 1024
"""What travels in one request: larger files go up in such parts, and streams come down in them."""
PARTS_AT_ONCE = 4
LIST_BATCH = 1000
_MARKER_ATTEMPTS = 5
CLIENT: ClientConfig = {
    "connect_timeout": timedelta(seconds=5),
    # For one attempt at one request, body included: no request carries more than a part, unless `get` is asked for more.
    "timeout": timedelta(seconds=60),
    "pool_idle_timeout": timedelta(seconds=60),
}
RETRIES: RetryConfig = {
    # Three attempts; obstore repeats 5xx, lost connections, and time-outs of reads, with exponential backoff and jitter.
    "max_retries": 2,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "base": 2, "max_backoff": timedelta(seconds=5)},
    "retry_timeout": timedelta(seconds=30),
}


class S3Blobs(Blobs):
    """Objects in ``s3://bucket/prefix``. Credentials, region and endpoint come from ``AWS_*`` in the environment.

    Parts of an upload that was cut off stay in the bucket, invisible: give it a lifecycle rule that aborts incomplete multipart
    uploads after a day.
    """

    def __init__(self, url: str, *, spool: Path, clock: Clock | None = None) -> None:
        target = urlsplit(url)
        self._bucket, self._prefix = target.netloc, target.path.strip("/")
        if not self._bucket or target.query or target.fragment:
            message = f"TRENZA_BLOBS_URL is {url!r}: write s3://bucket or s3://bucket/prefix"
            raise ValueError(message)
        if self._prefix:
            check_key(self._prefix)
        # The bucket holds the prefix and a slash as part of each key.
        self._max_key_bytes = MAX_KEY_BYTES - (len(self._prefix.encode()) + 1 if self._prefix else 0)
        client = CLIENT
        if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINT_VARIABLES):
            client = {**CLIENT, "allow_http": True}  # obstore wants to be told; an endpoint that is spelled http:// tells
        self._store = S3Store(self._bucket, prefix=self._prefix or None, client_options=client, retry_config=RETRIES)
        self._credentials = StaticCredentials.of(os.environ)
        self._clock = clock or SystemClock()
        with naming_the_cause("be opened"):
            self._spool = Spool(spool)

    async def identity(self) -> UUID | None:
        """Download the marker."""
        try:
            with in_our_words(MARKER):
                found = await obstore.get_async(self._store, MARKER)
                return read_marker(bytes(await found.bytes_async()))
        except BlobMissing:
            return None

    async def make_identity(self) -> UUID:
        """Upload a marker on condition that there is none, and download which one that is."""
        marker = as_marker(uuid4())
        for _ in range(_MARKER_ATTEMPTS):
            if (found := await self.identity()) is not None:
                return found
            with in_our_words(MARKER), suppress(AlreadyExistsError):  # Amazon says so even while another is only on its way
                try:
                    await self._put_marker(marker, "create")
                except BaseError as error:
                    if not knows_no_conditions(error):
                        raise
                    await self._put_marker(marker, "overwrite")
        raise BlobsUnavailable(f"the object storage keeps no {MARKER}", remedy="let the credentials put and get objects")

    async def _put_marker(self, marker: bytes, mode: Literal["create", "overwrite"]) -> None:
        await obstore.put_async(self._store, MARKER, marker, attributes={"Content-Type": "text/plain"}, mode=mode)

    async def put_file(self, key: str, path: Path, *, media_type: str) -> BlobStat:
        """Upload the file, in parts when it is large, and remove it."""
        self._check(key)
        size = (await asyncio.to_thread(path.stat)).st_size
        async with self._asking(key):
            result = await obstore.put_async(
                self._store,
                key,
                path,
                attributes={"Content-Type": media_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        await asyncio.to_thread(path.unlink)
        return self._put_stat(key, size, result["e_tag"], media_type)

    async def put(self, key: str, data: bytes, *, media_type: str) -> BlobStat:
        """Upload the bytes."""
        self._check(key)
        async with self._asking(key):
            result = await obstore.put_async(
                self._store,
                key,
                data,
                attributes={"Content-Type": media_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        return self._put_stat(key, len(data), result["e_tag"], media_type)

    def _put_stat(self, key: str, size: int, etag: str | None, media_type: str) -> BlobStat:
        return BlobStat(key, size, etag or "", media_type, self._clock.now().replace(microsecond=0))

    async def get(self, key: str) -> bytes:
        """Download the object."""
        self._check(key)
        async with self._asking(key):
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Download a part of the object."""
        return b"".join([chunk async for chunk in self.stream(key, start=start, end=start + length)])

    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Download part after part: a slow reader holds no connection open, and a lost one costs a part, not the stream."""
        self._check(key)
        _check_range(start, end)
        part = await self._first_part(key, start, end)
        while part is not None:
            for offset in range(0, len(part.data), MAX_CHUNK_BYTES):
                yield bytes(part.data[offset : offset + MAX_CHUNK_BYTES])
            start += len(part.data)
            last = part.size if end is None else min(end, part.size)
            if start >= last:
                return
            part = await self._part(key, start, min(last, start + PART_BYTES), part.etag)

    async def _first_part(self, key: str, start: int, end: int | None) -> _Part | None:
        """The first part of a stream; None when nothing of the object lies in the range."""
        if start != end:  # S3 has no notation for an empty range
            try:
                return await self._part(key, start, start + PART_BYTES if end is None else min(end, start + PART_BYTES), None)
            except BlobsUnavailable:
                # S3 answers 416 when the range starts at or beyond the end, and obstore has no error of its own for that.
                if start < (await self._existing(key)).size:
                    raise
                return None
        await self._existing(key)
        return None

    async def _part(self, key: str, start: int, end: int, etag: str | None) -> _Part:
        options: GetOptions = {"range": (start, end)}
        if etag is not None:
            options["if_match"] = etag
        async with self._asking(key):
            found = await obstore.get_async(self._store, key, options=options)
            return _Part(memoryview(await found.bytes_async()), found.meta["size"], found.meta["e_tag"])

    async def stat(self, key: str) -> BlobStat | None:
        """Ask for the headers alone."""
        self._check(key)
        try:
            async with self._asking(key):
                found = await obstore.get_async(self._store, key, options={"head": True})
        except BlobMissing:
            return None
        return self._stat_of(found.meta, found.attributes.get("Content-Type", UNKNOWN_MEDIA_TYPE))

    async def _existing(self, key: str) -> BlobStat:
        found = await self.stat(key)
        if found is None:
            raise BlobMissing(f"there is no object {key!r}", key=key)
        return found

    async def delete(self, *keys: str) -> None:
        """Delete up to a thousand objects per request."""
        for key in keys:
            self._check(key)
        if keys:
            async with self._asking(keys[0]):
                await obstore.delete_async(self._store, list(keys))

    async def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        """List page after page."""
        async with self._asking(prefix):
            async for page in obstore.list(self._store, check_prefix(prefix) or None, chunk_size=LIST_BATCH):
                for found in page:
                    yield self._stat_of(found, media_type_of(found["path"]))

    async def signed_url(
        self,
        key: str,
        *,
        method: SignedMethod = "GET",
        expires_in: timedelta,
        download_name: str | None = None,
        length: int | None = None,
    ) -> str:
        """A presigned URL of the bucket (AWS Signature Version 4)."""
        self._check(key)
        check_lifetime(expires_in)
        check_download_name(download_name)
        check_length(length, method)
        with in_our_words(key):
            url = await obstore.sign_async(self._store, method, key, expires_in)
        if download_name and method == "GET" and self._credentials:
            return with_download_name(url, download_name, self._credentials)
        if length is not None and self._credentials:
            return with_length(url, length, self._credentials)
        return url

    def local_path(self, key: str) -> Path | None:
        """None: the object is not on this machine."""
        self._check(key)
        return None

    @asynccontextmanager
    async def as_file(self, key: str) -> AsyncIterator[Path]:
        """Download into the spool, for as long as the block runs."""
        path = self._spool.new_file(Path(key).suffix)
        try:
            with naming_the_cause("keep a download"), await asyncio.to_thread(path.open, "xb") as file:
                async for chunk in self.stream(key):
                    await asyncio.to_thread(file.write, chunk)
            yield path
        finally:
            discard(path)

    def new_spool_file(self, suffix: str = "") -> Path:
        """A path in the data folder's spool."""
        return self._spool.new_file(suffix)

    async def ping(self) -> None:
        """List at most one object, which fails for a wrong bucket, wrong credentials and an unreachable endpoint alike."""
        async with self._asking("ping"):
            await anext(aiter(obstore.list(self._store, chunk_size=1)), None)

    async def close(self) -> None:
        """Nothing to do: obstore closes its connections with the store."""

    @asynccontextmanager
    async def _asking(self, key: str) -> AsyncIterator[None]:
        await self._prove()
        with in_our_words(key):
            yield

    def _check(self, key: str) -> None:
        check_key(key, max_bytes=self._max_key_bytes)

    def _stat_of(self, found: ObjectMeta, media_type: str) -> BlobStat:
        modified = found["last_modified"].astimezone(UTC)
        return BlobStat(found["path"], found["size"], found["e_tag"] or "", media_type, modified)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an object, with the whole object's size and entity tag."""

    data: memoryview
    size: int
    etag: str | None


def _check_range(start: int, end: int | None) -> None:
    if start < 0 or (end is not None and end < start):
        message = f"a range of bytes cannot go from {start} to {end}"
        raise ValueError(message)
