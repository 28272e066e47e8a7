"""The tables of inspections."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Uuid, text

from trenza import UtcDateTime

__all__ = ["inspections", "metadata", "photos"]

metadata = MetaData()

inspections = Table(
    "inspections",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("upid", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("status", String(16), nullable=False),
    Column("photos_needed", Integer, nullable=False),
    Column("opened_by", String(255), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("overdue", Boolean, nullable=False),
    Column("report_key", String(255)),
)

# One open inspection for each project: what two orders at the same instant cannot both become.
_OPEN = text("status = 'open'")
Index("inspections_open", inspections.c.upid, unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN)
Index("inspections_by_project", inspections.c.upid, inspections.c.opened_at)

photos = Table(
    "photos",
    metadata,
    Column("inspection_id", Uuid, ForeignKey("inspections.id"), primary_key=True),
    Column("photo_id", Uuid, primary_key=True),
    Column("completed_at", UtcDateTime, nullable=False),
)
