"""Statements that SQLite and PostgreSQL both have, but SQLAlchemy only in two dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["insert_or_ignore"]


def insert_or_ignore(connection: AsyncConnection, table: Table) -> Any:
    """``INSERT … ON CONFLICT DO NOTHING``, whichever key the conflict is about."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()
