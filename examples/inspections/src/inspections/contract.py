"""What other services may ask of inspections, and what they are told about them."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Literal
from uuid import UUID

from trenza import Contract, ContractError, Event, Value, operation

__all__ = [
    "AlreadyOpen",
    "Inspection",
    "InspectionClosed",
    "InspectionNotFound",
    "InspectionNotOpen",
    "InspectionOverdue",
    "Inspections",
    "InvalidInspection",
    "ReportNotReady",
    "Status",
]

Status = Literal["open", "closed", "cancelled"]


class Inspection(Value):
    """An order to photograph a project, which closes by itself once enough of its photos are completed."""

    id: UUID
    upid: str
    """The project whose photos count."""
    title: str
    status: Status
    photos_needed: int
    photo_ids: tuple[UUID, ...] = ()
    """The photos that count, in the order in which they were completed."""
    opened_by: str
    opened_at: datetime
    due_at: datetime
    ended_at: datetime | None = None
    """When it was closed or cancelled."""
    overdue: bool = False
    """Whether it was announced as overdue."""
    report_key: str | None = None
    """The object key of its report, once that is written."""


class InspectionNotFound(ContractError):
    """No such inspection."""

    status = 404


class InspectionNotOpen(ContractError):
    """Only an open inspection can be cancelled."""

    status = 409


class AlreadyOpen(ContractError):
    """A project has one open inspection at a time; ``inspection_id`` is that one's."""

    status = 409


class ReportNotReady(ContractError):
    """The report is written after the inspection has closed."""

    status = 409


class InvalidInspection(ContractError):
    """A field of the order is not acceptable; names the ``field``, its ``limit`` and the ``remedy``."""

    status = 422


class InspectionClosed(Event, type="inspections.InspectionClosed", key="inspection_id"):
    """All photos of an inspection are there."""

    inspection_id: UUID
    upid: str
    photo_ids: tuple[UUID, ...]
    closed_at: datetime


class InspectionOverdue(Event, type="inspections.InspectionOverdue", key="inspection_id"):
    """An inspection is still open after its day; told once."""

    inspection_id: UUID
    upid: str
    due_at: datetime
    photos_missing: int


class Inspections(Contract, service="inspections", paths=("/api/inspections",), events=(InspectionClosed, InspectionOverdue)):
    """Inspections of projects by photographs."""

    @operation(errors=(InvalidInspection, AlreadyOpen))
    @abstractmethod
    async def open_inspection(self, *, upid: str, title: str, photos_needed: int | None = None) -> Inspection:
        """Order the photographs of a project; as many as the settings say when ``photos_needed`` is None."""

    @operation(idempotent=True, errors=(InspectionNotFound,))
    @abstractmethod
    async def get_inspection(self, *, inspection_id: UUID) -> Inspection:
        """One inspection."""

    @operation(idempotent=True)
    @abstractmethod
    async def list_inspections(self, *, upid: str | None = None) -> tuple[Inspection, ...]:
        """The newest hundred, of one project or of all."""

    @operation(idempotent=True, errors=(InspectionNotFound, InspectionNotOpen))
    @abstractmethod
    async def cancel_inspection(self, *, inspection_id: UUID) -> Inspection:
        """Give an open inspection up. Cancelling it again changes nothing."""
