"""Whether the migrations of a service make the tables that its code uses."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.service import Service

__all__ = ["differences_of_tables"]


async def differences_of_tables(service: Service, database_url: str) -> list[str]:
    """How the tables of a service differ from what its migrations make of an empty database; empty when they do not.

    ``database_url`` is ``sqlite+aiosqlite:///FILE`` or ``postgresql+asyncpg://…``. Only the service's own tables are compared.
    """
    metadata = service.tables
    if metadata is None:
        raise ValueError(f"{service.name} lists no tables in its wiring")

    def compare(connection: Connection) -> list[str]:
        def own(_object: object, name: str | None, kind: str, _reflected: object, _compare_to: object) -> bool:
            return kind != "table" or name in metadata.tables

        context = MigrationContext.configure(connection, opts={"include_object": own, "compare_type": True})
        return [str(difference) for difference in compare_metadata(context, metadata)]

    database = Database(database_url, schema=service.name)
    try:
        await upgrade(database, service.migrations)
        async with database.engine.connect() as connection:
            return await connection.run_sync(compare)
    finally:
        await database.close()
