"""The course of a photo's processing: begun, put back, completed or failed, and the orders to the image engine."""

from __future__ import annotations

from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from trenza.chassis.contract import ContractError
from trenza.chassis.data import UnitOfWork
from trenza.chassis.service import Resources
from trenza.services.images.contract import Images, Rendered, Rendition
from trenza.services.photos import counters, rules, store
from trenza.services.photos.contract import Photo, PhotoCompleted, PhotoFailed, PhotoFailure, PhotoVersion
from trenza.services.photos.service.changes import Changes
from trenza.services.photos.service.webhooks import Webhooks
from trenza.services.photos.settings import PhotosSettings

__all__ = ["Processing"]


_COMPLETED_MEMBERS: Final = PhotoCompleted.model_fields.keys() - {"photo_id"}


class Processing:
    """Keeps a photo's record while its versions are made."""

    def __init__(self, resources: Resources[PhotosSettings], changes: Changes, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self._changes = changes
        self._presets = resources.settings.presets
        self._zone: ZoneInfo = resources.settings.zone
        self._database = resources.database
        self._blobs = resources.blobs
        self._clock = resources.clock
        self._images = resources.call(Images)

    async def begin(self, photo_id: UUID) -> Photo | None:
        """Mark a photo as processing and count the attempt. None when there is nothing to do: it is deleted, or done."""
        async with self._database.work() as work:
            self._changes.announce(work, photo_id)
            return await store.begin(work, photo_id)

    async def render(self, photo: Photo) -> Rendered:
        """Have the engine write every version. Doing it again overwrites the same objects."""
        return await self._images.render(source=photo.original_key, renditions=self._orders(photo))

    async def put_back(self, photo: Photo) -> float:
        """Queue a photo again because the engine is down; returns the seconds after which to look again."""
        async with self._database.work() as work:
            self._changes.announce(work, photo.id)
            await store.put_back(work, photo.id)
        age = self._clock.now() - photo.created_at
        return rules.engine_wait(age)

    async def complete(self, work: UnitOfWork, photo: Photo, rendered: Rendered) -> bool:
        """Record the versions and announce them. False, with nothing written, when the photo was deleted meanwhile.

        What the uploader said about time and place stands; what the file says fills the gaps.
        """
        photo = photo.model_copy(
            update={
                "width": rendered.width,
                "height": rendered.height,
                "taken_at": photo.taken_at or rules.in_zone(rendered.taken_at, self._zone),
                "location": photo.location or rendered.location,
                "completed_at": self._clock.now(),
                "versions": tuple(PhotoVersion(**made.model_dump()) for made in rendered.renditions),
            }
        )
        if not await store.complete(work, photo):
            return False
        await work.publish(PhotoCompleted(photo_id=photo.id, **photo.model_dump(include=_COMPLETED_MEMBERS)))
        await self._webhooks.completed(work, photo)
        self._changes.announce(work, photo.id)
        work.on_commit(counters.completed.inc)
        return True

    async def fail(self, work: UnitOfWork, photo: Photo, refusal: ContractError) -> None:
        """Record why no versions can be made, and announce it. Nothing happens when the photo was deleted meanwhile."""
        failure = PhotoFailure(code=refusal.code, detail=refusal.detail)
        if await store.fail(work, photo.id, failure):
            await work.publish(PhotoFailed(photo_id=photo.id, upid=photo.upid, failure=failure))
            await self._webhooks.failed(work, photo, failure)
            self._changes.announce(work, photo.id)
            work.on_commit(counters.failed.inc)

    async def discard_versions(self, photo: Photo) -> None:
        """Remove what was made of a photo that was deleted while it was made; the original falls to the purge."""
        await self._blobs.delete(*(order.key for order in self._orders(photo)))

    def _orders(self, photo: Photo) -> tuple[Rendition, ...]:
        return tuple(
            Rendition(
                name=preset.name,
                key=rules.object_key(photo.upid, photo.id, preset.name),
                width=preset.width,
                height=preset.height,
                fit=preset.fit,
                quality=preset.quality,
                progressive=preset.progressive,
            )
            for preset in self._presets
        )
