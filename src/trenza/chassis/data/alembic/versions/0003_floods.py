"""Looking behind a flood of waiting messages costs no reading of their rows; PostgreSQL sweeps queues before they grow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_WAITING = sa.text("state = 'waiting'")
_QUEUES = ("inbox", "outbox")
# Each message leaves two dead versions of its row, and the tables keep what has ended for days: a fifth of such a table, which is
# PostgreSQL's default, is far more than all that ever waits.
_SETTINGS = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_analyze_scale_factor": "0.02",
}


def _index(*columns: str) -> None:
    op.drop_index("inbox_waiting", "inbox")
    op.create_index(
        "inbox_waiting", "inbox", [sa.text("priority DESC"), *columns], sqlite_where=_WAITING, postgresql_where=_WAITING
    )


def upgrade() -> None:
    _index("position", "consumer", "type")
    if op.get_bind().dialect.name == "postgresql":
        values = ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items())
        for table in _QUEUES:
            op.execute(f"ALTER TABLE {table} SET ({values})")


def downgrade() -> None:
    _index("position")
    if op.get_bind().dialect.name == "postgresql":
        for table in _QUEUES:
            op.execute(f"ALTER TABLE {table} RESET ({', '.join(_SETTINGS)})")
