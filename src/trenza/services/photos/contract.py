"""What other services may ask of the photographs of a project, and what they are told about them."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from trenza.chassis.contract import Contract, ContractError, Event, Value, operation
from trenza.services.images.contract import Location

__all__ = [
    "MAX_PAGE",
    "FileMissing",
    "InvalidField",
    "InvalidUpid",
    "Maintenance",
    "NotRetryable",
    "Photo",
    "PhotoCompleted",
    "PhotoDeleted",
    "PhotoFailed",
    "PhotoFailure",
    "PhotoFilter",
    "PhotoNotFound",
    "PhotoPage",
    "PhotoPosition",
    "PhotoUploaded",
    "PhotoVersion",
    "Photos",
    "Stage",
    "Status",
    "UnderMaintenance",
    "VersionNotFound",
    "VersionNotReady",
]

MAX_PAGE = 200
"""Most photos of one page."""

PageSize = Annotated[int, Field(ge=1, le=MAX_PAGE)]

Stage = Literal["antes", "durante", "despues"]
"""When in the life of the works the photo was taken: before, during or after them."""

Status = Literal["queued", "processing", "completed", "failed"]
"""Where a photo that can be seen stands. Deleted ones cannot be seen."""


class PhotoVersion(Value):
    """A compressed version, as it is stored. ``key`` is its object key; sizes are in pixels and bytes."""

    name: str
    key: str
    width: int
    height: int
    bytes: int
    media_type: str


class PhotoFailure(Value):
    """Why no versions could be made."""

    code: str
    detail: str


class Photo(Value):
    """The record of a photograph.

    ``width`` and ``height`` (pixels) are those in the file's header until the photo is processed, and those of the upright
    image from then on; None while the image engine has not been able to look. ``attempts`` counts how often processing began.
    ``render_task`` is the task that makes (or made) the versions. ``versions`` is empty until ``completed``.
    """

    id: UUID
    upid: str
    status: Status
    stage: Stage | None = None
    filename: str
    media_type: str
    bytes: int
    width: int | None = None
    height: int | None = None
    sha256: str
    """Of the original, in hexadecimal."""
    taken_at: datetime | None = None
    location: Location | None = None
    description: str | None = None
    uploaded_by: str
    """The subject of the token that uploaded it."""
    created_at: datetime
    completed_at: datetime | None = None
    attempts: int = 0
    error: PhotoFailure | None = None
    original_key: str
    render_task: UUID
    versions: tuple[PhotoVersion, ...] = ()


class PhotoPosition(Value):
    """A place in a list of photos, which runs from the newest to the oldest."""

    created_at: datetime
    id: UUID


class PhotoFilter(Value):
    """Which photos to list; what is None does not narrow. Moments are those of the upload: from (inclusive), to (exclusive)."""

    upid: str | None = None
    stage: Stage | None = None
    status: Status | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class PhotoPage(Value):
    """A page of a list, newest first. ``next`` is the ``after`` of the following page, None on the last one."""

    photos: tuple[Photo, ...] = ()
    next: PhotoPosition | None = None


class Maintenance(Value):
    """Whether uploads are turned away, what those who try are told, and who switched it when (None: nobody ever did)."""

    enabled: bool
    retry_after_seconds: int = 300
    message: str | None = None
    changed_at: datetime | None = None
    changed_by: str | None = None


class InvalidField(ContractError):
    """A field of an upload or a filter of a list is not acceptable; names the ``field``, its ``limit`` and the ``remedy``."""

    status = 422
    title = "Invalid field"


class InvalidUpid(InvalidField):
    """A UPID is 1 to 64 of letters, digits, ``-`` and ``_``."""

    code = "INVALID_UPID"
    title = "Invalid UPID"


class FileMissing(InvalidField):
    """An upload without a file in the field ``file``."""

    code = "FILE_MISSING"
    title = "File missing"


class PhotoNotFound(ContractError):
    """No such photo, or it has been deleted."""

    status = 404
    title = "Photo not found"


class VersionNotFound(ContractError):
    """The photo has no version of that name."""

    status = 404
    title = "Version not found"


class VersionNotReady(ContractError):
    """The versions of the photo have not been made (yet)."""

    status = 409
    title = "Version not ready"


class NotRetryable(ContractError):
    """Only a failed photo can be retried."""

    status = 409
    title = "Not retryable"


class UnderMaintenance(ContractError):
    """Uploads are turned away for a while. ``retry_after`` is in seconds, ``message`` the operator's own words."""

    status = 503
    title = "Servicio en mantenimiento"  # in every language: it is what the specification promises to show


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


class Photos(
    Contract,
    service="photos",
    paths=("/api/photos", "/api/projects"),
    events=(PhotoUploaded, PhotoCompleted, PhotoFailed, PhotoDeleted),
):
    """The photographs of projects, organised by UPID. Objects are read by their keys in the platform's shared store."""

    @operation(idempotent=True, errors=(PhotoNotFound,))
    @abstractmethod
    async def get_photo(self, *, photo_id: UUID) -> Photo:
        """One photo."""

    @operation(idempotent=True, errors=(InvalidUpid, InvalidField))
    @abstractmethod
    async def list_photos(
        self, *, matching: PhotoFilter | None = None, after: PhotoPosition | None = None, limit: PageSize = 50
    ) -> PhotoPage:
        """The photos that match, newest first. A project without photos, or unknown, has an empty page."""

    @operation(idempotent=True, errors=(PhotoNotFound,))
    @abstractmethod
    async def delete_photo(self, *, photo_id: UUID) -> None:
        """Make a photo disappear for everybody. Deleting it again is fine; its objects are kept for a retention time."""

    @operation(errors=(PhotoNotFound, NotRetryable))
    @abstractmethod
    async def retry_photo(self, *, photo_id: UUID) -> Photo:
        """Queue a failed photo for processing again."""
