"""The payloads of the tasks that inspections gives itself."""

from __future__ import annotations

from uuid import UUID

from trenza import Task

__all__ = ["FindOverdue", "WriteReport"]


class WriteReport(Task, type="inspections.WriteReport", key="inspection_id"):
    """Write the report of a closed inspection."""

    inspection_id: UUID


class FindOverdue(Task, type="inspections.FindOverdue"):
    """Announce the inspections whose day has passed."""
