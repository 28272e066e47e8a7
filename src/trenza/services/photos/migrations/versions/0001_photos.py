"""The table of photos.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trenza.chassis.data.types import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

VISIBLE = sa.text("status <> 'deleted'")


def upgrade() -> None:
    op.create_table(
        "photos",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("upid", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16)),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("taken_at", UtcDateTime),
        sa.Column("latitude", sa.Float),
        sa.Column("longitude", sa.Float),
        sa.Column("description", sa.Text),
        sa.Column("uploaded_by", sa.String(255), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("completed_at", UtcDateTime),
        sa.Column("deleted_at", UtcDateTime),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_detail", sa.Text),
        sa.Column("original_key", sa.String(255), nullable=False),
        sa.Column("render_task", sa.Uuid, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
    )
    for name, columns, unique in (
        ("photos_same_bytes", ["upid", "sha256"], True),
        ("photos_by_project", ["upid", "created_at", "id"], False),
        ("photos_by_time", ["created_at", "id"], False),
    ):
        op.create_index(name, "photos", columns, unique=unique, sqlite_where=VISIBLE, postgresql_where=VISIBLE)


def downgrade() -> None:
    op.drop_table("photos")
