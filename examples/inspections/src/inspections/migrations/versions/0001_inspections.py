"""The tables of inspections.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trenza import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inspections",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("upid", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("photos_needed", sa.Integer, nullable=False),
        sa.Column("opened_by", sa.String(255), nullable=False),
        sa.Column("opened_at", UtcDateTime, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("overdue", sa.Boolean, nullable=False),
        sa.Column("report_key", sa.String(255)),
    )
    is_open = sa.text("status = 'open'")
    op.create_index("inspections_open", "inspections", ["upid"], unique=True, sqlite_where=is_open, postgresql_where=is_open)
    op.create_index("inspections_by_project", "inspections", ["upid", "opened_at"])
    op.create_table(
        "photos",
        sa.Column("inspection_id", sa.Uuid, sa.ForeignKey("inspections.id"), primary_key=True),
        sa.Column("photo_id", sa.Uuid, primary_key=True),
        sa.Column("completed_at", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("photos")
    op.drop_table("inspections")
