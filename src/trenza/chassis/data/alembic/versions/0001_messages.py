"""The tables of messages: outbox, inbox, schedules and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trenza.chassis.data.types import UtcDateTime

revision = "0001"
down_revision = None

# SQLite counts rows by itself in a column that is exactly an INTEGER PRIMARY KEY.
_POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    expressions = [sa.text(column) if " " in column else column for column in columns]
    op.create_index(name, table, expressions, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def upgrade() -> None:
    op.create_table(
        "outbox",
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
    _partial("outbox_waiting", "outbox", ["position"], "state = 'waiting'")
    _partial("outbox_sent", "outbox", ["sent_at"], "state = 'sent'")

    op.create_table(
        "inbox",
        sa.Column("position", _POSITION, primary_key=True, autoincrement=True),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("ordering_key", sa.Text()),
        sa.Column("unique_key", sa.Text()),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
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
        sa.Column("reason", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.UniqueConstraint("message_id", "consumer", name="inbox_message_consumer"),
        sqlite_autoincrement=True,
    )
    _partial("inbox_waiting", "inbox", ["priority DESC", "position"], "state = 'waiting'")
    _partial("inbox_delayed", "inbox", ["due_at"], "state = 'delayed'")
    _partial("inbox_running", "inbox", ["consumer", "ordering_key"], "state = 'running'")
    _partial("inbox_failed", "inbox", ["position"], "state = 'failed'")
    _partial("inbox_ended", "inbox", ["finished_at"], "state IN ('completed', 'cancelled', 'discarded')")
    _partial("inbox_keys", "inbox", ["consumer", "ordering_key", "position"], "holds_key AND ordering_key IS NOT NULL")
    _partial(
        "inbox_unique",
        "inbox",
        ["type", "unique_key"],
        "unique_key IS NOT NULL AND state IN ('waiting', 'delayed', 'running')",
        unique=True,
    )

    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("fired_until", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("token", sa.Uuid()),
        sa.Column("until", UtcDateTime()),
    )


def downgrade() -> None:
    for table in ("leases", "schedules", "inbox", "outbox"):
        op.drop_table(table)
