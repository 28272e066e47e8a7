"""The records of photos: added, found, listed, and taken from state to state."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Update, and_, bindparam, insert, literal_column, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from trenza.chassis.data import UnitOfWork
from trenza.services.images.contract import Location
from trenza.services.photos.contract import Photo, PhotoFailure, PhotoFilter, PhotoPage, PhotoPosition, PhotoVersion
from trenza.services.photos.rules import Step, origins_of, target_of
from trenza.services.photos.tables import photos

__all__ = [
    "VISIBLE",
    "SameBytesExist",
    "add",
    "begin",
    "complete",
    "fail",
    "find",
    "find_same_bytes",
    "hide",
    "page",
    "put_back",
    "retry",
    "status_of",
    "step_statement",
    "unit_of",
]

# Written out, not bound: SQLite and PostgreSQL use the partial indexes only where they can see the condition.
VISIBLE: Final = photos.c.status != literal_column("'deleted'")
# Made once: to make one takes longer than to run it.
_INSERT: Final = insert(photos).inline()
_BY_ID: Final = select(photos).where(photos.c.id == bindparam("sought_id"), VISIBLE)
_BY_BYTES: Final = select(photos).where(
    photos.c.upid == bindparam("sought_upid"),
    photos.c.sha256 == bindparam("sought_sha256"),
    photos.c.unit == bindparam("sought_unit"),
    VISIBLE,
)
_COUNTS: Final[dict[Step, dict[str, Any]]] = {
    "begin": {"attempts": photos.c.attempts + 1},
    "put_back": {"attempts": photos.c.attempts - 1},
}


class SameBytesExist(Exception):
    """Another visible photo holds the same bytes under the same UPID."""


async def add(work: UnitOfWork, photo: Photo) -> None:
    """Insert a photo. Raises `SameBytesExist` (and breaks the unit of work) when another upload was faster."""
    row = photo.model_dump(exclude={"location", "error", "versions"})
    row |= _place(photo.location) | {"versions": _as_json(photo.versions), "unit": photo.unit or ""}
    try:
        await work.execute(_INSERT, row)
    except IntegrityError as error:
        raise SameBytesExist from error


async def find(connection: AsyncConnection, photo_id: UUID) -> Photo | None:
    """A visible photo."""
    return await _first(connection, _BY_ID, sought_id=photo_id)


async def find_same_bytes(connection: AsyncConnection, upid: str, sha256: str, unit: str | None) -> Photo | None:
    """The visible photo of a project and a unit with these bytes."""
    return await _first(connection, _BY_BYTES, sought_upid=upid, sought_sha256=sha256, sought_unit=unit or "")


async def status_of(connection: AsyncConnection, photo_id: UUID) -> str | None:
    """The state of a photo, a deleted one too; None when there never was one."""
    return (await connection.execute(select(photos.c.status).where(photos.c.id == photo_id))).scalar_one_or_none()


async def unit_of(connection: AsyncConnection, photo_id: UUID) -> str | None:
    """The organisation unit of a photo, a deleted one too; empty for none, None when there never was a photo."""
    return (await connection.execute(select(photos.c.unit).where(photos.c.id == photo_id))).scalar_one_or_none()


async def begin(work: UnitOfWork, photo_id: UUID) -> Photo | None:
    """Begin processing and count the attempt; the photo as it is now, or None when it is not there to be processed."""
    return await _step(work, photo_id, "begin")


async def put_back(work: UnitOfWork, photo_id: UUID) -> None:
    """Take a begun attempt back: the engine never ran."""
    await _step(work, photo_id, "put_back")


async def complete(work: UnitOfWork, photo: Photo) -> bool:
    """Store what processing found out about a photo; False when it is no longer being processed."""
    found = await _step(
        work,
        photo.id,
        "complete",
        **photo.model_dump(include={"width", "height", "taken_at", "completed_at"}),
        **_place(photo.location),
        versions=_as_json(photo.versions),
    )
    return found is not None


async def fail(work: UnitOfWork, photo_id: UUID, failure: PhotoFailure) -> bool:
    """Store why processing failed; False when the photo is no longer being processed."""
    return await _step(work, photo_id, "fail", error_code=failure.code, error_detail=failure.detail) is not None


async def retry(work: UnitOfWork, photo_id: UUID, *, render_task: UUID) -> Photo | None:
    """Queue a failed photo again under a new task; None when it has not failed."""
    return await _step(work, photo_id, "retry", render_task=render_task, error_code=None, error_detail=None)


async def hide(work: UnitOfWork, photo_id: UUID, *, at: datetime) -> tuple[str, str | None] | None:
    """Delete a photo softly and return its UPID and its callback URL; None when it is not visible."""
    statement = step_statement("delete").returning(photos.c.upid, photos.c.callback_url)
    row = (await work.execute(statement, {"sought_id": photo_id, "deleted_at": at})).one_or_none()
    return None if row is None else (row.upid, row.callback_url)


async def _step(work: UnitOfWork, photo_id: UUID, step: Step, **columns: Any) -> Photo | None:
    """Take a step, from any state that allows it, and return the photo as it is now; None when its state does not allow it."""
    row = (await work.execute(_photo_steps(step), {"sought_id": photo_id, **columns})).one_or_none()
    return None if row is None else _photo(row)


@cache
def step_statement(step: Step) -> Update:
    """The statement that takes the photo ``sought_id`` one step further, if its state allows it, setting what else it gets."""
    statement = update(photos).where(photos.c.id == bindparam("sought_id"), photos.c.status.in_(origins_of(step)))
    return statement.values(status=target_of(step), **_COUNTS.get(step, {}))


@cache
def _photo_steps(step: Step) -> Any:
    return step_statement(step).returning(*photos.c)


async def page(connection: AsyncConnection, matching: PhotoFilter, after: PhotoPosition | None, limit: int) -> PhotoPage:
    """The photos that match, newest first, by keyset: a page costs the same however deep it lies."""
    wanted: list[ColumnElement[bool]] = [VISIBLE]
    for column, value in ((photos.c.upid, matching.upid), (photos.c.stage, matching.stage), (photos.c.status, matching.status)):
        if value is not None:
            wanted.append(column == value)
    if matching.units is not None:
        wanted.append(photos.c.unit.in_(matching.units))
    if matching.created_from is not None:
        wanted.append(photos.c.created_at >= matching.created_from)
    if matching.created_to is not None:
        wanted.append(photos.c.created_at < matching.created_to)
    if after is not None:
        wanted.append(_is_older(after.created_at, after.id))
    statement = select(photos).where(*wanted).order_by(photos.c.created_at.desc(), photos.c.id.desc()).limit(limit + 1)
    found = tuple(_photo(row) for row in (await connection.execute(statement)).all())
    following = PhotoPosition(created_at=found[limit - 1].created_at, id=found[limit - 1].id) if len(found) > limit else None
    return PhotoPage(photos=found[:limit], next=following)


def _is_older(created_at: datetime, photo_id: UUID) -> ColumnElement[bool]:
    same_moment = and_(photos.c.created_at == created_at, photos.c.id < photo_id)
    return and_(photos.c.created_at <= created_at, or_(photos.c.created_at < created_at, same_moment))


async def _first(connection: AsyncConnection, statement: Select[Any], **sought: Any) -> Photo | None:
    row = (await connection.execute(statement, sought)).one_or_none()
    return None if row is None else _photo(row)


def _place(location: Location | None) -> dict[str, float | None]:
    if location is None:
        return {"latitude": None, "longitude": None}
    return {"latitude": location.latitude, "longitude": location.longitude}


def _as_json(versions: tuple[PhotoVersion, ...]) -> list[dict[str, Any]]:
    return [version.model_dump(mode="json") for version in versions]


def _photo(row: Row[Any]) -> Photo:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    latitude, longitude = values.pop("latitude"), values.pop("longitude")
    code, detail = values.pop("error_code"), values.pop("error_detail")
    values["unit"] = values["unit"] or None
    values["location"] = None if latitude is None else Location(latitude=latitude, longitude=longitude)
    values["error"] = None if code is None else PhotoFailure(code=code, detail=detail or "")
    return Photo.model_validate(values)
