"""The payloads of the tasks that photos gives itself."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from trenza.chassis.contract import Task
from trenza.services.photos.contract import PhotoFailure, PhotoVersion

__all__ = ["CallBack", "ForgetAnswers", "PurgeDeleted", "RenderPhoto", "ReprocessPhotos", "SweepOrphans", "SweepUploads"]


class RenderPhoto(Task, type="photos.RenderPhoto", key="photo_id"):
    """Make the versions of a photo."""

    photo_id: UUID


class ReprocessPhotos(Task, type="photos.ReprocessPhotos"):
    """Queue a batch of photos again: those in these states, uploaded ``before`` a moment, whose id follows ``after``.

    Each batch ends by ordering the next one in the same transaction, so that none is done twice and none is left out.
    """

    upid: str | None = None
    statuses: tuple[str, ...]
    before: datetime
    after: UUID | None = None


class CallBack(Task, type="photos.CallBack", key="photo_id"):
    """Tell a URL what became of a photo; in order for each photo."""

    photo_id: UUID
    upid: str
    url: str
    event: str
    status: str
    occurred_at: datetime
    versions: tuple[PhotoVersion, ...] = ()
    error: PhotoFailure | None = None


class ForgetAnswers(Task, type="photos.ForgetAnswers"):
    """Remove the answers kept for idempotency keys that have expired."""


class SweepUploads(Task, type="photos.SweepUploads"):
    """Remove direct uploads that were never completed."""


class PurgeDeleted(Task, type="photos.PurgeDeleted"):
    """Remove photos that were deleted longer ago than the retention."""


class SweepOrphans(Task, type="photos.SweepOrphans"):
    """Remove objects that belong to no photo."""
