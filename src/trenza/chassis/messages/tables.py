"""The tables of messages in every service's database, and the states of their rows.

They are created by ``chassis/data/alembic/versions``. States are compared as literals, not as bound parameters: both databases
use a partial index only when the statement shows the constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from trenza.chassis.data.types import UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "DELAYED",
    "DISCARDED",
    "FAILED",
    "RUNNING",
    "SENT",
    "WAITING",
    "in_state",
    "inbox",
    "leases",
    "metadata",
    "outbox",
    "schedules",
    "subscriptions",
]

WAITING: Final = "waiting"
"""May be claimed as soon as its ordering key is free. In the outbox: not yet handed to the transport."""
DELAYED: Final = "delayed"
"""Waits for its moment ``due_at``: a delay, the pause before another attempt, or a postponement."""
RUNNING: Final = "running"
"""Claimed by the worker that holds ``lease_token``, until ``lease_until``."""
COMPLETED: Final = "completed"
CANCELLED: Final = "cancelled"
FAILED: Final = "failed"
"""A dead letter: an operator redrives or discards it."""
DISCARDED: Final = "discarded"
SENT: Final = "sent"

metadata = sa.MetaData()

_POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("position", _POSITION, primary_key=True, autoincrement=True),
    sa.Column("message_id", sa.Uuid(), nullable=False),
    sa.Column("type", sa.Text(), nullable=False),
    sa.Column("ordering_key", sa.Text()),
    sa.Column("envelope", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("sent_at", UtcDateTime()),
    sqlite_autoincrement=True,
)

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("position", _POSITION, primary_key=True, autoincrement=True),
    sa.Column("message_id", sa.Uuid(), nullable=False),
    sa.Column("consumer", sa.Text(), nullable=False),  # "" until a release knows who handles the type
    sa.Column("kind", sa.Text(), nullable=False),  # "event" or "task"
    sa.Column("type", sa.Text(), nullable=False),
    sa.Column("ordering_key", sa.Text()),
    sa.Column("unique_key", sa.Text()),
    sa.Column("envelope", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    # Whether later messages of the same (consumer, ordering_key) wait for this one: from its arrival (when it comes with a delay:
    # from its first claim) until it has ended; after a failure only when the handler declares `blocks_key`.
    sa.Column("holds_key", sa.Boolean(), nullable=False),
    sa.Column("priority", sa.Integer(), nullable=False),
    sa.Column("attempts", sa.Integer(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("due_at", UtcDateTime(), nullable=False),
    sa.Column("finished_at", UtcDateTime()),
    sa.Column("lease_token", sa.Uuid()),
    sa.Column("lease_until", UtcDateTime()),
    sa.Column("cancel_requested", sa.Boolean(), nullable=False),
    sa.Column("progress", sa.Float(), nullable=False),
    sa.Column("note", sa.Text(), nullable=False),
    sa.Column("reason", sa.Text()),  # of a dead letter: see `Reason` in endings.py
    sa.Column("error", sa.Text()),  # of the latest failed attempt
    sa.UniqueConstraint("message_id", "consumer", name="inbox_message_consumer"),
    sqlite_autoincrement=True,
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("fired_until", UtcDateTime(), nullable=False),  # fire times up to here are settled
)

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("type", sa.Text(), primary_key=True),
    sa.Column("consumer", sa.Text(), primary_key=True),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("token", sa.Uuid()),
    sa.Column("until", UtcDateTime()),
)


def _index(name: str, *columns: Any, where: str, unique: bool = False) -> None:
    sa.Index(name, *columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


_index("outbox_waiting", outbox.c.position, where="state = 'waiting'")
_index("outbox_sent", outbox.c.sent_at, where="state = 'sent'")
# With what is asked of each row: whoever looks behind a flood of others need not read its rows.
_index("inbox_waiting", inbox.c.priority.desc(), inbox.c.position, inbox.c.consumer, inbox.c.type, where="state = 'waiting'")
_index("inbox_delayed", inbox.c.due_at, where="state = 'delayed'")
_index("inbox_running", inbox.c.consumer, inbox.c.ordering_key, where="state = 'running'")
_index("inbox_failed", inbox.c.position, where="state = 'failed'")
_index("inbox_ended", inbox.c.finished_at, where="state IN ('completed', 'cancelled', 'discarded')")
_index("inbox_keys", inbox.c.consumer, inbox.c.ordering_key, inbox.c.position, where="holds_key AND ordering_key IS NOT NULL")
_index(
    "inbox_unique",
    inbox.c.type,
    inbox.c.unique_key,
    where="unique_key IS NOT NULL AND state IN ('waiting', 'delayed', 'running')",
    unique=True,
)


def in_state(column: ColumnElement[str], *states: str) -> ColumnElement[bool]:
    """A condition that a partial index can serve: ``state = 'waiting'`` or ``state IN ('waiting', 'running')``."""
    literals = [sa.literal_column(f"'{state}'", sa.Text()) for state in states]
    return column == literals[0] if len(literals) == 1 else column.in_(literals)
