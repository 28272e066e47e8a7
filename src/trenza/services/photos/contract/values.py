"""What the contract of photos speaks of: photos, their versions, lists of them, and how the service stands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from trenza.chassis.contract import Value
from trenza.services.images.contract import Location

__all__ = [
    "MAX_PAGE",
    "Maintenance",
    "PageSize",
    "Photo",
    "PhotoFailure",
    "PhotoFilter",
    "PhotoPage",
    "PhotoPosition",
    "PhotoVersion",
    "Reprocessing",
    "Stage",
    "Status",
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
    ``render_task`` is the task that makes (or made) the versions. ``versions`` is empty until ``completed``; when
    it is processed again, those it had stay until the new ones are there.
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
    unit: str | None = None
    """The organisation unit (*centro gestor*) that it belongs to; those who are restricted to others do not see it."""
    callback_url: str | None = None
    """Who is told when the photo is completed, has failed or is deleted."""


class PhotoPosition(Value):
    """A place in a list of photos, which runs from the newest to the oldest."""

    created_at: datetime
    id: UUID


class PhotoFilter(Value):
    """Which photos to list; what is None does not narrow. Moments are those of the upload: from (inclusive), to (exclusive)."""

    upid: str | None = None
    stage: Stage | None = None
    status: Status | None = None
    units: tuple[str, ...] | None = None
    """Of these organisation units only."""
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


class Reprocessing(Value):
    """Many photos are queued again by this task and those that it orders; ``matching`` is how many it meant at first."""

    task_id: UUID
    matching: int
