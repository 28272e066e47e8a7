"""The organisation unit of a photo; the same bytes may be there once for each.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VISIBLE = sa.text("status <> 'deleted'")


def upgrade() -> None:
    op.add_column("photos", sa.Column("unit", sa.String(64), nullable=False, server_default=""))
    _make_unique("upid", "sha256", "unit")


def downgrade() -> None:
    _make_unique("upid", "sha256")
    op.drop_column("photos", "unit")


def _make_unique(*columns: str) -> None:
    op.drop_index("photos_same_bytes", "photos")
    op.create_index("photos_same_bytes", "photos", list(columns), unique=True, sqlite_where=VISIBLE, postgresql_where=VISIBLE)
