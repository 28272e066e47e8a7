"""What photos does: its contract, uploads, and the record of processing."""

from __future__ import annotations

from uuid import UUID

from trenza.chassis.context import current_context
from trenza.chassis.http.idempotency import Idempotency
from trenza.chassis.service import Resources
from trenza.services.photos import rules, store
from trenza.services.photos.contract import (
    MAX_PAGE,
    InvalidField,
    NotRetryable,
    Photo,
    PhotoDeleted,
    PhotoFilter,
    PhotoNotFound,
    PhotoPage,
    PhotoPosition,
    Photos,
    PhotoVersion,
    VersionNotFound,
    VersionNotReady,
)
from trenza.services.photos.messages import RenderPhoto
from trenza.services.photos.service.changes import Changes
from trenza.services.photos.service.direct_uploads import DirectUploads
from trenza.services.photos.service.maintenance import MaintenanceMode
from trenza.services.photos.service.processing import Processing
from trenza.services.photos.service.purging import Purge
from trenza.services.photos.service.reprocessing import Reprocess
from trenza.services.photos.service.uploads import Accepted, IncomingFile, Uploads
from trenza.services.photos.service.variants import Variants
from trenza.services.photos.service.webhooks import Webhooks
from trenza.services.photos.settings import ORIGINAL, PhotosSettings

__all__ = ["Accepted", "DirectUploads", "IncomingFile", "PhotosService", "Processing", "Uploads", "no_version", "not_found"]


def not_found() -> PhotoNotFound:
    """The refusal to tell of a photo that is not there, or not for this caller."""
    detail = "there is no photo with this id, or it has been deleted"
    return PhotoNotFound(detail, field="id", remedy="check the id; GET /api/photos lists those that there are")


def no_version(detail: str, known: list[str]) -> VersionNotFound:
    """The refusal of a version's name, with those that there are."""
    return VersionNotFound(detail, field="version", limit=", ".join(known), versions=[*known], remedy="ask for one of versions")


class PhotosService(Photos):
    """Photos over a database, the shared object store and the image engine."""

    def __init__(self, resources: Resources[PhotosSettings]) -> None:
        self.settings = resources.settings
        self.blobs = resources.blobs
        self.uploads = Uploads(resources)
        self.direct_uploads = DirectUploads(resources, self.uploads)
        self.idempotency = Idempotency(resources.database, resources.clock)
        self.changes = Changes(resources)
        self.webhooks = Webhooks(resources)
        self.processing = Processing(resources, self.changes, self.webhooks)
        self.variants = Variants(resources)
        self.purge = Purge(resources)
        self.maintenance = MaintenanceMode(resources)
        self.reprocess = Reprocess(resources, self.changes)
        self._database = resources.database
        self._tasks = resources.tasks
        self._clock = resources.clock

    async def get_photo(self, *, photo_id: UUID) -> Photo:
        """One photo."""
        async with self._database.read() as connection:
            photo = await store.find(connection, photo_id)
        if photo is None:
            raise not_found()
        return photo

    async def list_photos(
        self, *, matching: PhotoFilter | None = None, after: PhotoPosition | None = None, limit: int = 50
    ) -> PhotoPage:
        """The photos that match, newest first."""
        matching = matching or PhotoFilter()
        if matching.upid is not None:
            matching = matching.model_copy(update={"upid": rules.read_upid(matching.upid)})
        if not 1 <= limit <= MAX_PAGE:
            remedy = "ask for fewer, and follow the pages"
            raise InvalidField(f"limit is not between 1 and {MAX_PAGE}", field="limit", limit=f"1..{MAX_PAGE}", remedy=remedy)
        async with self._database.read() as connection:
            return await store.page(connection, matching, after, limit)

    async def delete_photo(self, *, photo_id: UUID) -> None:
        """Hide a photo from everybody; nothing happens when that was done before."""
        async with self._database.work() as work:
            hidden = await store.hide(work, photo_id, at=self._clock.now())
            if hidden is not None:
                upid, callback_url = hidden
                await self.webhooks.deleted(work, photo_id, upid, callback_url)
                self.changes.announce(work, photo_id)
                await work.publish(PhotoDeleted(photo_id=photo_id, upid=upid, deleted_by=current_context().principal.subject))
            elif await store.status_of(work.connection, photo_id) is None:
                raise not_found()

    async def unit_of(self, photo_id: UUID) -> str | None:
        """The organisation unit of a photo, deleted or not. Raises `PhotoNotFound` when there never was one."""
        async with self._database.read() as connection:
            unit = await store.unit_of(connection, photo_id)
        if unit is None:
            raise not_found()
        return unit or None

    async def retry_photo(self, *, photo_id: UUID) -> Photo:
        """Queue a failed photo again."""
        async with self._database.work() as work:
            task_id = await work.enqueue(RenderPhoto(photo_id=photo_id), unique_key=str(photo_id))
            photo = await store.retry(work, photo_id, render_task=task_id)
            if photo is None:  # leaving by an exception takes the task back as well
                found = await store.find(work.connection, photo_id)
                if found is None:
                    raise not_found()
                detail = f"this photo is {found.status}; only a failed one can be retried"
                raise NotRetryable(detail, photo_status=found.status, remedy="look at its status first")
            self.changes.announce(work, photo_id)
        return photo

    async def settled(self, photo: Photo, *, timeout: float) -> Photo:
        """The photo once its processing has ended, or as it is after ``timeout`` seconds."""
        if photo.status in {"completed", "failed"} or timeout <= 0:
            return photo
        await self._tasks.wait(photo.render_task, timeout=timeout)
        return await self.get_photo(photo_id=photo.id)

    async def link(self, key: str, *, download_name: str | None = None) -> str:
        """A URL by which anybody may read this object for a limited time (``TRENZA_PHOTOS_LINK_SECONDS``)."""
        return await self.blobs.signed_url(key, expires_in=self.settings.link_lifetime, download_name=download_name)

    def version(self, photo: Photo, name: str) -> PhotoVersion:
        """The stored version of that name. Raises `VersionNotFound`, or `VersionNotReady` while it is being made."""
        for version in photo.versions:
            if version.name == name:
                return version
        names = [preset.name for preset in self.settings.presets]
        if photo.status == "completed" or name not in names:
            known = [version.name for version in photo.versions] or names
            raise no_version("this photo has no version of that name", [*known, ORIGINAL])
        if photo.status == "failed":
            raise VersionNotReady(
                "no versions could be made of this photo",
                photo_status=photo.status,
                remedy="see its error; POST …/retry tries again",
            )
        raise VersionNotReady(
            "the versions of this photo are still being made", photo_status=photo.status, remedy="ask again soon", retry_after=1
        )
