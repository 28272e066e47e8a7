"""Direct uploads: a link to put a file into the object store, and making a photo of what was put there."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from trenza.chassis.blobs import BlobMissing, BlobsUnavailable, discard
from trenza.chassis.context import current_context
from trenza.chassis.http.spooling import FileTooLarge
from trenza.chassis.identifiers import uuid7
from trenza.chassis.service import Resources
from trenza.services.photos import rules, store
from trenza.services.photos.contract import PhotoNotFound, UploadCompleted, UploadIncomplete, UploadMismatch, UploadNotFound
from trenza.services.photos.rules import DirectUpload, UploadDetails
from trenza.services.photos.service.uploads import Accepted, IncomingFile, Uploads
from trenza.services.photos.settings import PhotosSettings

__all__ = ["DirectUploads"]

_GRACE: Final = timedelta(hours=1)
"""How long after its link's end an upload can be completed: a transfer that began in time may take a while."""
_FOLDER: Final = "uploads/photos"
_BATCH: Final = 100
_HEAD_BYTES: Final = 64


class DirectUploads:
    """Uploads whose bytes do not come through the API."""

    def __init__(self, resources: Resources[PhotosSettings], uploads: Uploads) -> None:
        self._settings = resources.settings
        self._database = resources.database
        self._blobs = resources.blobs
        self._clock = resources.clock
        self._uploads = uploads
        if (signer := resources.blobs.url_signer) is not None:  # else the store serves its own links
            signer.guard_puts(_FOLDER, self._refuse_completed)

    async def start(
        self, details: UploadDetails, *, filename: str | None, size: int, sha256: str | None
    ) -> tuple[DirectUpload, str]:
        """Promise to take in a file of ``size`` bytes; the upload, and the URL to put the file to. Raises `FileTooLarge`."""
        if size > self._settings.max_file_bytes:
            raise FileTooLarge(field="bytes", limit=self._settings.max_file_bytes)
        lifetime = timedelta(seconds=self._settings.upload_seconds)
        upload_id = uuid7()
        upload = DirectUpload(
            id=upload_id,
            filename=rules.clean_filename(filename),
            bytes=size,
            sha256=sha256,
            key=f"{_FOLDER}/{upload_id}",
            details=details,
            created_by=current_context().principal.subject,
            expires_at=self._clock.now() + lifetime,
        )
        url = await self._blobs.signed_url(upload.key, method="PUT", expires_in=lifetime, length=size)
        async with self._database.work() as work:
            await store.add_upload(work, upload)
        return upload, url

    async def complete(self, upload_id: UUID, *, units: frozenset[str] | None) -> Accepted:
        """Make a photo of what was put, as if it had been uploaded; completing again gives the same photo.

        ``units`` are the organisation units in which the caller may upload, None for all. The bytes are read once more to verify
        them, and stored where nobody holds a link to write. Raises `UploadNotFound` (also for what is not the caller's),
        `UploadIncomplete`, `UploadMismatch`, and what `Uploads.accept` raises.
        """
        async with self._database.read() as connection:
            upload = await store.find_upload(connection, upload_id)
            own = upload is not None and upload.created_by == current_context().principal.subject
            if upload is None or not own or not (units is None or upload.details.unit in units):
                raise UploadNotFound("there is no such upload of yours, or it has expired", remedy="ask for a new one")
            if upload.photo_id is not None:
                photo = await store.find(connection, upload.photo_id)
                if photo is None:
                    raise PhotoNotFound("the photo of this upload has been deleted", remedy="ask for a new upload")
                return Accepted(photo, created=False)
        path = self._blobs.new_spool_file()
        try:
            accepted = await self._uploads.accept(await self._verified(upload, path), upload.details)
        finally:
            await asyncio.to_thread(discard, path)
        async with self._database.work() as work:
            await store.finish_upload(work, upload.id, accepted.photo.id)
        await self._blobs.delete(upload.key)
        return accepted

    async def sweep(self) -> int:
        """Remove uploads that were never completed, and what was put for them, once their time is over; returns how many."""
        swept = 0
        while True:
            async with self._database.read() as connection:
                expired = await store.expired_uploads(connection, self._clock.now() - _GRACE, _BATCH)
            if not expired:
                return swept
            await self._blobs.delete(*expired.values())  # before the rows: what is lost sight of would stay for ever
            async with self._database.work() as work:
                await store.forget_uploads(work, tuple(expired))
            swept += len(expired)

    async def _refuse_completed(self, key: str) -> None:
        """Raise `UploadCompleted` for a file that comes too late: it would lie there unread."""
        async with self._database.read() as connection:
            upload = await store.find_upload(connection, UUID(key.removeprefix(f"{_FOLDER}/")))
        if upload is not None and upload.photo_id is not None:
            raise UploadCompleted("this upload has been completed; its link takes no more files", remedy="ask for a new upload")

    async def _verified(self, upload: DirectUpload, path: Path) -> IncomingFile:
        """The object as a received file at ``path``, once it is what was promised."""
        stat = await self._blobs.stat(upload.key)
        if stat is None:
            raise UploadIncomplete(
                "nothing has been put to the link yet", field="url", remedy="PUT the file to the url, then complete"
            )
        if stat.size != upload.bytes:
            raise _mismatch("bytes", f"{stat.size} bytes were put, {upload.bytes} were promised", upload.bytes)
        digest, head, size = hashlib.sha256(), b"", 0
        try:
            with await asyncio.to_thread(path.open, "xb") as file:
                async for chunk in self._blobs.stream(upload.key, end=upload.bytes):
                    head = head or chunk[:_HEAD_BYTES]
                    size += len(chunk)
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        except BlobMissing:
            raise UploadIncomplete("this upload is being completed already", remedy="complete it again to see") from None
        except OSError as error:
            raise BlobsUnavailable("The upload could not be stored. Try again later.") from error
        found = digest.hexdigest()
        if upload.sha256 not in (None, found):
            raise _mismatch("sha256", "what was put has another SHA-256 than was promised", upload.sha256)
        return IncomingFile(path=path, filename=upload.filename, size=size, sha256=found, head=head)


def _mismatch(field: str, detail: str, promised: int | str | None) -> UploadMismatch:
    return UploadMismatch(detail, field=field, limit=promised, remedy="put the whole file to the url again, then complete")
