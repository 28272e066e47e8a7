"""What other services may ask of the photographs of a project, and what they are told about them."""

from __future__ import annotations

from abc import abstractmethod
from uuid import UUID

from trenza.chassis.contract import Contract, operation
from trenza.services.photos.contract.errors import (
    CallbackForbidden,
    FileMissing,
    InlineTooLarge,
    InvalidBase64,
    InvalidField,
    InvalidUpid,
    NoPhotos,
    NotRetryable,
    PhotoNotFound,
    UnderMaintenance,
    UnitForbidden,
    UploadCompleted,
    UploadIncomplete,
    UploadMismatch,
    UploadNotFound,
    VersionNotFound,
    VersionNotReady,
)
from trenza.services.photos.contract.events import (
    PhotoCompleted,
    PhotoDeleted,
    PhotoFailed,
    PhotoUploaded,
)
from trenza.services.photos.contract.values import (
    MAX_PAGE,
    Maintenance,
    PageSize,
    Photo,
    PhotoFailure,
    PhotoFilter,
    PhotoPage,
    PhotoPosition,
    PhotoVersion,
    Reprocessing,
    Stage,
    Status,
)

__all__ = [
    "MAX_PAGE",
    "CallbackForbidden",
    "FileMissing",
    "InlineTooLarge",
    "InvalidBase64",
    "InvalidField",
    "InvalidUpid",
    "Maintenance",
    "NoPhotos",
    "NotRetryable",
    "PageSize",
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
    "Reprocessing",
    "Stage",
    "Status",
    "UnderMaintenance",
    "UnitForbidden",
    "UploadCompleted",
    "UploadIncomplete",
    "UploadMismatch",
    "UploadNotFound",
    "VersionNotFound",
    "VersionNotReady",
]


class Photos(
    Contract,
    service="photos",
    paths=("/api/photos", "/api/projects", "/"),
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
