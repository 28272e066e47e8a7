"""A project's photos as one archive."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from trenza.chassis.http.archive import ArchiveEntry, archive
from trenza.chassis.http.queries import SINGLE_VALUES, StrictQuery
from trenza.services.photos import rules
from trenza.services.photos.contract import MAX_PAGE, Photo, PhotoFilter, PhotoPage, Stage
from trenza.services.photos.routes.access import Service, Viewer
from trenza.services.photos.routes.answers import documented_problems
from trenza.services.photos.service import PhotosService, no_version
from trenza.services.photos.settings import ORIGINAL

__all__ = ["router"]

router = APIRouter()


class ArchiveQuery(StrictQuery):
    """Which version of which photos."""

    version: str = Field("large", description="`thumbnail`, `small`, `medium`, `large`, or `original` (role editor).")
    stage: Stage | None = Field(None, description="Before, during or after the works.")


@router.get(
    "/api/projects/{upid}/photos.zip",
    response_class=Response,
    summary="The photos of a project unit as a ZIP archive",
    dependencies=[SINGLE_VALUES],
    responses={
        200: {"content": {"application/zip": {}}, "description": "Streamed as it is made; its length is not known before."},
        **documented_problems(401, 403, 404, 422),
    },
)
async def project_archive(
    photos: Service,
    caller: Viewer,
    upid: Annotated[str, PathParameter(description="1 to 64 of letters, digits, `-` and `_`.")],
    query: Annotated[ArchiveQuery, Query()],
) -> Response:
    """Every photo that has this version, newest first, under the names they were uploaded with."""
    version = query.version
    units = caller.original_units if version == ORIGINAL else caller.units
    matching = PhotoFilter(upid=rules.read_upid(upid), stage=query.stage, units=None if units is None else tuple(sorted(units)))
    names = [preset.name for preset in photos.settings.presets]
    if version == ORIGINAL:
        caller.require_original_of()
    elif version not in names:
        raise no_version("photos have no version of that name", [*names, ORIGINAL])
    first = await photos.list_photos(matching=matching, limit=MAX_PAGE)  # before the answer begins: it can still be refused
    headers = {
        "Content-Disposition": f'attachment; filename="{matching.upid}-{version}.zip"',
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(_closing(photos, matching, first, version), 200, headers, "application/zip")


async def _closing(photos: PhotosService, matching: PhotoFilter, first: PhotoPage, version: str) -> AsyncGenerator[bytes]:
    """The archive; what is open is closed also when the client leaves in the middle."""
    async with aclosing(_entries(photos, matching, first, version)) as entries, aclosing(archive(entries)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _entries(photos: PhotosService, matching: PhotoFilter, page: PhotoPage, version: str) -> AsyncGenerator[ArchiveEntry]:
    while True:
        for photo in page.photos:
            if entry := _entry(photos, photo, version):
                yield entry
        if page.next is None:
            return
        page = await photos.list_photos(matching=matching, after=page.next, limit=MAX_PAGE)


def _entry(photos: PhotosService, photo: Photo, version: str) -> ArchiveEntry | None:
    """A photo as a file of the archive; None when it has no such version (yet)."""
    taken = photo.taken_at or photo.created_at
    if version == ORIGINAL:
        return ArchiveEntry(photo.filename, photo.bytes, taken, photos.blobs.stream(photo.original_key))
    for made in photo.versions:
        if made.name == version:
            name = f"{PurePosixPath(photo.filename).stem}{PurePosixPath(made.key).suffix}"
            return ArchiveEntry(name, made.bytes, taken, photos.blobs.stream(made.key))
    return None
