"""All the SQL of inspections; gives and takes contract values, never rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from inspections.contract import Inspection
from inspections.tables import inspections, photos
from trenza import UnitOfWork

__all__ = [
    "AnotherIsOpen",
    "add",
    "add_photo",
    "change",
    "find",
    "find_locked",
    "find_open",
    "find_overdue",
    "list_newest",
    "remove_photo",
]

_PAGE: Final = 100


class AnotherIsOpen(Exception):
    """The project has an open inspection already."""


async def add(work: UnitOfWork, inspection: Inspection) -> None:
    """Store a new inspection. Raises `AnotherIsOpen`."""
    try:
        await work.execute(insert(inspections).values(inspection.model_dump(exclude={"photo_ids"})))
    except IntegrityError as error:
        raise AnotherIsOpen from error


async def change(work: UnitOfWork, inspection: Inspection, **values: Any) -> Inspection:
    """Store these columns of an inspection, and no others: those that somebody else changes stay as they are."""
    await work.execute(update(inspections).where(inspections.c.id == inspection.id).values(values))
    return inspection.model_copy(update=values)


async def add_photo(work: UnitOfWork, inspection: Inspection, photo_id: UUID, *, completed_at: datetime) -> Inspection:
    """Count a photo, unless it counts already: a photo that is processed again is completed again."""
    if photo_id in inspection.photo_ids:
        return inspection
    row = {"inspection_id": inspection.id, "photo_id": photo_id, "completed_at": completed_at}
    await work.execute(insert(photos).values(row))
    return inspection.model_copy(update={"photo_ids": (*inspection.photo_ids, photo_id)})


async def remove_photo(work: UnitOfWork, inspection: Inspection, photo_id: UUID) -> None:
    """Count a photo no longer."""
    await work.execute(delete(photos).where(photos.c.inspection_id == inspection.id, photos.c.photo_id == photo_id))


async def find(connection: AsyncConnection, inspection_id: UUID) -> Inspection | None:
    """An inspection by its id."""
    return next(iter(await _read(connection, inspections.c.id == inspection_id)), None)


async def find_locked(work: UnitOfWork, inspection_id: UUID) -> Inspection | None:
    """An inspection that nobody else changes until the end of the unit of work."""
    return await _read_locked(work, inspections.c.id == inspection_id)


async def find_open(work: UnitOfWork, upid: str) -> Inspection | None:
    """The open inspection of a project, locked as by `find_locked`: reactions to two photos take turns."""
    return await _read_locked(work, inspections.c.upid == upid, _is_open())


async def find_overdue(work: UnitOfWork, now: datetime) -> tuple[Inspection, ...]:
    """Open inspections whose day has passed and that were not announced yet."""
    return await _read(work.connection, _is_open(), inspections.c.due_at < now, inspections.c.overdue.is_(False))


async def list_newest(connection: AsyncConnection, upid: str | None) -> tuple[Inspection, ...]:
    """The newest inspections first."""
    return await _read(connection, *([] if upid is None else [inspections.c.upid == upid]))


def _is_open() -> ColumnElement[bool]:
    return inspections.c.status == "open"


async def _read_locked(work: UnitOfWork, *conditions: ColumnElement[bool]) -> Inspection | None:
    """SQLite locks by itself: it has one unit of work at a time, and leaves FOR UPDATE out."""
    await work.execute(select(inspections.c.id).where(*conditions).with_for_update())
    return next(iter(await _read(work.connection, *conditions)), None)


async def _read(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> tuple[Inspection, ...]:
    newest_first = (inspections.c.opened_at.desc(), inspections.c.id.desc())
    rows = (await connection.execute(select(inspections).where(*conditions).order_by(*newest_first).limit(_PAGE))).all()
    counted = (
        await connection.execute(
            select(photos)
            .where(photos.c.inspection_id.in_([row.id for row in rows]))
            .order_by(photos.c.completed_at, photos.c.photo_id)
        )
    ).all()
    return tuple(_inspection(row, tuple(photo.photo_id for photo in counted if photo.inspection_id == row.id)) for row in rows)


def _inspection(row: Row[Any], photo_ids: tuple[UUID, ...]) -> Inspection:
    return Inspection.model_validate({**row._asdict(), "photo_ids": photo_ids})
