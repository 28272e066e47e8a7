"""What is left of deleted photos, and which objects belong to those that are there."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from trenza.chassis.data import UnitOfWork
from trenza.services.photos.contract import PhotoVersion
from trenza.services.photos.rules import KnownObjects
from trenza.services.photos.tables import photos

__all__ = ["any_photo", "deleted_before", "forget_photos", "known_objects"]


async def deleted_before(connection: AsyncConnection, moment: datetime, limit: int) -> dict[UUID, str]:
    """The UPIDs of photos that were deleted before a moment, by the photos' ids."""
    statement = select(photos.c.id, photos.c.upid).where(photos.c.status == "deleted", photos.c.deleted_at < moment)
    return {row.id: row.upid for row in (await connection.execute(statement.limit(limit))).all()}


async def forget_photos(work: UnitOfWork, photo_ids: Collection[UUID]) -> None:
    """Remove the records of deleted photos."""
    await work.execute(delete(photos).where(photos.c.id.in_(photo_ids), photos.c.status == "deleted"))


async def any_photo(connection: AsyncConnection) -> bool:
    """Whether there is a record at all."""
    return bool((await connection.execute(select(exists(select(photos.c.id))))).scalar_one())


async def known_objects(connection: AsyncConnection, photo_ids: Collection[UUID]) -> dict[UUID, KnownObjects]:
    """What the records of these photos say about their objects; a photo without a record is left out."""
    columns = (photos.c.id, photos.c.status, photos.c.original_key, photos.c.versions)
    rows = (await connection.execute(select(*columns).where(photos.c.id.in_(photo_ids)))).all()
    return {
        row.id: KnownObjects(
            complete=row.status == "completed",
            original_key=row.original_key,
            versions=tuple(PhotoVersion.model_validate(version) for version in row.versions),
        )
        for row in rows
    }
