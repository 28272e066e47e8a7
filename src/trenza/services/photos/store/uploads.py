"""Direct uploads on their way."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from trenza.chassis.data import UnitOfWork
from trenza.services.photos.rules import DirectUpload
from trenza.services.photos.tables import uploads

__all__ = ["add_upload", "expired_uploads", "find_upload", "finish_upload", "forget_uploads"]


async def add_upload(work: UnitOfWork, upload: DirectUpload) -> None:
    """Store a promised upload."""
    row = upload.model_dump(exclude={"details"}) | {"details": upload.details.model_dump(mode="json")}
    await work.execute(insert(uploads).values(row))


async def find_upload(connection: AsyncConnection, upload_id: UUID) -> DirectUpload | None:
    """A promised upload, finished or not."""
    row = (await connection.execute(select(uploads).where(uploads.c.id == upload_id))).mappings().one_or_none()
    return None if row is None else DirectUpload.model_validate(dict(row))


async def finish_upload(work: UnitOfWork, upload_id: UUID, photo_id: UUID) -> None:
    """Note which photo an upload has become."""
    await work.execute(update(uploads).where(uploads.c.id == upload_id).values(photo_id=photo_id))


async def expired_uploads(connection: AsyncConnection, before: datetime, limit: int) -> dict[UUID, str]:
    """The object keys of uploads whose links expired before a moment, by their ids."""
    statement = (
        select(uploads.c.id, uploads.c.key).where(uploads.c.expires_at < before).order_by(uploads.c.expires_at).limit(limit)
    )
    return {row.id: row.key for row in (await connection.execute(statement)).all()}


async def forget_uploads(work: UnitOfWork, upload_ids: tuple[UUID, ...]) -> None:
    """Remove uploads."""
    await work.execute(delete(uploads).where(uploads.c.id.in_(upload_ids)))
