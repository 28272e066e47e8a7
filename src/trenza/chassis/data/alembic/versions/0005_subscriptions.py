"""Which events a service takes, for the processes that put them into its inbox without knowing its code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("type", sa.Text(), primary_key=True),
        sa.Column("consumer", sa.Text(), primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("subscriptions")
