"""The table of Idempotency-Key: claims on requests in progress, and the answers of those that ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trenza.chassis.data.types import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("token", sa.Uuid()),
        sa.Column("lease_until", UtcDateTime()),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
    )
    op.create_index("idempotency_keys_expiry", "idempotency_keys", ["expires_at"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
