"""The stored maintenance mode."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from trenza.chassis.data import UnitOfWork
from trenza.services.photos.contract import Maintenance
from trenza.services.photos.tables import maintenance

__all__ = ["find_maintenance", "keep_maintenance"]


async def find_maintenance(connection: AsyncConnection) -> Maintenance | None:
    """The maintenance mode as it was last switched; None before the first time."""
    row = (await connection.execute(select(maintenance))).one_or_none()
    return None if row is None else Maintenance.model_validate({name: getattr(row, name) for name in Maintenance.model_fields})


async def keep_maintenance(work: UnitOfWork, state: Maintenance) -> None:
    """Store the maintenance mode; the last one wins."""
    dialect: Any = sqlite if work.connection.dialect.name == "sqlite" else postgresql
    values = state.model_dump()
    statement = dialect.insert(maintenance).values(id=1, **values)
    await work.execute(statement.on_conflict_do_update(index_elements=[maintenance.c.id], set_=values))
