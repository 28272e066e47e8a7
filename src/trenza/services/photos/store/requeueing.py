"""Many photos at once: which are to be processed again, and queueing each of them."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from trenza.chassis.data import UnitOfWork
from trenza.services.photos.messages import ReprocessPhotos
from trenza.services.photos.rules import Step
from trenza.services.photos.store.records import VISIBLE, step_statement
from trenza.services.photos.tables import photos

__all__ = ["batch_to_requeue", "count_to_requeue", "requeue"]

_STEPS: dict[str, Step] = {"queued": "requeue", "processing": "requeue_begun", "failed": "retry", "completed": "renew"}


def _meant(order: ReprocessPhotos) -> list[ColumnElement[bool]]:
    meant = [VISIBLE, photos.c.status.in_(order.statuses), photos.c.created_at < order.before]
    if order.upid is not None:
        meant.append(photos.c.upid == order.upid)
    if order.after is not None:
        meant.append(photos.c.id > order.after)
    return meant


async def count_to_requeue(connection: AsyncConnection, order: ReprocessPhotos) -> int:
    """How many photos an order means now."""
    return (await connection.execute(select(func.count()).select_from(photos).where(*_meant(order)))).scalar_one()


async def batch_to_requeue(work: UnitOfWork, order: ReprocessPhotos, limit: int) -> tuple[tuple[UUID, str], ...]:
    """The next photos of an order with their states, by their ids."""
    statement = select(photos.c.id, photos.c.status).where(*_meant(order)).order_by(photos.c.id).limit(limit)
    return tuple((row.id, row.status) for row in (await work.execute(statement)).all())


async def requeue(work: UnitOfWork, photo_id: UUID, status: str, *, render_task: UUID) -> bool:
    """Let a photo that was found in this state be processed by that task; False when it is in another state by now.

    What has been begun stays begun: its task may be running, and ends it by itself.
    """
    columns = {"render_task": render_task, "error_code": None, "error_detail": None}
    return (await work.execute(step_statement(_STEPS[status]), {"sought_id": photo_id, **columns})).rowcount > 0
