"""A project's photos as one archive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from trenza.chassis.blobs import BlobMissing
from trenza.chassis.http.archive import ArchiveEntry, archive
from trenza.chassis.http.content import begun
from trenza.chassis.http.phrases import Language, preferred_language
from trenza.chassis.http.queries import SINGLE_VALUES, StrictQuery
from trenza.chassis.telemetry.logs import get_logger
from trenza.services.photos import rules
from trenza.services.photos.contract import MAX_PAGE, NoPhotos, Photo, PhotoFilter, PhotoPage, Stage, VersionNotReady
from trenza.services.photos.routes.access import Service, Viewer
from trenza.services.photos.routes.answers import documented_problems
from trenza.services.photos.service import PhotosService, no_version
from trenza.services.photos.settings import ORIGINAL

__all__ = ["router"]

router = APIRouter()

_NOTES: Final[dict[Language, tuple[str, str]]] = {
    "en": ("missing.txt", "This archive lacks the following photos, for their files are not in the store (any more):"),
    "es": (
        "faltan.txt",
        "En este archivo faltan las fotos siguientes, porque sus ficheros no están (o ya no están) almacenados:",
    ),
}
_MOST_LOGGED: Final = 20

_log = get_logger(__name__)


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
        **documented_problems(401, 403, 404, 409, 422),
    },
)
async def project_archive(
    request: Request,
    photos: Service,
    caller: Viewer,
    upid: Annotated[str, PathParameter(description="1 to 64 of letters, digits, `-` and `_`.")],
    query: Annotated[ArchiveQuery, Query()],
) -> Response:
    """Every photo that has this version, newest first, under the names they were uploaded with.

    404 where there is no photo, and 409 where none has the version yet. A photo whose file is lost is left out; `missing.txt`
    in the archive lists such photos.
    """
    version = query.version
    units = caller.original_units if version == ORIGINAL else caller.units
    matching = PhotoFilter(upid=rules.read_upid(upid), stage=query.stage, units=None if units is None else tuple(sorted(units)))
    names = [preset.name for preset in photos.settings.presets]
    if version == ORIGINAL:
        caller.require_original_of()
    elif version not in names:
        raise no_version("photos have no version of that name", [*names, ORIGINAL])
    first = await photos.list_photos(matching=matching, limit=MAX_PAGE)  # before the answer begins: it can still be refused
    _require_something(first, version, [*names, ORIGINAL])
    headers = {
        "Content-Disposition": f'attachment; filename="{matching.upid}-{version}.zip"',
        "Cache-Control": "private, no-store",
    }
    language = preferred_language(request.headers.get("accept-language", ""))
    return StreamingResponse(_closing(_entries(photos, matching, first, version, language)), 200, headers, "application/zip")


def _require_something(page: PhotoPage, version: str, versions: list[str]) -> None:
    """Refuse an archive that would be empty: few programs open one, and a misspelt UPID would look like one without photos."""
    if not page.photos:
        raise NoPhotos(
            "there is no photo to put into the archive: the project unit has none, or none as asked for",
            field="upid",
            limit=">= 1",
            remedy="check the UPID and the stage; GET /api/projects/{upid}/photos lists the photos that there are",
        )
    made = {version.name for photo in page.photos for version in photo.versions}
    if page.next is None and version not in {*made, ORIGINAL}:
        coming = any(photo.status in {"queued", "processing"} for photo in page.photos)
        raise VersionNotReady(
            "none of the photos has this version yet",
            field="version",
            limit=", ".join(versions),
            remedy="ask again soon" if coming else "see the photos' errors; POST …/retry tries again",
            **({"retry_after": 1} if coming else {}),
        )


async def _closing(entries: AsyncGenerator[ArchiveEntry]) -> AsyncGenerator[bytes]:
    """The archive; what is open is closed also when the client leaves in the middle."""
    async with aclosing(entries), aclosing(archive(entries)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _entries(
    photos: PhotosService, matching: PhotoFilter, page: PhotoPage, version: str, language: Language
) -> AsyncGenerator[ArchiveEntry]:
    missing: list[Photo] = []
    while True:
        for photo in page.photos:
            if entry := _entry(photos, photo, version):
                try:
                    content = await begun(entry.content)
                except BlobMissing:
                    missing.append(photo)
                else:
                    yield replace(entry, content=content)
        if page.next is None:
            break
        page = await photos.list_photos(matching=matching, after=page.next, limit=MAX_PAGE)
    if missing:
        ids = [str(photo.id) for photo in missing[:_MOST_LOGGED]]
        _log.warning("photos missing from an archive", upid=matching.upid, version=version, photos=len(missing), ids=ids)
        yield _note(missing, language)


def _note(missing: list[Photo], language: Language) -> ArchiveEntry:
    """The file of an archive that says what is not in it."""
    name, words = _NOTES[language]
    text = "\n".join((words, "", *(f"{photo.id}  {photo.filename}" for photo in missing), "")).encode()

    async def content() -> AsyncIterator[bytes]:
        yield text

    return ArchiveEntry(name, len(text), datetime.now(UTC), content())


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
