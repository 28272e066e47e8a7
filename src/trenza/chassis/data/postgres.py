"""Connections to PostgreSQL that have died in the pool: noticed without asking the server each time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["watch_connections"]

_UNSEEN_SECONDS = 10.0
"""A connection that rested longer is asked for a sign of life: a firewall forgets connections without telling either end."""


def watch_connections(engine: AsyncEngine) -> None:
    """Exchange dead connections when they are taken from the pool, and all that are older with the first of them.

    A server that ends closes its sockets, and the event loop has noticed that by then. SQLAlchemy's own ``pool_pre_ping`` costs
    three round trips before each unit of work.
    """

    @event.listens_for(engine.sync_engine, "checkin")
    def rest(_connection: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def look(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get("rests_since")
        if since is None:  # it has just been opened
            return
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError("the server has closed the connection")
        if time.monotonic() - since > _UNSEEN_SECONDS:
            try:
                connection.ping()
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError(f"the connection is dead: {error}") from error
