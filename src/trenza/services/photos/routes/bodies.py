"""The public JSON of photos, and how a record becomes it: keys turn into signed links."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from trenza.services.images.contract import Location
from trenza.services.photos.contract import Photo, PhotoFailure, PhotoVersion, Stage, Status
from trenza.services.photos.service import PhotosService

__all__ = [
    "AnswerBody",
    "FunctionResult",
    "OrderBody",
    "OriginalBody",
    "PhotoBody",
    "UploadResult",
    "UploadResults",
    "VersionBody",
    "photo_body",
]


class AnswerBody(BaseModel):
    """The JSON of an answer."""

    # Answers have all their members, always: a client's generated types need no "maybe absent".
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class OrderBody(BaseModel):
    """The JSON of a request: nothing that nobody reads, no value that has to be guessed (``"5"`` or ``true`` for a number)."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OriginalBody(AnswerBody):
    """The untouched file."""

    url: str | None = Field(description="A signed link that works for a limited time; null below the role `photos:editor`.")


class VersionBody(AnswerBody):
    """A compressed version."""

    url: str = Field(description="A signed link that works for a limited time.")
    width: int = Field(description="In pixels.")
    height: int = Field(description="In pixels.")
    bytes: int
    media_type: str


class PhotoBody(AnswerBody):
    """A photo."""

    id: UUID
    upid: str = Field(description="The project unit that the photo belongs to.")
    status: Status = Field(description="`queued` → `processing` → `completed` or `failed`.")
    stage: Stage | None = Field(description="Before, during or after the works.")
    filename: str
    media_type: str = Field(description="Of the original, judged by its content.")
    bytes: int = Field(description="Size of the original.")
    width: int | None = Field(description="Of the original, in pixels; upright once it is processed.")
    height: int | None
    sha256: str = Field(description="Of the original, in hexadecimal.")
    taken_at: datetime | None = Field(description="As given with the upload; otherwise what the camera noted.")
    location: Location | None = Field(description="As given with the upload; otherwise what the camera noted.")
    description: str | None
    centro_gestor: str | None = Field(description="The organisation unit that it belongs to.")
    uploaded_by: str
    created_at: datetime
    completed_at: datetime | None
    attempts: int = Field(description="How often processing began.")
    error: PhotoFailure | None = Field(description="Why it failed.")
    original: OriginalBody
    versions: dict[str, VersionBody] = Field(description="By name; empty until it is completed for the first time.")


class FunctionResult(AnswerBody):
    """What the function URL answers."""

    photo_id: UUID
    upid: str
    status: Status
    versions: dict[str, VersionBody] = Field(description="By name; empty until completed.")


class UploadResult(AnswerBody):
    """What became of one of several files: `photo`, or the `problem` (RFC 9457) that kept it from being one."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    filename: str
    status: int = Field(description="The HTTP status that the file alone would have got.")
    photo: PhotoBody | None = None
    problem: dict[str, object] | None = None


class UploadResults(AnswerBody):
    """One result for each file, in the order in which they were sent."""

    results: list[UploadResult]


async def photo_body(photo: Photo, photos: PhotosService, *, with_original: bool) -> PhotoBody:
    """The public form of a photo. The link to the original is given to those who may have it."""
    original = await photos.link(photo.original_key, download_name=photo.filename) if with_original else None
    return PhotoBody(
        **photo.model_dump(exclude={"original_key", "render_task", "versions", "location", "error", "callback_url", "unit"}),
        location=photo.location,
        centro_gestor=photo.unit,
        error=photo.error,
        original=OriginalBody(url=original),
        versions={version.name: await _version_body(version, photos) for version in photo.versions},
    )


async def _version_body(version: PhotoVersion, photos: PhotosService) -> VersionBody:
    return VersionBody(url=await photos.link(version.key), **version.model_dump(exclude={"name", "key"}))
