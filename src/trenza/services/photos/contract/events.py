"""What photos announces."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from trenza.chassis.contract import Event
from trenza.services.images.contract import Location
from trenza.services.photos.contract.values import PhotoFailure, PhotoVersion, Stage

__all__ = [
    "PhotoCompleted",
    "PhotoDeleted",
    "PhotoFailed",
    "PhotoUploaded",
]


class PhotoUploaded(Event, type="photos.PhotoUploaded", key="photo_id"):
    """A photo has been accepted and stored."""

    photo_id: UUID
    upid: str
    stage: Stage | None = None
    media_type: str
    bytes: int
    sha256: str
    uploaded_by: str
    created_at: datetime


class PhotoCompleted(Event, type="photos.PhotoCompleted", key="photo_id"):
    """All versions of a photo are stored."""

    photo_id: UUID
    upid: str
    stage: Stage | None = None
    width: int
    height: int
    taken_at: datetime | None = None
    location: Location | None = None
    completed_at: datetime
    versions: tuple[PhotoVersion, ...]


class PhotoFailed(Event, type="photos.PhotoFailed", key="photo_id"):
    """No versions could be made of a photo; it stays, and can be retried."""

    photo_id: UUID
    upid: str
    failure: PhotoFailure


class PhotoDeleted(Event, type="photos.PhotoDeleted", key="photo_id"):
    """A photo has been deleted: it can no longer be seen."""

    photo_id: UUID
    upid: str
    deleted_by: str
