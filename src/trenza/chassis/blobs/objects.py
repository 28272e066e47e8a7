"""What an object store offers, whichever it is, and the errors by which it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from trenza.chassis.blobs.identity import UnreadableIdentity
from trenza.chassis.contract import ContractError

if TYPE_CHECKING:
    from trenza.chassis.blobs.signatures import UrlSigner

__all__ = [
    "MAX_CHUNK_BYTES",
    "MAX_URL_LIFETIME",
    "BlobMissing",
    "BlobStat",
    "Blobs",
    "BlobsUnavailable",
    "InvalidBlobKey",
    "SignedMethod",
]

MAX_CHUNK_BYTES = 1024 * 1024
"""The most that `Blobs.stream` yields at once: 1 MiB."""
MAX_URL_LIFETIME = timedelta(days=7)
"""S3's limit for presigned URLs, kept for local ones too so that moving to S3 breaks no caller."""

SignedMethod = Literal["GET", "PUT"]


class BlobMissing(ContractError):
    """There is no object under the key."""

    status = 404
    title = "Object not found"


class InvalidBlobKey(ContractError):
    """The key could not mean the same in every store; see `trenza.chassis.blobs.keys` for the rules."""

    status = 422
    title = "Invalid object key"


class BlobsUnavailable(ContractError):
    """The store cannot do it now: full, read-only, unreachable, or it refused our credentials.

    The detail names the cause without paths, hosts or credentials; the original error is the ``__cause__``.
    """

    status = 503
    title = "Object storage unavailable"


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What is known about an object without reading it."""

    key: str
    size: int
    """In bytes."""
    etag: str
    """A strong entity tag with its quotation marks, as it stands in an ``ETag`` header. Changes with every put."""
    media_type: str
    modified: datetime
    """When it was put: aware, in UTC. S3 keeps whole seconds."""


class Blobs(ABC):
    """Objects by key. The same promises over a local folder and over S3; one conformance suite holds both to them.

    A put is atomic and durable: when it returns, the object survives a power cut; before, no reader sees any part of it. When a
    put raises, the object is as it was before, except after a broken disk or connection in its very last step, when it may be
    the new one. Every operation raises `InvalidBlobKey` for a bad key and `BlobsUnavailable` when the store cannot serve.
    """

    url_signer: UrlSigner | None = None
    """What signs URLs that the platform serves itself; None where the store serves its own."""
    _expected: UUID | None = None

    @abstractmethod
    async def identity(self) -> UUID | None:
        """What tells this store from every other, by whatever way it is reached; None before `make_identity`.

        It lies in an object, which is listed and copied as others are. Raises `UnreadableIdentity` when that holds no identity.
        """

    @abstractmethod
    async def make_identity(self) -> UUID:
        """`identity`, made when there is none. All that do so at once get the same.

        On S3 this rests on conditional writes (``If-None-Match``); servers without them keep the one that was written last.
        """

    def expect(self, identity: UUID) -> None:
        """Serve nothing before the store has shown this identity, for a start at which it does not answer.

        Until then every operation but signing raises `BlobsUnavailable`, and `local_path` is None.
        """
        self._expected = identity

    async def _prove(self) -> None:
        """What an implementation does first in each operation: raise `BlobsUnavailable` unless the expected store is there."""
        if self._expected is None:
            return
        with suppress(UnreadableIdentity):
            if await self.identity() == self._expected:
                self._expected = None
                return
        raise BlobsUnavailable(
            "this is not the object store that the databases belong to", remedy="restart the server: it says what to do"
        )

    @abstractmethod
    async def put_file(self, key: str, path: Path, *, media_type: str) -> BlobStat:
        """Store a file under a key and consume it: afterwards ``path`` is gone.

        Make the file with `new_spool_file`, then a local store only renames it. When this raises, the file is still the caller's.
        """

    @abstractmethod
    async def put(self, key: str, data: bytes, *, media_type: str) -> BlobStat:
        """Store bytes under a key, replacing what was there."""

    @abstractmethod
    async def get(self, key: str) -> bytes:
        """The whole object, in memory. Raises `BlobMissing`."""

    @abstractmethod
    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to before ``end`` in chunks of at most 1 MiB; what lies beyond the object is left out.

        Raises `BlobMissing` on the first step. All chunks are of one version: when the object is replaced meanwhile, a local
        store goes on with the old version, and S3 raises `BlobsUnavailable`.
        """

    @abstractmethod
    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``; fewer, or none, where the object ends before. Raises `BlobMissing`."""

    @abstractmethod
    async def stat(self, key: str) -> BlobStat | None:
        """What is known about an object, or None when there is none."""

    @abstractmethod
    async def delete(self, *keys: str) -> None:
        """Remove objects durably. A missing one is no error."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        """The objects under a folder (``photos/UP-1`` finds ``photos/UP-1/a.jpg`` but not ``photos/UP-12/a.jpg``), in no order.

        The media types are those of the keys' extensions: S3 lists no others.
        """

    @abstractmethod
    async def signed_url(
        self,
        key: str,
        *,
        method: SignedMethod = "GET",
        expires_in: timedelta,
        download_name: str | None = None,
        length: int | None = None,
    ) -> str:
        """An absolute URL by which anybody may read (or write) this one object until it expires, at most 7 days from now.

        The object need not exist. ``download_name`` makes browsers save the object under that file name. On S3 it takes effect
        where the credentials are in ``AWS_ACCESS_KEY_ID``; credentials of an instance role sign the URL without it. The same is
        true of ``length``: a URL to write then takes a body of exactly so many bytes, told in ``Content-Length``, and no other.
        """

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """The file that holds the object, existing or not, to be read only; None unless the store is a local folder."""

    @abstractmethod
    def as_file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The object as a file for programs that need one: the local file itself, or a temporary download. Only read it."""

    @abstractmethod
    def new_spool_file(self, suffix: str = "") -> Path:
        """A fresh path (no file yet) for bytes on their way to `put_file`.

        What is left there is removed at the first start after this process has ended.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Ask the store for a sign of life; raises `BlobsUnavailable`."""

    @abstractmethod
    async def close(self) -> None:
        """Release threads and connections."""
