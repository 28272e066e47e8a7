"""Connections to PostgreSQL: how they are opened, and how dead ones are noticed without asking the server each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from trenza.chassis.data.connections import Connections

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection

__all__ = ["is_closed", "postgres_connections"]

_UNSEEN_SECONDS = 10.0
"""A connection that rested longer is asked for a sign of life: a firewall forgets connections without telling either end."""


def postgres_connections(url: URL, schema: str, kept: int, **settings: str) -> Connections:
    """Connections that see a schema, speak of moments in UTC, and have more of the server's ``settings``.

    ``kept`` of them stay open; as many more may be open at once.
    """
    engine: AsyncEngine = create_async_engine(
        url,
        pool_size=2 * kept,
        max_overflow=0,
        hide_parameters=True,  # in what its errors say: they hold whole messages
        connect_args={"server_settings": {"search_path": f'"{schema}"', "timezone": "UTC", **settings}},
    )
    return Connections(engine, 2 * kept, kept=kept, alive=_is_alive)


def is_closed(connection: AsyncConnection) -> bool:
    """Whether the server has ended this connection, as far as the event loop has noticed. SQLite's never ends."""
    inner = connection.sync_connection
    if inner is None or inner.invalidated:
        return True
    return inner.dialect.name == "postgresql" and bool(_driver(inner).is_closed())


async def _is_alive(connection: AsyncConnection, rested_seconds: float) -> bool:
    """A server that ends closes its sockets, and the event loop has noticed that by then.

    SQLAlchemy's own ``pool_pre_ping`` costs three round trips before each unit of work.
    """
    if is_closed(connection):
        return False
    if rested_seconds <= _UNSEEN_SECONDS:
        return True
    try:
        await connection.run_sync(_ping)
    except (SQLAlchemyError, OSError):
        return False
    return True


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _ping(connection: Connection) -> None:
    adapted: Any = connection.connection.dbapi_connection
    adapted.ping()
