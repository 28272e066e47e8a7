"""Accepting files: from a received file to a durable original, its record and its queued task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trenza.chassis.context import current_context
from trenza.chassis.contract import CallFailed
from trenza.chassis.identifiers import uuid7
from trenza.chassis.service import Resources
from trenza.chassis.telemetry.logs import get_logger
from trenza.services.images.contract import ImageInfo, Images, InvalidImageFormat, SourceMissing
from trenza.services.photos import counters, rules, store
from trenza.services.photos.contract import Photo, PhotoUploaded
from trenza.services.photos.messages import RenderPhoto
from trenza.services.photos.rules import UploadDetails
from trenza.services.photos.settings import ORIGINAL, PhotosSettings

__all__ = ["Accepted", "IncomingFile", "Uploads"]

_log = get_logger(__name__)

_UPLOADED_MEMBERS: Final = PhotoUploaded.model_fields.keys() - {"photo_id"}
_RACES: Final = 3
"""How often an upload tries again when the photo that it lost a race to is deleted before it can be read."""


@dataclass(frozen=True)
class IncomingFile:
    """A file that has been received whole: where it lies, its ``size`` in bytes, its SHA-256 in hexadecimal, its first bytes."""

    path: Path
    filename: str
    size: int
    sha256: str
    head: bytes


@dataclass(frozen=True)
class Accepted:
    """A photo that is stored durably; ``created`` is False for one that was there before."""

    photo: Photo
    created: bool


class Uploads:
    """Takes files in."""

    def __init__(self, resources: Resources[PhotosSettings]) -> None:
        self._database = resources.database
        self._blobs = resources.blobs
        self._clock = resources.clock
        self._images = resources.call(Images)

    async def accept(self, file: IncomingFile, details: UploadDetails) -> Accepted:
        """Store a file durably and queue it; the file at ``file.path`` may be consumed.

        The same bytes under the same UPID and unit give the photo that is there. Raises the image engine's refusals;
        when the engine is down, a file that begins like a photo is accepted on that alone.
        """
        if existing := await self._same_bytes(details.upid, file.sha256, details.unit):
            return Accepted(existing, created=False)
        kind = rules.kind_of_file(file.head)
        media_type, extension = kind or ("application/octet-stream", "bin")
        photo_id = uuid7()
        key = rules.object_key(details.upid, photo_id, ORIGINAL, extension)
        await self._blobs.put_file(key, file.path, media_type=media_type)
        try:
            info = await self._inspect(key, looks_like_a_photo=kind is not None)
        except Exception:
            await self._blobs.delete(key)
            raise
        photo = Photo(
            id=photo_id,
            upid=details.upid,
            status="queued",
            stage=details.stage,
            filename=rules.clean_filename(file.filename),
            media_type=info.media_type if info else media_type,
            bytes=file.size,
            width=info.width if info else None,
            height=info.height if info else None,
            sha256=file.sha256,
            taken_at=details.taken_at,
            location=details.location,
            description=details.description,
            callback_url=details.callback_url,
            unit=details.unit,
            uploaded_by=current_context().principal.subject,
            created_at=self._clock.now(),
            original_key=key,
            render_task=photo_id,  # replaced by the task's own id in the unit of work
        )
        try:
            return await self._record(photo)
        except Exception:
            await self._discard_original(photo)
            raise

    async def _inspect(self, key: str, *, looks_like_a_photo: bool) -> ImageInfo | None:
        """What the engine says about a stored file; None when it cannot look and the file does begin like a photo."""
        try:
            return await self._images.inspect(source=key)
        except (CallFailed, SourceMissing) as error:
            if not looks_like_a_photo:
                raise InvalidImageFormat("the file does not begin like any known kind of image", field="file") from error
            _log.warning("photo accepted without inspection", reason=str(error))
            return None

    async def _record(self, photo: Photo) -> Accepted:
        """Insert the photo, announce it and queue its processing: all or nothing. The winner, when a race was lost."""
        for race in range(1, _RACES + 1):
            try:
                return Accepted(await self._insert(photo), created=True)
            except store.SameBytesExist:
                if winner := await self._same_bytes(photo.upid, photo.sha256, photo.unit):
                    await self._blobs.delete(photo.original_key)
                    return Accepted(winner, created=False)
                if race == _RACES:
                    raise
        raise AssertionError("unreachable: the last race returns or raises")

    async def _insert(self, photo: Photo) -> Photo:
        async with self._database.work() as work:
            task_id = await work.enqueue(RenderPhoto(photo_id=photo.id), unique_key=str(photo.id))
            photo = photo.model_copy(update={"render_task": task_id})
            await store.add(work, photo)
            await work.publish(PhotoUploaded(photo_id=photo.id, **photo.model_dump(include=_UPLOADED_MEMBERS)))
            work.on_commit(counters.uploaded.inc)
        return photo

    async def _same_bytes(self, upid: str, sha256: str, unit: str | None) -> Photo | None:
        async with self._database.read() as connection:
            return await store.find_same_bytes(connection, upid, sha256, unit)

    async def _discard_original(self, photo: Photo) -> None:
        """Remove the object of a photo that could not be recorded, unless the record was committed all the same.

        A lost connection can hide a commit that succeeded. If the database cannot even be asked, the object stays: an orphan can
        be swept later, a photo without its original cannot be mended.
        """
        async with self._database.read() as connection:
            recorded = await store.status_of(connection, photo.id)
        if recorded is None:
            await self._blobs.delete(photo.original_key)
