"""Reading over HTTP: one photo, lists and galleries, and the versions themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from pydantic import AwareDatetime, Field
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from trenza.chassis.http.content import respond_with_blob
from trenza.chassis.http.negotiation import preferred_type
from trenza.chassis.http.pages import InvalidCursor, Page, PageCursor, PageLimit, decode_cursor, encode_cursor, link_to_next
from trenza.chassis.http.queries import SINGLE_VALUES, StrictQuery
from trenza.services.photos import rules
from trenza.services.photos.contract import PhotoFilter, PhotoPosition, Stage, Status
from trenza.services.photos.routes.access import Public, Reach, Service, Viewer
from trenza.services.photos.routes.answers import documented_problems, json_answer
from trenza.services.photos.routes.bodies import PhotoBody, photo_body
from trenza.services.photos.service import PhotosService
from trenza.services.photos.settings import ORIGINAL

__all__ = ["router"]

router = APIRouter()

_ON_REQUEST: Final[tuple[rules.VariantType, ...]] = ("image/avif", "image/webp")
_UPID = Annotated[
    str,
    PathParameter(
        description="1 to 64 of letters, digits, `-` and `_`.",
        json_schema_extra={"pattern": rules.UPID_PATTERN},
    ),
]
_MOMENT: Final[JsonDict] = {
    "pattern": r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$",
    "examples": ["2026-05-31", "2026-05-31T14:30:00-05:00"],
}


class GalleryQuery(StrictQuery):
    """Which photos of a project unit, and which page of them."""

    stage: Stage | None = Field(None, description="Before, during or after the works.")
    status: Status | None = Field(None, description="Where processing stands.")
    start: str | None = Field(
        None,
        alias="from",
        description="Uploaded at this moment or later: ISO 8601, a date or a date and time.",
        json_schema_extra=_MOMENT,
    )
    to: str | None = Field(
        None, description="Uploaded before this moment; a date alone includes that day.", json_schema_extra=_MOMENT
    )
    centro_gestor: str | None = Field(None, description="Of this organisation unit only.")
    cursor: PageCursor = None
    limit: PageLimit = 50


class ListQuery(GalleryQuery):
    """Which photos, and which page of them."""

    upid: str | None = Field(None, description="Of this project unit only.", json_schema_extra={"pattern": rules.UPID_PATTERN})


@router.get(
    "/api/photos",
    response_model=Page[PhotoBody],
    summary="List photos",
    dependencies=[SINGLE_VALUES],
    responses=documented_problems(422),
)
async def list_photos(request: Request, photos: Service, caller: Viewer, query: Annotated[ListQuery, Query()]) -> Response:
    """Photos, newest first. `next_cursor` leads to the next page; photos that arrive meanwhile shift nothing."""
    upid = None if query.upid is None else rules.read_upid(query.upid)
    return await _page(photos, query, upid, request, caller)


@router.get(
    "/api/projects/{upid}/photos",
    response_model=Page[PhotoBody],
    summary="The gallery of a project unit",
    dependencies=[SINGLE_VALUES],
    responses=documented_problems(422),
)
async def project_gallery(
    request: Request, photos: Service, caller: Viewer, upid: _UPID, query: Annotated[GalleryQuery, Query()]
) -> Response:
    """The photos of one project unit, newest first; empty for one that has none."""
    return await _page(photos, query, rules.read_upid(upid), request, caller)


@router.get(
    "/api/photos/{photo_id:uuid}",
    response_model=PhotoBody,
    summary="One photo",
    responses=documented_problems(401, 403, 404, 422),
)
async def get_photo(photos: Service, caller: Viewer, photo_id: UUID) -> Response:
    """The record of a photo, with signed links to its versions (and to the original, from the role editor on)."""
    photo = await caller.photo(photos, photo_id)
    return json_answer(await photo_body(photo, photos, with_original=caller.sees_original_of(photo)))


@router.head("/api/photos/{photo_id:uuid}/{version}", include_in_schema=False)
@router.get(
    "/api/photos/{photo_id:uuid}/{version}",
    response_class=Response,
    summary="A version of a photo",
    responses={
        200: {
            "content": {"image/jpeg": {}, "image/webp": {}, "image/avif": {}},
            "description": "The image, with ETag; ranges and conditions are honoured.",
        },
        206: {"description": "The range that was asked for."},
        304: {"description": "The client has it already."},
        **documented_problems(401, 403, 404, 409, 412, 416),
    },
)
async def get_version(
    request: Request,
    photos: Service,
    caller: Public,
    photo_id: UUID,
    version: Annotated[str, PathParameter(description="`thumbnail`, `small`, `medium`, `large`, or `original` (role editor).")],
) -> Response:
    """The image itself. 409 with Retry-After while the versions are being made.

    `Accept` may ask for a version as WebP or AVIF by its name (a wildcard means JPEG); the first to ask waits for it to be made.
    """
    if version == ORIGINAL:
        caller.require_original_of()
    photo = await caller.photo(photos, photo_id)
    if version == ORIGINAL:
        caller.require_original_of(photo)
        key, media_type, filename = photo.original_key, photo.media_type, photo.filename
    else:
        made = photos.version(photo, version)
        media_type = preferred_type(",".join(request.headers.getlist("accept")), usual=made.media_type, on_request=_ON_REQUEST)
        if media_type in _ON_REQUEST:
            made = await photos.variants.variant(photo, made, media_type)
        key, media_type = made.key, made.media_type
        filename = f"{photo_id}-{made.name}{PurePosixPath(key).suffix}"
    # As long as the links that are handed out: who has seen the image may go on seeing it for that long, deleted or not.
    cache_control = f"private, max-age={photos.settings.link_seconds}"
    response = await respond_with_blob(
        request, photos.blobs, key, media_type=media_type, filename=filename, cache_control=cache_control
    )
    if version != ORIGINAL:
        response.headers["Vary"] = "Accept"
    return response


async def _page(photos: PhotosService, query: GalleryQuery, upid: str | None, request: Request, caller: Reach) -> Response:
    since, until = rules.read_span(query.start, query.to, zone=photos.settings.zone)
    matching = PhotoFilter(
        upid=upid,
        stage=query.stage,
        status=query.status,
        units=_units(caller, rules.read_unit(query.centro_gestor)),
        created_from=since,
        created_to=until,
    )
    page = await photos.list_photos(matching=matching, after=_position(query.cursor), limit=query.limit)
    items = [await photo_body(photo, photos, with_original=caller.sees_original_of(photo)) for photo in page.photos]
    following = None if page.next is None else encode_cursor((page.next.created_at, page.next.id))
    body = Page[PhotoBody](items=tuple(items), next_cursor=following)
    return json_answer(body, headers=link_to_next(request, body))


def _units(caller: Reach, asked: str | None) -> tuple[str, ...] | None:
    """The units to list: the one that is asked for, as far as the caller may see it, or all that they may see."""
    if asked is not None:
        return (asked,) if caller.units is None or asked in caller.units else ()
    return None if caller.units is None else tuple(sorted(caller.units))


def _position(cursor: str | None) -> PhotoPosition | None:
    """The place in the list that a cursor names. Raises `InvalidCursor` for a forged one that no moment of ours could be."""
    found: tuple[datetime, UUID] | None = decode_cursor(cursor, tuple[AwareDatetime, UUID])
    if found is None:
        return None
    created_at = rules.in_zone(found[0], UTC)
    if created_at is None:
        raise InvalidCursor(field="cursor")
    return PhotoPosition(created_at=created_at, id=found[1])
