"""The URL that is told what becomes of a photo.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("photos", sa.Column("callback_url", sa.Text))


def downgrade() -> None:
    op.drop_column("photos", "callback_url")
