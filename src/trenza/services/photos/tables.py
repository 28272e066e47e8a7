"""The tables of photos."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text, Uuid, text

from trenza.chassis.data.types import UtcDateTime

__all__ = ["maintenance", "metadata", "photos", "uploads"]

metadata = MetaData()

photos = Table(
    "photos",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("upid", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("stage", String(16)),
    Column("filename", String(255), nullable=False),
    Column("media_type", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("sha256", String(64), nullable=False),
    Column("taken_at", UtcDateTime),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("description", Text),
    Column("uploaded_by", String(255), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("error_code", String(64)),
    Column("error_detail", Text),
    Column("original_key", String(255), nullable=False),
    Column("render_task", Uuid, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("callback_url", Text),
    Column("unit", String(64), nullable=False, server_default=""),
)

_VISIBLE = text("status <> 'deleted'")

# One visible photo for the same bytes under the same UPID and unit ("" for none): what two uploads at the same instant cannot
# both become.
Index(
    "photos_same_bytes",
    photos.c.upid,
    photos.c.sha256,
    photos.c.unit,
    unique=True,
    sqlite_where=_VISIBLE,
    postgresql_where=_VISIBLE,
)
# The two orders in which lists are read, newest first.
Index("photos_by_project", photos.c.upid, photos.c.created_at, photos.c.id, sqlite_where=_VISIBLE, postgresql_where=_VISIBLE)
Index("photos_by_time", photos.c.created_at, photos.c.id, sqlite_where=_VISIBLE, postgresql_where=_VISIBLE)

# One row, number 1, from the first switch on.
maintenance = Table(
    "maintenance",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("enabled", Boolean, nullable=False),
    Column("retry_after_seconds", Integer, nullable=False),
    Column("message", Text),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(255), nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("filename", String(255), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64)),
    Column("key", String(255), nullable=False),
    Column("details", JSON, nullable=False),
    Column("created_by", String(255), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("photo_id", Uuid),
)
Index("uploads_by_expiry", uploads.c.expires_at)
