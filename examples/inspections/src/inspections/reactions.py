"""What inspections does when something happens to a photo."""

from __future__ import annotations

from typing import Final

from inspections.service import InspectionsService
from trenza import Delivery, reacts
from trenza.services.photos.contract import PhotoCompleted, PhotoDeleted

__all__ = ["REACTIONS"]


# One consumer for both: what happens to one photo is then handled in the order in which it happened.
@reacts(PhotoCompleted, consumer="photos")
async def on_photo_completed(inspections: InspectionsService, event: PhotoCompleted, delivery: Delivery) -> None:
    """Count the photo; all that follows from it commits together with the mark that it was handled."""
    async with delivery.finish() as work:
        await inspections.count_photo(work, event.upid, event.photo_id, completed_at=event.completed_at)


@reacts(PhotoDeleted, consumer="photos")
async def on_photo_deleted(inspections: InspectionsService, event: PhotoDeleted, delivery: Delivery) -> None:
    """Count the photo no longer."""
    async with delivery.finish() as work:
        await inspections.forget_photo(work, event.upid, event.photo_id)


REACTIONS: Final = (on_photo_completed, on_photo_deleted)
